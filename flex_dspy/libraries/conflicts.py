"""Finds contradictions between the entries of a library. A person decides about them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from flex_dspy.libraries.experience import Experience, Rule
from flex_dspy.libraries.library import ExperienceLibrary


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two groups of entries that contradict each other.

    Attributes:
        kind: ``rule`` if one group recommends what the other avoids; ``answer`` if the groups hold different answers
            to one example.
        about: The words of the rule, or the problem of the example.
        entries: Ids of the entries that recommend the rule, or that hold the first answer.
        against: Ids of the entries that avoid the rule, or that hold another answer.
    """

    kind: Literal["rule", "answer"]
    about: str
    entries: tuple[str, ...]
    against: tuple[str, ...]

    def text(self) -> str:
        """The conflict as one line for a terminal."""
        how = "recommended by {}, avoided by {}" if self.kind == "rule" else "answered by {}, otherwise by {}"
        about = self.about if len(self.about) <= 100 else self.about[:97] + "..."
        return f"{self.kind}: {about}: " + how.format(_id_list(self.entries), _id_list(self.against))


def _id_list(ids: tuple[str, ...]) -> str:
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")


def conflicts(library: ExperienceLibrary) -> tuple[Conflict, ...]:
    """All contradictions of a library, sorted by kind and subject. Each entry is read once.

    A rule is avoided if it begins with "avoid", "never", "do not" or the like, or if a ``warning`` entry states it. A
    rule is recommended if a ``golden`` entry states it without such a word. If a rule quotes a text in backticks, this
    text is the subject.
    """
    return (*_about_rules(library), *_about_answers(library))


def _about_rules(library: ExperienceLibrary) -> Iterator[Conflict]:
    recommended: dict[str, set[str]] = defaultdict(set)
    avoided: dict[str, set[str]] = defaultdict(set)
    for entry in library:
        for rule in entry.rules:
            for side, about in _advice(entry, rule):
                (recommended if side else avoided)[about].add(entry.id)
    for about in sorted(recommended.keys() & avoided.keys()):
        yield Conflict("rule", about, tuple(sorted(recommended[about])), tuple(sorted(avoided[about])))


_AVOID = re.compile(r"\s*(?:avoid|never|do not|don't|must not|should not)\b[:,]?\s*", re.IGNORECASE)
_QUOTED = re.compile(r"`([^`]+)`")


def _advice(entry: Experience, rule: Rule) -> Iterator[tuple[bool, str]]:
    """Whether a rule recommends, and its subject. A rule of a mixed entry counts only if it begins with "avoid"."""
    negative = _AVOID.match(rule.text)
    said = rule.text[negative.end() :] if negative else rule.text
    words = " ".join(normal_words(said))
    if negative:
        yield from ((False, quoted) for quoted in _QUOTED.findall(said) or [words])
    elif entry.zone == "golden":
        yield from ((True, about) for about in dict.fromkeys([*_QUOTED.findall(said), words]))
    elif entry.zone == "warning":
        yield False, words


_MARKS = '.,;:`"'


def normal_words(text: str) -> list[str]:
    """The words of a text, without punctuation around them and without the capital letter that begins a sentence.

    Punctuation and capitals within a word stay, because they matter in a formula or a SMILES.
    """
    words = (word.strip(_MARKS) for word in text.split())
    return [word.lower() if word[1:].islower() else word for word in words if word]


def _about_answers(library: ExperienceLibrary) -> Iterator[Conflict]:
    holders: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for entry in library:
        for case in entry.precedents:
            holders[case.example_id, case.problem][case.answer].add(entry.id)
    for (_, problem), answers in sorted(holders.items()):
        if len(answers) > 1:
            first, *others = sorted(answers)
            against = {entry_id for answer in others for entry_id in answers[answer]}
            yield Conflict("answer", problem, tuple(sorted(answers[first])), tuple(sorted(against)))

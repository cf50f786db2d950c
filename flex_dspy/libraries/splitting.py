"""Splits an overlong entry into several entries within the caps, by its rules.

An overlong entry leaves no room for others in a prompt, and retrieval ranks it badly because of its long text. The FLEX
release has an entry of 144 rules. Each part keeps the method, so that it can be understood alone. Each part takes the
next dozen rules, so that the rules decide which part is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from flex_dspy.libraries.experience import (
    MAX_EXAMPLES,
    MAX_METHOD,
    MAX_RULE,
    MAX_RULES,
    MAX_TRAJECTORY,
    Experience,
    Precedent,
    Rule,
)

T = TypeVar("T")


def split_entry(entry: Experience) -> list[Experience]:
    """Split an entry into entries within the caps; an entry within the caps is returned unchanged.

    All rules are kept: a rule that is too long is cut between lines, sentences or words, and continues in another rule.
    The trajectory shows one instance, so only the first part keeps it, cut if it is too long. A precedent
    goes with the rule that it names, and the others stay in the first part, so that they are counted once.

    Args:
        entry: Any entry.
    """
    if not entry.is_overlong():
        return [entry]
    methods = pieces(entry.method, MAX_METHOD)
    rules = [part for rule in entry.rules for part in _split_rule(rule)]
    rules = [Rule(text) for text in methods[1:]] + rules
    first, *more = _groups(rules, MAX_RULES)
    beginnings = {rule.key: Rule(pieces(rule.text, MAX_RULE)[0]).key for rule in entry.rules}
    named = [replace(case, rule=beginnings.get(case.rule, case.rule)) for case in entry.named_cases()]
    origin = {key: value for key, value in entry.origin.items() if key != "rules"}
    trajectory = pieces(entry.trajectory, MAX_TRAJECTORY)[0]
    cases = [_cases_of(named, some) for some in more]
    elsewhere = {case for others in cases for case in others}
    own = [case for case in named if case not in elsewhere]
    whole = replace(entry, id="", method=methods[0], rules=first, trajectory=trajectory, origin=origin)
    parts = zip(more, cases, strict=True)
    further = (replace(whole, rules=some, trajectory="").with_cases(of) for some, of in parts)
    return [replace(part, id="") for part in (whole.with_cases(own), *further)]


def _cases_of(precedents: Sequence[Precedent], rules: Sequence[Rule]) -> tuple[Precedent, ...]:
    """The precedents that name one of these rules."""
    keys = {rule.key for rule in rules}
    return tuple(case for case in precedents if case.rule in keys)


def _split_rule(rule: Rule) -> list[Rule]:
    """Split a rule into rules within the caps. If it has many examples, its text is repeated for each group of them."""
    texts = pieces(rule.text, MAX_RULE)
    examples = [part for example in rule.examples for part in pieces(example, MAX_RULE)]
    groups = _groups(examples, MAX_EXAMPLES)
    return [Rule(texts[0], groups[0]), *map(Rule, texts[1:]), *(Rule(texts[0], group) for group in groups[1:])]


def _groups(items: Sequence[T], most: int) -> list[tuple[T, ...]]:
    """The items in groups of at most ``most``; one empty group if there are no items."""
    return [tuple(items[start : start + most]) for start in range(0, max(len(items), 1), most)]


def pieces(text: str, most: int) -> list[str]:
    """A text in pieces of at most ``most`` characters; joined, they give the text again.

    Args:
        text: Any text.
        most: Largest number of characters of a piece; at least 1.

    Returns:
        At least one piece. Each piece ends at the end of a line, else of a sentence, else of a word, if possible.
    """
    result = []
    while len(text) > most:
        ends = (text.rfind(mark, 0, most) + len(mark) for mark in ("\n", ". ", " "))
        end = next((end for end in ends if end > most // 2), most)
        result.append(text[:end])
        text = text[end:]
    return [*result, text]

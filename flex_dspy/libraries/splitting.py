"""Splitting an overlong entry into several within the caps, by its rules.

An entry that outgrows its caps no longer fits a prompt beside others, and drowns in its own text at retrieval: the
FLEX release has one of 144 rules. Each part keeps the method, so that it stands on its own, and takes the next
dozen rules, so that the rules decide which part is found.
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
    Rule,
)

T = TypeVar("T")


def split_entry(entry: Experience) -> list[Experience]:
    """The entry as entries within the caps; itself where it is within them.

    No rule is lost: a text beyond its cap is cut between lines, sentences or words, and goes on in a further rule.
    The trajectory, which shows one instance, stays with the first part, and is cut where it is too long. So are the
    precedents, which are counted once.

    Args:
        entry: Any entry.
    """
    if not entry.is_overlong():
        return [entry]
    methods = pieces(entry.method, MAX_METHOD)
    rules = [part for rule in entry.rules for part in _split_rule(rule)]
    rules = [Rule(text) for text in methods[1:]] + rules
    first, *more = _groups(rules, MAX_RULES)
    origin = {key: value for key, value in entry.origin.items() if key != "rules"}
    trajectory = pieces(entry.trajectory, MAX_TRAJECTORY)[0]
    whole = replace(entry, id="", method=methods[0], rules=first, trajectory=trajectory, origin=origin)
    return [whole, *(replace(whole, id="", rules=some, trajectory="", precedents=()) for some in more)]


def _split_rule(rule: Rule) -> list[Rule]:
    """The rule as rules within the caps: the first examples with its text, and each further few with it again."""
    texts = pieces(rule.text, MAX_RULE)
    examples = [part for example in rule.examples for part in pieces(example, MAX_RULE)]
    groups = _groups(examples, MAX_EXAMPLES)
    return [Rule(texts[0], groups[0]), *map(Rule, texts[1:]), *(Rule(texts[0], group) for group in groups[1:])]


def _groups(items: Sequence[T], most: int) -> list[tuple[T, ...]]:
    """The items, so many at a time; one empty group of none."""
    return [tuple(items[start : start + most]) for start in range(0, max(len(items), 1), most)]


def pieces(text: str, most: int) -> list[str]:
    """A text in pieces of at most ``most`` characters, which together are the text.

    Args:
        text: Any text.
        most: Characters; at least 1.

    Returns:
        At least one piece. Each ends with a line, else a sentence, else a word, where there is one to end with.
    """
    result = []
    while len(text) > most:
        ends = (text.rfind(mark, 0, most) + len(mark) for mark in ("\n", ". ", " "))
        end = next((end for end in ends if end > most // 2), most)
        result.append(text[:end])
        text = text[end:]
    return [*result, text]

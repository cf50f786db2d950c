"""Entries that gather the lessons on one kind of problem: which entry takes a lesson, and how two of them become one.

An updater that gathers keeps all lessons of one kind in one entry: each rule once, and each precedent beside its rule.
Merged libraries and approved lessons follow the same policy.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from flex_dspy.libraries.experience import (
    AVOID,
    MAX_CASE_RULES,
    MAX_EXAMPLES,
    Experience,
    Precedent,
    Rule,
    rule_key,
)


def kind_of(entry: Experience) -> tuple[str, ...]:
    """The kind of an entry: category, method, step and scope, word for word; empty if it has no kind or no rules."""
    known = entry.category and entry.method and entry.rules
    return (entry.category, entry.method, entry.step, entry.scope) if known else ()


def choose_entry(alike: Sequence[Experience], advice: str) -> Experience | None:
    """The entry that takes a lesson: the first that holds its first rule, else the first that has room for it.

    Args:
        alike: Entries of the lesson's kind.
        advice: The lesson's first rule; "" if it has none.
    """
    holders = (entry for entry in alike if entry.wording(advice))
    return next(holders, None) or next((entry for entry in alike if entry.has_room(advice)), None)


def name_rule(lesson: Experience) -> Experience:
    """The lesson whose precedents name its first rule. It waits for approval, and is gathered when it is approved."""
    key = lesson.rules[0].key if lesson.rules else ""
    return replace(lesson, precedents=tuple(replace(case, rule=key) for case in lesson.precedents))


def join_lessons(group: Sequence[Experience]) -> list[Experience]:
    """One entry with the rules and precedents of all entries; further entries with the rules that it has no room for.

    The result depends on the lessons alone, not on the order of the entries: rules with more precedents come first,
    then warnings come last, then the text decides. Ids, sources and usage are left to the caller.

    Args:
        group: Entries of one kind, or copies of one entry.
    """
    speaker = max(group, key=_precedence)
    zones = {entry.zone for entry in group}
    zone = speaker.zone if len(zones) == 1 else "mixed"
    joined = replace(speaker, zone=zone, created_at=min(entry.created_at for entry in group))
    if all((entry.rules, entry.precedents) == (speaker.rules, speaker.precedents) for entry in group):
        return [joined]
    texts = _texts(group)
    keys = {rule_key(advice): rule_key(text) for advice, text in texts.items()}
    cases = [_of_rule(case, keys) for case in join_precedents([_cases(entry) for entry in group])]
    counts = Counter(case.rule for case in cases)
    rules = sorted(join_rules(group, texts), key=lambda rule: _place(rule, counts))
    first, *further = _parts(joined, rules, cases, len(counts.keys() & {rule.key for rule in rules}))
    short = first.with_cases(first.precedents)
    gathers = any(entry.gathers for entry in group)  # this must stay known, so that a second merge gathers too
    return [first if gathers and not short.gathers else short, *further]


def _place(rule: Rule, counts: Counter[str]) -> tuple[int, bool, str]:
    return -counts[rule.key], rule.text.startswith(AVOID), rule.text


def precedence(entry: Experience, *words: Any) -> tuple[Any, ...]:
    """Sort key of entries that become one: the greatest gives the fields that are not joined.

    Args:
        entry: The entry.
        *words: What decides between entries that were changed at the same time. These fields must be kept by the merged
            entry, so that a second merge gives the same result.
    """
    foreign = json.dumps(entry.origin, sort_keys=True, default=str)
    return bool(entry.rules), entry.pinned, entry.updated_at, *words, foreign


def _precedence(entry: Experience) -> tuple[Any, ...]:
    return precedence(entry, entry.method, entry.trajectory, entry.category, entry.priority, entry.author)


def _texts(group: Iterable[Experience]) -> dict[str, str]:
    """The text of each rule of the group, by its advice: the wording without "Instead:", if there is one."""
    wordings: dict[str, set[str]] = defaultdict(set)
    for rule in (rule for entry in group for rule in entry.rules):
        wordings[rule.advice].add(rule.text)
    return {advice: advice if advice in texts else min(texts) for advice, texts in wordings.items()}


def _cases(entry: Experience) -> tuple[Precedent, ...]:
    """The precedents of an entry, each with the key of its rule's advice, which is the same in all wordings."""
    keys = {rule.key: rule_key(rule.advice) for rule in entry.rules}
    keys |= {"": rule_key(entry.rules[0].advice)} if entry.rules else {}
    return tuple(_of_rule(case, keys) for case in entry.precedents)


def _of_rule(case: Precedent, keys: Mapping[str, str]) -> Precedent:
    """The precedent with the new key of its rule."""
    return replace(case, rule=keys.get(case.rule, case.rule))


def _parts(entry: Experience, rules: Sequence[Rule], cases: Sequence[Precedent], count: int) -> list[Experience]:
    """The entry with these rules and precedents, in as many entries as the caps need.

    Args:
        entry: The entry whose other fields they take.
        rules: The rules; those with precedents come first.
        cases: The precedents, each with the key of its rule.
        count: Number of rules with precedents.
    """
    starts = range(MAX_CASE_RULES, count, MAX_CASE_RULES)
    more = [tuple(rules[start : min(start + MAX_CASE_RULES, count)]) for start in starts]
    place = {rule.key: number for number, some in enumerate(more, 1) for rule in some}
    held: dict[int, list[Precedent]] = defaultdict(list)
    for case in cases:
        held[place.get(case.rule, 0)].append(case)
    own = tuple(rules[: min(count, MAX_CASE_RULES)]) + tuple(rules[count:])
    first = replace(entry, rules=own, precedents=tuple(held[0]))
    further = (replace(entry, rules=some, trajectory="").with_cases(held[n]) for n, some in enumerate(more, 1))
    return [first, *(replace(part, id="") for part in further)]


def join_rules(group: Iterable[Experience], texts: Mapping[str, str] | None = None) -> list[Rule]:
    """Each rule of the entries once, with all its examples.

    Args:
        group: The entries.
        texts: The text of each rule, by its advice; None to keep rules with the same advice apart.
    """
    examples: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for rule in (rule for entry in group for rule in entry.rules):
        examples[texts[rule.advice] if texts else rule.text].append(rule.examples)
    return [Rule(text, _join_examples(lists)) for text, lists in examples.items()]


def _join_examples(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The examples unchanged if all lists agree; else each example once, in alphabetical order, within the cap."""
    if all(examples == lists[0] for examples in lists):
        return lists[0]
    return tuple(sorted({text for examples in lists for text in examples})[:MAX_EXAMPLES])


def join_precedents(lists: Sequence[tuple[Precedent, ...]]) -> tuple[Precedent, ...]:
    """The precedents unchanged if all lists agree; else each precedent once, sorted by example id."""
    if all(cases == lists[0] for cases in lists):
        return lists[0]
    cases = sorted({case for each in lists for case in each}, key=attrgetter(*_CASE, *_OTHERS))
    return tuple({(case.example_id, case.answer): case for case in cases}.values())


_CASE, _OTHERS = ("example_id", "answer"), ("problem", "trace", "rule")

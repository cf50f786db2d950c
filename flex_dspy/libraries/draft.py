"""Applies edits to a library. No other module interprets edits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import attrgetter

from rpds import HashTrieMap

from flex_dspy.libraries.change_log import Change
from flex_dspy.libraries.experience import (
    MAX_EXAMPLES,
    MAX_METHOD,
    MAX_RULE,
    MAX_RULES,
    Approve,
    Discard,
    Edit,
    EntryEdit,
    Experience,
    Insert,
    Merge,
    Pin,
    Precedent,
    Propose,
    Reject,
    Remove,
    Rule,
    Tally,
    rule_key,
    within_number,
)
from flex_dspy.libraries.gathering import choose_entry, kind_of
from flex_dspy.libraries.scopes import Sizes, resize


class Draft:
    """The next snapshot of a library, during a commit.

    Args:
        now: The clock of the next snapshot.
        entries: Entries of the last snapshot, by id.
        sizes: Number of entries of each scope of the last snapshot.
        waiting: Lessons that wait for approval, by id.
    """

    def __init__(
        self, now: int, entries: HashTrieMap[str, Experience], sizes: Sizes, waiting: HashTrieMap[str, Experience]
    ) -> None:
        self.now = now
        self.entries = entries
        self.sizes = sizes
        self.waiting = waiting
        self.changes: list[Change] = []

    def edit(self, edit: Edit) -> Edit:
        """Apply an edit, and return the edit that was really made: a merge may become an insert."""
        match edit:
            case Insert():
                return self._insert(edit)
            case Merge():
                return self._merge(edit)
            case Discard():
                return edit
            case Propose():
                return self._propose(edit)
            case Approve() | Reject():
                return self._decide(edit)
            case _:
                return self._by_person(edit)

    def _propose(self, edit: Propose) -> Edit:
        lesson = edit.experience.within_caps()
        if _is_of_another_scope(lesson, self.waiting):
            lesson = replace(lesson, id="")
            if _is_of_another_scope(lesson, self.waiting):
                return Discard(lesson.id, _TAKEN)
        known = next((each for each in self.waiting.values() if _says_the_same(each, lesson)), None)
        if known is None:
            self.waiting = self.waiting.insert(lesson.id, replace(lesson, created_at=self.now, updated_at=self.now))
        else:
            grown = known.precedents + _fresh_precedents(known, lesson)
            joined = replace(known, precedents=grown, merged=known.merged + 1, updated_at=self.now)
            self.waiting = self.waiting.insert(known.id, joined)
        return edit

    def _decide(self, edit: Approve | Reject) -> Edit:
        lesson = self.waiting.get(edit.entry_id)
        if lesson is None:
            return Discard(edit.entry_id, "no such lesson waits for approval")
        self.waiting = self.waiting.remove(edit.entry_id)
        return self._approve(lesson, edit) if isinstance(edit, Approve) else edit

    def _approve(self, lesson: Experience, edit: Approve) -> Edit:
        """Merge a lesson into the entry that gathers its kind. Insert it if there is none, or if a person wrote it."""
        target = None if lesson.author or not kind_of(lesson) else self._entry_of_kind(lesson)
        if target is None:
            return self._insert(Insert(lesson, edit.reason))
        plain = replace(lesson, precedents=tuple(replace(case, rule="") for case in lesson.precedents))
        return self._merge(Merge(target.id, plain, plain.rules, reason=edit.reason, case_of=plain.rules[0].text))

    def _entry_of_kind(self, lesson: Experience) -> Experience | None:
        """The entry that takes a lesson, if the updater gathers. A commit has no index; but approvals are few."""
        kind = kind_of(lesson)
        alike = [entry for entry in self.entries.values() if entry.category == kind[0] and kind_of(entry) == kind]
        gathering = [entry for entry in alike if lesson.gathers or entry.gathers]
        return choose_entry(sorted(gathering, key=attrgetter("id")), lesson.rules[0].text)

    def _by_person(self, edit: EntryEdit) -> Edit:
        entry = self.entries.get(edit.entry_id)
        if entry is None:
            return Discard(edit.entry_id, "there is no such entry")
        if isinstance(edit, Remove):
            return self._remove(entry, edit)
        if isinstance(edit, Pin):
            self._store(replace(entry, pinned=edit.pinned, updated_at=self.now), (), rewritten=False)
            return edit
        capped = replace(entry, **edit.fields()).within_caps()
        kept = {name: getattr(capped, name) for name in edit.fields()}  # other fields that are too long stay whole
        revised = replace(entry, **kept, updated_at=self.now)
        if "rules" in kept and (moved := _with_moved_cases(entry, revised)).precedents != entry.precedents:
            self.changes.append(Change(entry.id, removed=True))  # indexes read all precedents anew
            self._store(moved, moved.precedents, rewritten=True)
        else:
            self._store(revised, (), rewritten=(revised.zone, revised.text()) != (entry.zone, entry.text()))
        return edit

    def _remove(self, entry: Experience, edit: Remove) -> Edit:
        if entry.pinned and not edit.force:
            return Discard(entry.id, "the entry is pinned")
        self.entries = self.entries.remove(entry.id)
        self.sizes = resize(self.sizes, entry, None)
        self.changes.append(Change(entry.id, removed=True))
        return edit

    def _insert(self, edit: Insert) -> Edit:
        experience = edit.experience.within_caps()
        if _is_of_another_scope(experience, self.entries):
            experience = replace(experience, id="")
            if _is_of_another_scope(experience, self.entries):
                return Discard(experience.id, _TAKEN)
        if experience.id in self.entries:  # another writer added the same lesson
            return self._merge(Merge(experience.id, experience, reason=edit.reason))
        experience = replace(experience, created_at=self.now, updated_at=self.now)
        edit = replace(edit, experience=experience) if experience.id != edit.experience.id else edit
        self._store(experience, experience.precedents, rewritten=True)
        return edit

    def _merge(self, edit: Merge) -> Edit:
        edit = edit if len(edit.case_of) <= MAX_RULE else replace(edit, case_of=edit.case_of[:MAX_RULE])
        target = self.entries.get(edit.target)
        if target is not None and target.scope != edit.experience.scope:
            return self._insert(Insert(edit.experience, reason=edit.reason))
        edit = edit if target is None or not edit.case_of else _in_words_of(target, edit)
        rules = None if target is None else _merge_rules(target, edit)
        if target is None or rules is None:
            return self._insert(Insert(edit.experience, reason=edit.reason))
        if not target.pinned:
            target = self._rename_rules(target, [(each.old, each.rule.text) for each in edit.revise_rules])
        fresh = _of_rule(_fresh_precedents(target, edit.experience), _home(target, edit), rules)
        merged = replace(
            target,
            zone="mixed" if edit.case_of and edit.experience.zone != target.zone else target.zone,
            method=edit.method[:MAX_METHOD] if edit.method and not target.pinned else target.method,
            rules=rules,
            precedents=target.precedents + fresh,
            merged=target.merged + 1,
            updated_at=self.now,
        )
        self._store(merged, fresh, rewritten=(merged.zone, merged.text()) != (target.zone, target.text()))
        return _as_made(edit, rules)

    def _rename_rules(self, entry: Experience, pairs: Iterable[tuple[str, str]]) -> Experience:
        """The entry whose precedents name the new texts of its reworded rules. Indexes read them anew."""
        new = {rule_key(old): rule_key(text[:MAX_RULE]) for old, text in pairs}
        if not new or not any(case.rule in new for case in entry.precedents):
            return entry
        cases = tuple(replace(case, rule=new.get(case.rule, case.rule)) for case in entry.precedents)
        renamed = replace(entry, precedents=cases)
        self.changes.append(Change(entry.id, removed=True))
        self._store(renamed, cases, rewritten=True)
        return renamed

    def _store(self, experience: Experience, fresh: tuple[Precedent, ...], *, rewritten: bool) -> None:
        self.sizes = resize(self.sizes, self.entries.get(experience.id), experience)
        self.entries = self.entries.insert(experience.id, experience)
        if fresh or rewritten:
            self.changes.append(Change(experience.id, fresh, experience if rewritten else None))

    def count(self, tally: Tally) -> None:
        """Add a tally to the usage records of its entries."""
        for entry_id in tally.shown:
            entry = self.entries.get(entry_id)
            if entry is not None and entry.scope == tally.scope:
                counted = replace(
                    entry,
                    shown=entry.shown + 1,
                    helped=entry.helped + (entry_id in tally.helped),
                    hurt=entry.hurt + (entry_id in tally.hurt),
                )
                self.entries = self.entries.insert(entry_id, counted)


_TAKEN = "its id is that of an entry of another scope"


def _is_of_another_scope(lesson: Experience, entries: HashTrieMap[str, Experience]) -> bool:
    """Whether an entry of another scope has the id of this lesson."""
    known = entries.get(lesson.id)
    return known is not None and known.scope != lesson.scope


def _fresh_precedents(entry: Experience, lesson: Experience) -> tuple[Precedent, ...]:
    """The precedents of a lesson that the entry does not have yet."""
    ids = {precedent.example_id for precedent in lesson.precedents}
    known = {(p.example_id, p.answer) for p in entry.precedents if p.example_id in ids}  # there may be thousands
    return tuple(p for p in lesson.precedents if (p.example_id, p.answer) not in known)


def _home(target: Experience, edit: Merge) -> str:
    """The text of the rule that the lesson's precedents are cases of; "" if the entry does not tell its rules apart."""
    first = edit.experience.rules[0].text if edit.experience.rules else ""
    return edit.case_of or (first if target.gathers else "")


def _with_moved_cases(entry: Experience, revised: Experience) -> Experience:
    """The revised entry, whose precedents stay with their rules, wherever these stand now."""
    new = {rule_key(old): rule_key(text) for old, text in _reworded(entry.rules, revised.rules)}
    return revised.with_cases(replace(case, rule=new.get(case.rule, case.rule)) for case in entry.named_cases())


def _reworded(rules: Sequence[Rule], new: Sequence[Rule]) -> list[tuple[str, str]]:
    """Old and new texts of the rules that a person reworded in their places."""
    before, after = ({rule.text for rule in some} for some in (rules, new))
    pairs = ((old.text, rule.text) for old, rule in zip(rules, new, strict=False))
    return [(old, text) for old, text in pairs if old not in after and text not in before]


def _in_words_of(target: Experience, edit: Merge) -> Merge:
    """A merge that gathers, in the target's wordings: lessons of one window may word the same rule differently."""
    added = tuple(replace(rule, text=target.wording(rule.text) or rule.text) for rule in edit.add_rules)
    return replace(edit, add_rules=added, case_of=target.wording(edit.case_of) or edit.case_of)


def _of_rule(precedents: tuple[Precedent, ...], text: str, rules: tuple[Rule, ...]) -> tuple[Precedent, ...]:
    """The precedents as cases of the rule with this text, if it is one of these rules but not the first."""
    if not any(rule.text == text for rule in rules[1:]):
        return precedents
    return tuple(replace(precedent, rule=rule_key(text)) for precedent in precedents)


def _as_made(edit: Merge, rules: tuple[Rule, ...]) -> Merge:
    """The edit without the rules that the entry has no room for. Its reason counts them."""
    held = {rule.text for rule in rules}
    kept = tuple(rule for rule in edit.add_rules if rule.within_caps().text in held)
    if not edit.case_of or kept == edit.add_rules:
        return edit
    left_out = f"{len(edit.add_rules) - len(kept)} left out: the entry is full"
    return replace(edit, add_rules=kept, reason="; ".join(filter(None, (edit.reason, left_out))))


def _says_the_same(one: Experience, other: Experience) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in ("scope", "zone", "step", "method", "rules"))


def _union(examples: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """The examples of a rule, and as many further examples as the cap allows."""
    fresh = tuple(text for text in more if text not in examples)
    return examples + fresh[: max(0, MAX_EXAMPLES - len(examples))]


def _merge_rules(target: Experience, edit: Merge) -> tuple[Rule, ...] | None:
    """The target's rules after the edit; None if they would exceed the cap, or if a pinned target lacks their rule.

    Rules with the same text become one rule with the examples of both.
    """
    if target.pinned:
        held = not edit.case_of or any(rule.text == edit.case_of for rule in target.rules)
        return target.rules if held else None
    revised = {revision.old: revision.rule.within_caps() for revision in edit.revise_rules}
    rules: dict[str, Rule] = {}
    for rule in [*(revised.get(rule.text, rule) for rule in target.rules), *map(Rule.within_caps, edit.add_rules)]:
        known = rules.get(rule.text)
        rules[rule.text] = rule if known is None else replace(known, examples=_union(known.examples, rule.examples))
    if edit.case_of:
        return _gather(target, list(rules.values()), edit.case_of) if target.has_room(edit.case_of) else None
    return tuple(rules.values()) if len(rules) <= max(MAX_RULES, len(target.rules)) else None


def _gather(target: Experience, rules: Sequence[Rule], case_of: str) -> tuple[Rule, ...]:
    """The target's rules, and those of the new rules that it has room for."""
    case_rules = {*target.case_rules(), *(rule.key for rule in target.rules[:1]), rule_key(case_of)}
    if len(case_rules) == 1:  # all precedents are of one rule, so the entry still holds one lesson, with its cap
        case_rules = set()
    kept = {rule.text for rule in (*within_number(rules, case_rules), *rules[: len(target.rules)])}
    return tuple(rule for rule in rules if rule.text in kept)

"""Removes entries from a library: harmful, unused and redundant entries.

``prune`` plans removals, and carries them out on request. ``flex_dspy.evaluation.comparison.compare`` measures their
effect. Entries that a person has pinned are not removed.

- *value*: entries whose effect is below ``min_value``. They are chosen from the p-values of their estimates by the
  step-up procedure of Benjamini and Hochberg. On average at most a share ``1 - confidence`` of the removed entries is
  removed by mistake, for any number of measured entries. An entry without an interval is never removed for its value.
- *stale*: entries that were neither shown nor changed during the last ``stale_after`` examples.
- *redundant*: entries whose rules are all in another entry of the same zone, in the same or nearly the same words.
  Formulas and numbers must be exactly equal. The better entry stays: pinned before not pinned, then by measured effect,
  precedents and age. It takes over the precedents of the removed entry, so that the same queries find it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from flex_dspy.core.settings import accepts
from flex_dspy.evaluation.contrasts import step_up
from flex_dspy.evaluation.entry_values import EntryValue
from flex_dspy.evaluation.settings import PruningSettings
from flex_dspy.evaluation.usage_records import UsageRecord
from flex_dspy.libraries.conflicts import normal_words
from flex_dspy.libraries.experience import Commit, Edit, Experience, Merge, Remove
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import Store
from flex_dspy.search.exact_indexes import RuleIndex
from flex_dspy.search.indexes import index_of
from flex_dspy.search.lexical_index import LexicalIndex

Why = Literal["value", "stale", "redundant"]

_FORMULA = re.compile(r"[\d=#@<>^_+*/\\\[\]{}|$%&~]")
NEAREST = 20  # number of entries that an entry is compared with in the search for redundant entries


@dataclass(frozen=True, slots=True)
class Removal:
    """One entry to remove.

    Attributes:
        entry_id: The entry.
        why: The rule for its removal: value, stale or redundant.
        reason: The reason as text for a reader.
        kept: For a redundant entry, the id of the entry that stays.
    """

    entry_id: str
    why: Why
    reason: str
    kept: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Planned removals from a library.

    Attributes:
        before: The library as it was.
        after: The library without these entries.
        removals: The entries to remove, with the reasons.
        pinned: Entries that would be removed if they were not pinned.
        is_done: Whether the plan was carried out.
    """

    before: ExperienceLibrary
    after: ExperienceLibrary = field(repr=False)
    removals: tuple[Removal, ...]
    pinned: tuple[Removal, ...] = ()
    is_done: bool = False

    def counts(self) -> dict[str, int]:
        """Number of removals by rule."""
        return {why: n for why in ("value", "stale", "redundant") if (n := sum(r.why == why for r in self.removals))}

    def text(self) -> str:
        """Text with one line for each removal, and a summary."""
        lines = [f"{r.entry_id}  {r.why:<9}  {_brief(self.before[r.entry_id])}: {r.reason}" for r in self.removals]
        lines += [
            f"{r.entry_id}  pinned     {_brief(self.before[r.entry_id])}: it stays ({r.reason})" for r in self.pinned
        ]
        counts = ", ".join(f"{count} {why}" for why, count in self.counts().items()) or "nothing"
        taken = "removed" if self.is_done else "to be removed"
        return "\n".join([*lines, f"{taken}: {counts}; {len(self.before)} entries before, {len(self.after)} after"])


@accepts(PruningSettings)
def prune(
    library: ExperienceLibrary | Store,
    estimates: Mapping[str, EntryValue] | None = None,
    *,
    usage: Sequence[UsageRecord] = (),
    dry_run: bool = True,
    settings: PruningSettings | None = None,
    **options: Any,
) -> Plan:
    """Find entries to remove from a library, and remove them unless ``dry_run`` is set.

    Args:
        library: A snapshot, which never changes (the pruned one is ``Plan.after``), or a store.
        estimates: Measured values of the entries; None removes no entry for its value.
        usage: Usage records, oldest first, which say when entries were last shown. Without records, only entries that
            were never shown count as unused.
        dry_run: Whether to plan only, without removing anything.
        settings: The rules.
        **options: Fields of ``PruningSettings`` to change, such as ``min_value``.

    Returns:
        The plan; ``Plan.is_done`` says whether it was carried out.

    Raises:
        ConfigurationError: If a number is out of its range.
        LibraryError: If the store cannot be written.
    """
    settings = PruningSettings.resolve(settings, options)
    snapshot = library if isinstance(library, ExperienceLibrary) else library.library
    known = {entry_id: value for entry_id, value in (estimates or {}).items() if entry_id in snapshot}
    found = _find_removals(snapshot, known, usage, settings)
    pinned = tuple(r for r in found if settings.keep_pinned and snapshot[r.entry_id].pinned)
    removals = tuple(r for r in found if r not in pinned)
    after = snapshot.apply(_commit(snapshot, removals)) if removals else snapshot
    plan = Plan(snapshot, after, removals, pinned)
    return plan if dry_run else carry_out(plan, library)


def _find_removals(
    library: ExperienceLibrary,
    estimates: Mapping[str, EntryValue],
    usage: Sequence[UsageRecord],
    settings: PruningSettings,
) -> list[Removal]:
    """Entries to remove. An entry that fits several rules is listed under the first of them."""
    found: dict[str, Removal] = {}

    def note(removals: Iterable[Removal]) -> None:
        for removal in removals:
            found.setdefault(removal.entry_id, removal)

    note(_worthless(library, estimates, settings.min_value, 1 - settings.confidence))
    if settings.stale_after is not None:
        note(_stale(library, settings.stale_after, usage))
    stays = {entry_id for entry_id in found if settings.keep_pinned and library[entry_id].pinned}
    if settings.redundancy is not None:
        note(_redundant(library, estimates, settings.redundancy, found.keys() - stays))
    return list(found.values())


def carry_out(plan: Plan, library: ExperienceLibrary | Store) -> Plan:
    """Carry out a plan. Changes that other processes made to the store stay, and missing entries are skipped.

    Args:
        plan: The plan.
        library: The store or the snapshot that the plan was made for.

    Raises:
        LibraryError: If the store cannot be written.
    """
    if isinstance(library, ExperienceLibrary) or not plan.removals:
        return replace(plan, is_done=True)
    return replace(plan, after=library.commit([_commit(plan.before, plan.removals)]), is_done=True)


def _commit(library: ExperienceLibrary, removals: Sequence[Removal]) -> Commit:
    return Commit("", 0, tuple(_edits(library, removals)))


def _edits(library: ExperienceLibrary, removals: Sequence[Removal]) -> Iterator[Edit]:
    for removal in removals:
        if removal.kept:  # the kept entry has the same rules, so it takes over only the precedents
            lesson = library[removal.entry_id]
            yield Merge(removal.kept, lesson, reason=f"pruned: it said what {removal.entry_id} said")
        yield Remove(removal.entry_id, f"pruned: {removal.reason}", force=library[removal.entry_id].pinned)


def _brief(entry: Experience) -> str:
    words = " ".join(entry.method.split())
    return f"{entry.zone} {words if len(words) <= 60 else words[:57] + '...'}"


# -- the rules ---------------------------------------------------------------------------------------------


def _worthless(
    library: ExperienceLibrary, estimates: Mapping[str, EntryValue], least: float, rate: float
) -> Iterator[Removal]:
    measured = [entry.id for entry in library if entry.id in estimates and estimates[entry.id].is_known]
    rejected = step_up([estimates[entry_id].chance(least) for entry_id in measured], rate)
    for entry_id, is_rejected in zip(measured, rejected, strict=True):
        if is_rejected:
            estimate = estimates[entry_id]
            yield Removal(entry_id, "value", f"effect {estimate} on {estimate.examples} examples")


def _stale(library: ExperienceLibrary, after: int, usage: Sequence[UsageRecord]) -> Iterator[Removal]:
    lately = {entry_id for record in usage[-after:] for entry_id in record.shown}
    for entry in library:
        age = library.seen - entry.updated_at
        in_use = entry.id in lately if usage else entry.shown > 0
        if age >= after and not in_use:
            yield Removal(entry.id, "stale", f"unchanged for {age:,} examples, and not shown")


def _redundant(
    library: ExperienceLibrary, estimates: Mapping[str, EntryValue], alike: float, gone: set[str]
) -> Iterator[Removal]:
    """Entries that repeat an entry that stays. Entries are compared from the best to the worst."""
    words = {entry.id: set(normal_words(entry.text())) for entry in library}
    best_first = sorted((entry for entry in library if entry.id not in gone), key=_rank(estimates))
    stays: set[str] = set()
    for entry in best_first:
        near = (other for other in _near(library, entry) if other.id in stays)
        says_it = (o for o in near if _common(words[entry.id], words[o.id]) >= alike and _covers(o, entry, alike))
        keeper = next(says_it, None)
        if keeper is None:
            stays.add(entry.id)
            continue
        common = _common(words[entry.id], words[keeper.id])
        yield Removal(entry.id, "redundant", f"{keeper.id} says the same ({common:.0%} of the words)", keeper.id)


def _near(library: ExperienceLibrary, entry: Experience) -> list[Experience]:
    """Entries that may repeat a given entry: entries that share a rule with it, and the closest by words."""
    exact = index_of(library, "rules", RuleIndex).search(library, entry, NEAREST)
    matches = index_of(library, "lexical", LexicalIndex).search(library, entry.text(), NEAREST)
    return list({other.id: other for other in [*exact, *(library[match.entry_id] for match in matches)]}.values())


def _rank(estimates: Mapping[str, EntryValue]) -> Callable[[Experience], tuple[Any, ...]]:
    def rank(entry: Experience) -> tuple[Any, ...]:
        effect = estimates.get(entry.id, EntryValue()).effect or 0.0
        return not entry.pinned, -effect, -len(entry.precedents), entry.created_at, entry.id

    return rank


def _covers(keeper: Experience, entry: Experience, alike: float) -> bool:
    """Whether ``keeper`` has the same zone as ``entry`` and holds all its rules and formulas."""
    if keeper.zone != entry.zone or not _formulas(entry.text()) <= _formulas(keeper.text()):
        return False
    return all(any(_same(rule.text, other.text, alike) for other in keeper.rules) for rule in entry.rules)


def _same(rule: str, other: str, alike: float) -> bool:
    close = _common(set(normal_words(rule)), set(normal_words(other))) >= alike
    return close and _formulas(rule) == _formulas(other)


def _formulas(text: str) -> set[str]:
    """Words that are formulas or numbers. They must be equal, because one changed character changes the meaning."""
    return {word for word in normal_words(text) if _FORMULA.search(word)}


def _common(ours: set[str], theirs: set[str]) -> float:
    """Share of common words (Jaccard index), in [0, 1]."""
    return len(ours & theirs) / len(ours | theirs) if ours | theirs else 1.0

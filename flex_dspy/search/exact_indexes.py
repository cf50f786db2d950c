"""Indexes that find entries by the exact text of a rule, or of a problem."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator

from flex_dspy.core.zones import ZONES, Zone
from flex_dspy.libraries.change_log import Change
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary


class RuleIndex:
    """Finds entries by the exact text of their rules, and so every lesson that the library already holds."""

    def __init__(self) -> None:
        self.synced = 0
        self._entries: dict[tuple[str, Zone], list[str]] = {}  # ids in order

    def read(self, number: int, change: Change) -> None:
        """Record the rules of a new or rewritten entry. Searches skip the rules of removed entries."""
        if change.rewritten is None:
            return
        for rule in change.rewritten.rules:
            ids = self._entries.setdefault((rule.text, change.rewritten.zone), [])
            at = bisect_left(ids, change.entry_id)
            if ids[at : at + 1] != [change.entry_id]:
                ids.insert(at, change.entry_id)

    def search(self, library: ExperienceLibrary, lesson: Experience, count: int) -> list[Experience]:
        """Up to ``count`` entries that hold one of the lesson's rules word for word.

        Entries that hold its first rule come first, and among these the entries in its own zone. So the best entry to
        merge into is found even if more than ``count`` entries hold the rule.
        """
        zones = sorted(ZONES, key=lambda zone: zone != lesson.zone)
        found: dict[str, Experience] = {}
        for rule in dict.fromkeys(rule.text for rule in lesson.rules):
            for zone in zones:
                for entry in self._holders(library, rule, zone):
                    found.setdefault(entry.id, entry)
                    if len(found) == count:
                        return list(found.values())
        return list(found.values())

    def _holders(self, library: ExperienceLibrary, rule: str, zone: Zone) -> Iterable[Experience]:
        """The entries of the snapshot that hold a rule.

        The index may also know entries that are newer than the snapshot, were removed or moved, or have lost the rule.
        """
        for entry_id in self._entries.get((rule, zone), ()):
            entry = library.get(entry_id)
            if entry is not None and entry.zone == zone and any(held.text == rule for held in entry.rules):
                yield entry


class KindIndex:
    """Finds the entries that have the category and the method of a lesson, word for word."""

    def __init__(self) -> None:
        self.synced = 0
        self._entries: dict[tuple[str, str], list[str]] = {}  # ids in order

    def read(self, number: int, change: Change) -> None:
        """Record the kind of a new or rewritten entry. Searches skip entries that were removed or changed."""
        if change.rewritten is None or not (change.rewritten.category and change.rewritten.method):
            return
        ids = self._entries.setdefault((change.rewritten.category, change.rewritten.method), [])
        if change.entry_id not in ids:
            insort(ids, change.entry_id)

    def search(self, library: ExperienceLibrary, lesson: Experience) -> Iterator[Experience]:
        """The entries of the lesson's kind, in the order of their ids."""
        kind = (lesson.category, lesson.method)
        for entry_id in self._entries.get(kind, ()):
            entry = library.get(entry_id)
            if entry is not None and (entry.category, entry.method) == kind and entry.step == lesson.step:
                yield entry


class ProblemIndex:
    """Finds entries by the exact problems of their precedents."""

    def __init__(self) -> None:
        self.synced = 0
        self._entries: dict[str, list[tuple[int, str]]] = {}  # number of the change, entry
        self._removals: dict[str, array[int]] = {}  # by entry, the changes that removed it

    def read(self, number: int, change: Change) -> None:
        """Record the problems of new precedents, and the removals of entries."""
        if change.removed:
            self._removals.setdefault(change.entry_id, array("q")).append(number)
        for precedent in change.precedents:
            self._entries.setdefault(precedent.problem, []).append((number, change.entry_id))

    def search(self, library: ExperienceLibrary, problem: str) -> frozenset[str]:
        """Ids of the entries that have a precedent with this problem."""
        return frozenset(
            entry_id
            for number, entry_id in self._entries.get(problem, ())
            if number < library.tip and not self._is_gone(entry_id, number, library.tip)
        )

    def _is_gone(self, entry_id: str, since: int, tip: int) -> bool:
        """Whether an entry that existed at the change ``since`` is removed in a snapshot."""
        removals = self._removals.get(entry_id, ())
        after = bisect_right(removals, since)
        return after < len(removals) and removals[after] < tip

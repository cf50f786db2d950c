"""Scopes: the owners of entries, and the number of entries of each owner.

A scope is the name of a tenant, a user, an agent or a team. An entry without a scope is shared. A *view*
(``ExperienceLibrary.scoped``) is a library that holds the entries of some scopes only. If you read, print, compare or
export a view, you never see an entry of another scope.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from rpds import HashTrieMap

from flex_dspy.core.zones import ZONES
from flex_dspy.libraries.change_log import Change, ChangeLog
from flex_dspy.libraries.experience import Commit, Experience

# Number of views whose indexes are kept; any other view is indexed again when it is next searched.
MOST_VIEWS = 256
_READING = threading.Lock()  # any number of threads may ask for views


@dataclass(frozen=True, slots=True)
class Size:
    """Numbers of the entries of one scope.

    Attributes:
        golden: Number of its golden entries.
        warning: Number of its warning entries.
        mixed: Number of its mixed entries.
        precedents: Number of their precedents.
        latest: Logical time of the last change of any of them.
    """

    golden: int = 0
    warning: int = 0
    mixed: int = 0
    precedents: int = 0
    latest: int = 0

    def count(self, entry: Experience, times: int) -> Size:
        """The size with one entry added (``times`` is 1) or removed (-1)."""
        zone = {entry.zone: getattr(self, entry.zone) + times}
        precedents = self.precedents + times * len(entry.precedents)
        latest = max(self.latest, entry.created_at, entry.updated_at)
        return replace(self, precedents=precedents, latest=latest, **zone)

    @property
    def entries(self) -> int:
        """Number of entries."""
        return self.golden + self.warning + self.mixed

    def zones(self) -> dict[str, int]:
        """Number of entries by zone."""
        return {zone: getattr(self, zone) for zone in ZONES}


Sizes: TypeAlias = "HashTrieMap[str, Size]"  # by scope


def sizes_of(entries: Iterable[Experience]) -> Sizes:
    """The sizes of the scopes of these entries."""
    by_scope: dict[str, list[Experience]] = {}
    for entry in entries:
        by_scope.setdefault(entry.scope, []).append(entry)
    return HashTrieMap({scope: _size(group) for scope, group in by_scope.items()})


def _size(entries: list[Experience]) -> Size:
    zones = {zone: sum(entry.zone == zone for entry in entries) for zone in ZONES}
    latest = max(max(entry.created_at, entry.updated_at) for entry in entries)
    return Size(**zones, precedents=sum(len(entry.precedents) for entry in entries), latest=latest)


def resize(sizes: Sizes, old: Experience | None, new: Experience | None) -> Sizes:
    """The sizes after the entry ``old`` was replaced by ``new``; either may be None. Empty scopes are left out."""
    for entry, times in ((old, -1), (new, 1)):
        if entry is not None:
            size = sizes.get(entry.scope, Size()).count(entry, times)
            sizes = sizes.insert(entry.scope, size) if size.entries else sizes.remove(entry.scope)
    return sizes


def total(sizes: Sizes) -> Size:
    """The total size of all scopes."""
    each = list(sizes.values())
    if len(each) == 1:
        return each[0]
    zones = {zone: sum(getattr(size, zone) for size in each) for zone in ZONES}
    latest = max((size.latest for size in each), default=0)
    return Size(**zones, precedents=sum(size.precedents for size in each), latest=latest)


class ScopedEntries(Mapping[str, Experience]):
    """The entries of some scopes, by id. Entries of other scopes are not visible.

    Args:
        entries: Entries of all scopes.
        sizes: The sizes of the visible scopes.
    """

    def __init__(self, entries: HashTrieMap[str, Experience], sizes: Sizes) -> None:
        self._entries = entries
        self._sizes = sizes

    def __getitem__(self, entry_id: str) -> Experience:
        entry = self._entries.get(entry_id)
        if entry is None or entry.scope not in self._sizes:
            raise KeyError(entry_id)
        return entry

    def __contains__(self, entry_id: object) -> bool:
        entry = self._entries.get(entry_id) if isinstance(entry_id, str) else None
        return entry is not None and entry.scope in self._sizes

    def __len__(self) -> int:
        return total(self._sizes).entries

    def __iter__(self) -> Iterator[str]:
        return (entry_id for entry_id, entry in self._entries.items() if entry.scope in self._sizes)

    def insert(self, entry_id: str, entry: Experience) -> HashTrieMap[str, Experience]:
        """A copy of the visible entries with one entry added."""
        return HashTrieMap(dict(self)).insert(entry_id, entry)

    def remove(self, entry_id: str) -> HashTrieMap[str, Experience]:
        """A copy of the visible entries without one of them."""
        return HashTrieMap(dict(self)).remove(entry_id)


class ScopedLog(ChangeLog):
    """The changes of the entries of some scopes, read from the log of all scopes. It has its own indexes.

    A search in a view therefore gives the same result as in a library of these entries alone. No word, count or mean of
    another scope affects a score.

    Args:
        whole: The log of all scopes.
        scopes: The visible scopes.
    """

    def __init__(self, whole: ChangeLog, scopes: frozenset[str]) -> None:
        super().__init__([])
        self._whole = whole
        self._scopes = scopes
        self._visible: set[str] = set()
        self._numbers = array("q")  # positions of the visible changes in the log of all scopes
        self._read = 0

    def tip(self, tip: int) -> int:
        """The number of visible changes among the first ``tip`` changes of all scopes. New changes are read first."""
        with _READING:
            for number in range(self._read, tip):
                change = self._whole.changes[number]
                if self._is_visible(change):
                    self._numbers.append(number)
                    self.changes.append(change)
                self._read = number + 1
            return bisect_left(self._numbers, tip)

    def _is_visible(self, change: Change) -> bool:
        if change.rewritten is not None:
            act = self._visible.add if change.rewritten.scope in self._scopes else self._visible.discard
            act(change.entry_id)
        return change.entry_id in self._visible

    def extend(self, tip: int, changes: list[Change], number: int, commit: Commit) -> ChangeLog:
        """A new log: a changed view is no longer a view of the whole library."""
        return ChangeLog(self.changes[:tip]).extend(tip, changes, number, commit)


def log_of(whole: ChangeLog, scopes: frozenset[str]) -> ScopedLog:
    """The log of these scopes. The most recently used logs are cached."""
    with _READING:
        logs: dict[frozenset[str], ScopedLog] = whole.views.setdefault(ScopedLog, {})
        log = logs.pop(scopes, None) or ScopedLog(whole, scopes)
        logs[scopes] = log  # moves it to the end, so that it is dropped last
        while len(logs) > MOST_VIEWS:
            del logs[next(iter(logs))]
        return log

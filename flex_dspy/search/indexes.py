"""Indexes over a line of library snapshots.

An index reads the library's change log forward and is never rebuilt. It answers for any snapshot of its line. Its
answer depends only on the snapshot's content, not on the order in which the content arrived. So a library that was
loaded from a file is searched exactly like the library that was saved.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from flex_dspy.libraries.change_log import Change, ChangeLog
from flex_dspy.libraries.experience import Precedent
from flex_dspy.libraries.library import ExperienceLibrary

# Characters of a query that are used. A query of a megabyte would scan the whole library.
LONGEST_QUERY = 20_000


class Match(NamedTuple):  # a tuple is made three times as fast as a frozen dataclass, and a search makes hundreds
    """One row of an index that fits a query.

    Attributes:
        entry_id: The entry.
        score: The view's own score; a higher score is a better match.
        precedent: The precedent that matched; None if the view does not compare precedents.
    """

    entry_id: str
    score: float
    precedent: Precedent | None = None


class Index(Protocol):
    """An index that reads the changes of a log."""

    synced: int

    def read(self, number: int, change: Change) -> None:
        """Read the change with this number in the log."""


IndexT = TypeVar("IndexT", bound=Index)
LOCK = threading.RLock()


def index_of(library: ExperienceLibrary, kind: str, make: Callable[[], IndexT]) -> IndexT:
    """Return the index of this kind for the library's line, after it has read all changes up to the snapshot."""
    with LOCK:
        index: IndexT = library.log.views.setdefault(kind, None) or make()
        library.log.views[kind] = index
        try:
            _catch_up(index, library.log, library.tip)
        except BaseException:  # also Ctrl-C: reading a half-read change again would count it twice
            del library.log.views[kind]
            raise
        return index


def _catch_up(index: Index, log: ChangeLog, tip: int) -> None:
    for number in range(index.synced, tip):
        index.read(number, log.changes[number])
    index.synced = max(index.synced, tip)


def top_rows(scores: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.intp]:
    """Rows of the ``count`` highest scores above zero, and all rows that tie with the last of these."""
    rows = np.flatnonzero(scores)
    if len(rows) <= count:
        return rows
    found = scores[rows]
    return rows[found >= np.partition(found, len(found) - count)[len(found) - count]]


def content_order(match: Match) -> tuple[float, str, str, str, str]:
    """Sort key of matches: best first, ties by text. So the order of arrival does not matter."""
    precedent = match.precedent
    if precedent is None:
        return -match.score, "", "", "", match.entry_id
    return -match.score, precedent.problem, precedent.answer, precedent.example_id, match.entry_id

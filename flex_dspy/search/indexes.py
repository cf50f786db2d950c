"""Indexes over a line of library snapshots.

An index reads the library's change log forward and never rebuilds. It answers for any snapshot of its line, and
its answer depends on that snapshot's content alone (not on the order in which the content arrived): a library
loaded from a file is searched exactly like the one that was saved.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from flex_dspy.libraries.change_log import Change, ChangeLog
from flex_dspy.libraries.experience import Precedent
from flex_dspy.libraries.library import ExperienceLibrary

# Characters of a query that are looked at. A longer one, of a megabyte, would be a scan of all that the library holds.
LONGEST_QUERY = 20_000


@dataclass(frozen=True, slots=True)
class Match:
    """One row of an index that fits a query.

    Attributes:
        entry_id: The entry.
        score: The view's own score; greater fits better.
        precedent: The precedent that matched, where the view looks at those.
    """

    entry_id: str
    score: float
    precedent: Precedent | None = None


class Index(Protocol):
    """An index that reads the changes of a log."""

    synced: int

    def read(self, number: int, change: Change) -> None:
        """Take in the change with this number in the log."""


IndexT = TypeVar("IndexT", bound=Index)
LOCK = threading.RLock()


def index_of(library: ExperienceLibrary, kind: str, make: Callable[[], IndexT]) -> IndexT:
    """The index of this kind for the library's line, up to date with the snapshot."""
    with LOCK:
        index: IndexT = library.log.views.setdefault(kind, None) or make()
        library.log.views[kind] = index
        try:
            _catch_up(index, library.log, library.tip)
        except BaseException:  # also ctrl-C in a notebook: half a change that is read again would count twice
            del library.log.views[kind]
            raise
        return index


def _catch_up(index: Index, log: ChangeLog, tip: int) -> None:
    for number in range(index.synced, tip):
        index.read(number, log.changes[number])
    index.synced = max(index.synced, tip)


def top_rows(scores: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.intp]:
    """Rows of the ``count`` highest scores above zero, and of all that tie with the last of them."""
    rows = np.flatnonzero(scores)
    if len(rows) <= count:
        return rows
    found = scores[rows]
    return rows[found >= np.partition(found, len(found) - count)[len(found) - count]]


def content_order(match: Match) -> tuple[float, str, str, str, str]:
    """Key to sort matches by: best first, ties by their text, so that the order of arrival is no matter."""
    precedent = match.precedent
    if precedent is None:
        return -match.score, "", "", "", match.entry_id
    return -match.score, precedent.problem, precedent.answer, precedent.example_id, match.entry_id

"""Indexes over a line of library snapshots: structural, lexical, and by rule.

An index reads the library's change log forward and never rebuilds. It answers for any snapshot of its line, and
its answer depends on that snapshot's content alone (not on the order in which the content arrived): a library
loaded from a file is searched exactly like the one that was saved.
"""

from __future__ import annotations

import math
import re
import threading
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from flex_dspy.experience import Precedent
from flex_dspy.library import Change, ChangeLog, ExperienceLibrary

NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Match:
    """One row of an index that fits a query.

    Attributes:
        entry_id: The entry.
        score: The view's own score; greater fits better.
        precedent: The solved case that matched, where the view looks at those.
    """

    entry_id: str
    score: float
    precedent: Precedent | None = None


class Index(Protocol):
    """What the log asks of an index."""

    synced: int

    def read(self, number: int, change: Change) -> None:
        """Take in the change with this number in the log."""


IndexT = TypeVar("IndexT", bound=Index)
_LOCK = threading.RLock()


def index_of(library: ExperienceLibrary, kind: str, make: Callable[[], IndexT]) -> IndexT:
    """The index of this kind for the library's line, up to date with the snapshot."""
    with _LOCK:
        index: IndexT = library.log.views.setdefault(kind, None) or make()
        library.log.views[kind] = index
        _catch_up(index, library.log, library.tip)
        return index


def _catch_up(index: Index, log: ChangeLog, tip: int) -> None:
    for number in range(index.synced, tip):
        index.read(number, log.changes[number])
    index.synced = max(index.synced, tip)


class _Rows:
    """A growing array, and how many rows each change added: the rows of a snapshot are a prefix."""

    def __init__(self) -> None:
        self.count = 0
        self._last_change: list[int] = []  # by row: the change that added it

    def add(self, change: int) -> int:
        self._last_change.append(change)
        self.count += 1
        return self.count - 1

    def until(self, tip: int) -> int:
        return bisect_right(self._last_change, tip - 1)


def _grown(data: npt.NDArray[np.generic], needed: int) -> npt.NDArray[np.generic]:
    """``data`` with room for ``needed`` rows; doubling keeps the cost of a row constant."""
    if needed <= len(data):
        return data
    return np.concatenate([data, np.zeros((max(needed, 2 * len(data)) - len(data), *data.shape[1:]), data.dtype)])


class StructuralIndex:
    """Tanimoto similarity of Morgan fingerprints between a molecule and every precedent's problem.

    One search reads 256 bytes a precedent: it grows linearly, at about 0.1 microseconds a precedent.

    Source: similarity of products as the key to precedents is RetroSim's idea (Coley et al., ACS Cent. Sci. 2017,
    3, 1237).
    """

    WORDS = 32

    def __init__(self) -> None:
        from flex_dspy.molecules import fingerprint

        self.synced = 0
        self._fingerprint = fingerprint
        self._rows = _Rows()
        self._bits: npt.NDArray[np.uint64] = np.zeros((64, self.WORDS), np.uint64)
        self._ones: npt.NDArray[np.int32] = np.zeros(64, np.int32)
        self._keys: list[tuple[str, Precedent]] = []

    def read(self, number: int, change: Change) -> None:
        """Add one row a precedent; problems that are no molecule have none."""
        for precedent in change.precedents:
            words = self._fingerprint(precedent.problem)
            if words is None:
                continue
            row = self._rows.add(number)
            self._bits = _grown(self._bits, row + 1)  # type: ignore[assignment]
            self._ones = _grown(self._ones, row + 1)  # type: ignore[assignment]
            self._bits[row] = words
            self._ones[row] = np.bitwise_count(words).sum()
            self._keys.append((change.entry_id, precedent))

    def search(self, library: ExperienceLibrary, problem: str, depth: int, *, skip: str | None) -> list[Match]:
        """The ``depth`` most similar precedents, best first; ties by text, so that order of arrival is no matter.

        Args:
            library: The snapshot to search.
            problem: SMILES of the molecule asked about.
            depth: How many precedents.
            skip: Precedents with this very problem are left out.
        """
        query = self._fingerprint(problem)
        end = self._rows.until(library.tip)
        if query is None or end == 0:
            return []
        common = np.bitwise_count(self._bits[:end] & query).sum(axis=1, dtype=np.int32)
        similarity = common / np.maximum(self._ones[:end] + int(np.bitwise_count(query).sum()) - common, 1)
        matches = (
            Match(entry_id, float(similarity[row]), precedent)
            for row in _top_rows(similarity, depth + 8)
            for entry_id, precedent in [self._keys[row]]
            if precedent.problem != skip and entry_id in library
        )
        return sorted(matches, key=_content_order)[:depth]


def _top_rows(scores: npt.NDArray[np.floating], count: int) -> npt.NDArray[np.intp]:
    """Rows of the ``count`` highest scores and of all that tie with the last of them."""
    if len(scores) <= count:
        return np.arange(len(scores))
    threshold = np.partition(scores, len(scores) - count)[len(scores) - count]
    return np.flatnonzero(scores >= threshold)


def _content_order(match: Match) -> tuple[float, str, str, str]:
    precedent = match.precedent
    return (
        -match.score,
        precedent.problem if precedent else "",
        precedent.answer if precedent else "",
        match.entry_id,
    )


_WORD = re.compile(r"[a-z0-9]+|[^\sa-z0-9]", re.IGNORECASE)


def words_of(text: str) -> list[str]:
    """Lower-case words and single marks: the tokens of lexical search."""
    return [word.lower() for word in _WORD.findall(text)]


class LexicalIndex:
    """BM25 over the text of entries and of their precedents' problems.

    Source: Robertson and Zaragoza, Found. Trends Inf. Retr. 2009, 3, 333; the weight of a word is the
    non-negative form of Lucene. Statistics are those of the snapshot that is searched.
    """

    K1 = 1.2
    B = 0.75
    # A word in more than this share of a large library says nothing, and costs a scan.
    COMMON_SHARE = 0.2
    COMMON_FLOOR = 1_000
    # Precedents whose words count: an entry with thousands would drown its own lesson, and rewriting its row at
    # every merge would cost more each time.
    PRECEDENTS = 8

    def __init__(self) -> None:
        self.synced = 0
        self._rows = _Rows()
        self._entry_of_row: list[str] = []
        self._row_of_entry: dict[str, int] = {}
        self._words_of_entry: dict[str, tuple[Counter[str], int]] = {}  # and precedents among them
        self._length = array("q")
        self._died: npt.NDArray[np.int64] = np.full(64, NEVER)
        self._total_length: list[int] = []  # by change: words in all live rows after it
        self._postings: dict[str, tuple[array[int], array[int]]] = {}

    def read(self, number: int, change: Change) -> None:
        """Write a new row where an entry's words changed, and mark the row it replaces."""
        words, precedents = self._words_of_entry.get(change.entry_id, (Counter(), 0))
        if change.rewritten is not None:
            words, precedents = Counter(words_of(change.rewritten.text())), 0
        known = change.rewritten.precedents if change.rewritten is not None else change.precedents
        fresh = known[: max(self.PRECEDENTS - precedents, 0)]
        total = self._total_length[-1] if self._total_length else 0
        if change.rewritten is not None or fresh:
            words = words + Counter(word for p in fresh for word in words_of(p.problem))
            total += self._write(change.entry_id, words, number) - self._retire(change.entry_id, number)
            self._row_of_entry[change.entry_id] = self._rows.count - 1
        self._words_of_entry[change.entry_id] = (words, precedents + len(fresh))
        self._total_length.append(total)

    def _retire(self, entry_id: str, number: int) -> int:
        row = self._row_of_entry.get(entry_id)
        if row is None:
            return 0
        self._died[row] = number
        return self._length[row]

    def _write(self, entry_id: str, words: Counter[str], number: int) -> int:
        row = self._rows.add(number)
        if row >= len(self._died):
            self._died = np.concatenate([self._died, np.full(len(self._died), NEVER)])
        for word, count in words.items():
            rows, counts = self._postings.setdefault(word, (array("q"), array("q")))
            rows.append(row)
            counts.append(count)
        self._entry_of_row.append(entry_id)
        self._length.append(words.total())
        return words.total()

    def search(self, library: ExperienceLibrary, text: str, depth: int) -> list[Match]:
        """The ``depth`` entries whose text fits best, best first."""
        end = self._rows.until(library.tip)
        if end == 0:
            return []
        with _LOCK:  # arrays whose buffer is being read cannot grow
            scores = self._scores(library, text, end)
        found = _top_rows(scores, depth)
        matches = (Match(self._entry_of_row[row], float(scores[row])) for row in found if scores[row] > 0)
        return sorted(matches, key=_content_order)[:depth]

    def _scores(self, library: ExperienceLibrary, text: str, end: int) -> npt.NDArray[np.float64]:
        scores: npt.NDArray[np.float64] = np.zeros(end)
        mean_length = max(self._total_length[library.tip - 1] / max(len(library), 1), 1.0)
        lengths = np.frombuffer(self._length, dtype=np.int64)[:end].copy()
        norm = self.K1 * (1 - self.B + self.B * lengths / mean_length)
        for word in sorted(set(words_of(text))):
            self._add_word(scores, norm, word, library, end)
        return scores

    def _add_word(
        self,
        scores: npt.NDArray[np.float64],
        norm: npt.NDArray[np.float64],
        word: str,
        library: ExperienceLibrary,
        end: int,
    ) -> None:
        if word not in self._postings:
            return
        rows, counts = (np.frombuffer(column, dtype=np.int64).copy() for column in self._postings[word])
        alive = (rows < end) & (self._died[rows] >= library.tip)
        rows, counts = rows[alive], counts[alive]
        documents = len(library)
        if len(rows) > max(self.COMMON_FLOOR, self.COMMON_SHARE * documents):
            return
        weight = math.log(1 + (documents - len(rows) + 0.5) / (len(rows) + 0.5))
        scores[rows] += weight * counts * (self.K1 + 1) / (counts + norm[rows])


class RuleIndex:
    """Entries by the exact text of their rules: the sure way to find a lesson that is already there."""

    def __init__(self) -> None:
        self.synced = 0
        self._entries: dict[str, list[str]] = {}

    def read(self, number: int, change: Change) -> None:
        """Note the rules of a new or rewritten entry."""
        if change.rewritten is not None:
            for rule in change.rewritten.rules:
                entries = self._entries.setdefault(rule.text, [])
                if change.entry_id not in entries:
                    entries.append(change.entry_id)

    def search(self, library: ExperienceLibrary, rules: Iterable[str]) -> list[str]:
        """Ids of entries that hold one of these rules word for word, in order of id."""
        wanted = set(rules)
        candidates = {entry_id for text in wanted for entry_id in self._entries.get(text, ())}
        return sorted(
            entry_id
            for entry_id in candidates
            if (entry := library.get(entry_id)) is not None and wanted & {rule.text for rule in entry.rules}
        )

"""An index that finds precedents by the fingerprint of their problem."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from flex_dspy.libraries.change_log import Change
from flex_dspy.libraries.experience import Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.index_rows import DeathLog, RowLog, grow
from flex_dspy.search.indexes import LONGEST_QUERY, Match, content_order, top_rows
from flex_dspy.search.views import Fingerprint


class FingerprintIndex:
    """Finds precedents by the Tanimoto similarity of the fingerprints of their problem and the query.

    A search compares the query with every precedent, so its time grows linearly (measured in tests/benchmarks). A
    precedent takes 256 bytes for 2,048 bits.

    Args:
        fingerprint: Returns a problem's bits; see ``flex_dspy.search.views``.

    Source: similarity of products as the key to precedents is RetroSim's idea (Coley et al., ACS Cent. Sci. 2017,
    3, 1237).
    """

    def __init__(self, fingerprint: Fingerprint) -> None:
        self.synced = 0
        self._fingerprint = fingerprint
        self._rows = RowLog()
        # One array for each word, not for each fingerprint. So numpy works on thousands of rows at once, and words
        # without a bit in the query cost no time. Five times as fast as rows of 32 words, at 40,000 precedents.
        self._bits: npt.NDArray[np.uint64] = np.zeros((0, 64), np.uint64)
        self._ones: npt.NDArray[np.int32] = np.zeros(64, np.int32)
        self._keys: list[tuple[str, Precedent]] = []
        # The rows of an entry, newest first. Each row knows the row before, so a removal reads no other rows.
        self._newest_row: dict[str, int] = {}
        self._row_before = array("q")
        self._deaths = DeathLog()

    def _words(self, problem: str) -> npt.NDArray[np.uint64] | None:
        return None if len(problem) > LONGEST_QUERY else self._fingerprint(problem)

    def read(self, number: int, change: Change) -> None:
        """Add one row for each precedent whose problem has a fingerprint. A removal ends the entry's rows."""
        if change.removed:
            self._end_rows(number, change.entry_id)
        for precedent in change.precedents:
            words = self._words(precedent.problem)
            if words is None:
                continue
            row = self._rows.count
            self._bits = grow(self._bits if row else np.zeros((len(words), 64), np.uint64), row + 1)
            self._ones = grow(self._ones, row + 1)
            self._bits[:, row] = words
            self._ones[row] = np.bitwise_count(words).sum()
            self._keys.append((change.entry_id, precedent))
            self._row_before.append(self._newest_row.get(change.entry_id, -1))
            self._newest_row[change.entry_id] = self._rows.add(number)

    def _end_rows(self, number: int, entry_id: str) -> None:
        row = self._newest_row.pop(entry_id, -1)
        while row >= 0:
            self._deaths.add(number, row)
            row = self._row_before[row]

    def search(
        self, library: ExperienceLibrary, problem: str, depth: int, *, skip: frozenset[str] = frozenset()
    ) -> list[Match]:
        """The ``depth`` most similar precedents, best first; ties by text, so the order of arrival does not matter.

        Precedents that share no bit with the problem are left out.

        Args:
            library: The snapshot to search.
            problem: The problem of the query.
            depth: Number of precedents.
            skip: Problems whose precedents are left out.
        """
        query, end = self._words(problem), self._rows.until(library.tip)
        if query is None or not end:
            return []
        similarity = self._similarity(query, end)
        similarity[np.array(self._deaths.until(library.tip), np.intp)] = 0  # rows with similarity 0 are no matches
        wanted = depth
        while True:
            rows = top_rows(similarity, wanted)
            matches = list(self._matches(rows, similarity, skip))
            if len(matches) >= depth or len(rows) < wanted:
                return sorted(matches, key=content_order)[:depth]
            wanted *= 2  # too many of the rows were skipped: look further

    def _similarity(self, query: npt.NDArray[np.uint64], end: int) -> npt.NDArray[np.float64]:
        common: npt.NDArray[np.uint16] = np.zeros(end, np.uint16)
        for word in np.flatnonzero(query):
            common += np.bitwise_count(self._bits[word, :end] & query[word])
        either = self._ones[:end] + int(np.bitwise_count(query).sum()) - common
        return common / np.maximum(either, 1)

    def _matches(
        self, rows: npt.NDArray[np.intp], similarity: npt.NDArray[np.float64], skip: frozenset[str]
    ) -> Iterator[Match]:
        for row, score in zip(rows.tolist(), similarity[rows].tolist(), strict=True):
            entry_id, precedent = self._keys[row]
            if precedent.problem not in skip:
                yield Match(entry_id, score, precedent)

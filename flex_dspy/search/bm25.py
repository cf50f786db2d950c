"""BM25 over rows of terms, for any snapshot of a line.

A row's score is the sum, over the distinct terms of the query, of
``log(1 + (N - n + 0.5) / (n + 0.5)) * f * (K1 + 1) / (f + K1 * (1 - B + B * length / mean_length))``, with N rows,
n rows that hold the term, and f occurrences of the term in the row. All these numbers are counted in the snapshot that
is searched. A search reads the postings of the query's terms, so it takes longer for common terms.

Source: Robertson and Zaragoza, Found. Trends Inf. Retr. 2009, 3, 333; the weight of a term is the non-negative form
of Lucene.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flex_dspy.search.index_rows import NEVER, RowLog, grow


@dataclass(slots=True)
class _Postings:
    """The postings of one term: the rows that hold it, its counts in them, and the changes that retired such rows.

    ``rows`` and ``deaths`` are ascending.
    """

    rows: array[int] = field(default_factory=lambda: array("i"))
    counts: array[int] = field(default_factory=lambda: array("i"))
    deaths: array[int] = field(default_factory=lambda: array("i"))

    def until(self, end: int, tip: int) -> tuple[int, int]:
        """The number of rows of a snapshot that hold or held the term, and the number of these that are retired."""
        return bisect_left(self.rows, end), bisect_left(self.deaths, tip)


class TermRows:
    """Rows of terms, written and retired by the changes of a log."""

    K1 = 1.2
    B = 0.75
    # A term in more than this share of many rows says little and makes a search slow. The rarest few always count.
    COMMON_SHARE = 0.2
    COMMON_FLOOR = 1_000
    RAREST = 4

    def __init__(self) -> None:
        self._rows = RowLog()
        self._length: npt.NDArray[np.int32] = np.zeros(64, np.int32)
        self._died: npt.NDArray[np.int64] = np.full(64, NEVER)
        # By tip: the number of live rows, and the number of terms in them.
        self._count_at, self._length_at = array("q", [0]), array("q", [0])
        self._alive = self._total = 0
        self._numbers: dict[str, int] = {}  # by term; rows of numbers take a fifth of a Counter's memory
        self._terms: list[str] = []
        self._postings: list[_Postings] = []
        self._row_terms: list[array[int] | None] = []  # term, count, term, count, ...; None once retired

    def write(self, terms: Mapping[str, int], number: int) -> int:
        """Add a row, as part of the change with this number.

        Returns:
            The row's number.
        """
        row = self._rows.count
        self._died = grow(self._died, row + 1, NEVER)
        self._length = grow(self._length, row + 1)
        self._length[row] = sum(terms.values())
        pairs = array("i")
        for term, count in terms.items():
            at = self._number(term)
            self._postings[at].rows.append(row)
            self._postings[at].counts.append(count)
            pairs.extend((at, count))
        self._row_terms.append(pairs)
        self._alive += 1
        self._total += int(self._length[row])
        return self._rows.add(number)

    def retire(self, row: int, number: int) -> None:
        """Retire a row, as part of the change with this number."""
        self._died[row] = number
        for term in (self._row_terms[row] or ())[::2]:
            self._postings[term].deaths.append(number)
        self._row_terms[row] = None
        self._alive -= 1
        self._total -= int(self._length[row])

    def end_change(self) -> None:
        """Record the state after a change. Call it once for each change of the log, in order."""
        self._count_at.append(self._alive)
        self._length_at.append(self._total)

    def terms_of(self, row: int) -> Counter[str]:
        """The terms of a row that is not retired."""
        pairs = self._row_terms[row] or array("i")
        return Counter({self._terms[pairs[i]]: pairs[i + 1] for i in range(0, len(pairs), 2)})

    def _number(self, term: str) -> int:
        at = self._numbers.setdefault(term, len(self._terms))
        if at == len(self._terms):
            self._terms.append(term)
            self._postings.append(_Postings())
        return at

    def scores(self, terms: Iterable[str], tip: int) -> npt.NDArray[np.float64]:
        """The score of every row of a snapshot; 0 for a retired row.

        Args:
            terms: Terms of the query; each counts once.
            tip: The snapshot's place in the log.

        Returns:
            Shape ``(rows until the tip,)``.
        """
        end = self._rows.until(tip)
        telling = [(holders, self._postings[at]) for holders, at in self._telling(terms, tip)]
        if not telling:
            return np.zeros(end)
        # All terms at once: a dozen calls of numpy for each term took twice as long as the sums.
        births = [bisect_left(postings.rows, end) for _, postings in telling]
        spans = list(zip(births, telling, strict=True))
        rows = np.concatenate([np.frombuffer(p.rows, np.int32, count) for count, (_, p) in spans])
        counts = np.concatenate([np.frombuffer(p.counts, np.int32, count) for count, (_, p) in spans])
        weights = np.repeat([self._weight(holders, tip) for holders, _ in telling], births)
        if any(holders < count for count, (holders, _) in spans):
            alive = self._died[rows] >= tip
            rows, counts, weights = rows[alive], counts[alive], weights[alive]
        norm = self._norm(self._length[:end], tip)
        scores: npt.NDArray[np.float64] = np.bincount(rows, weights * counts / (counts + norm[rows]), end)  # type: ignore[assignment]
        return scores

    def own_score(self, terms: Mapping[str, int], tip: int) -> float:
        """The score that a row of exactly these terms would have."""
        norm = float(self._norm(np.array([sum(terms.values())], np.int32), tip)[0])
        return sum(
            self._weight(holders, tip) * count / (count + norm)
            for holders, at in self._telling(terms, tip)
            if (count := terms[self._terms[at]])
        )

    def _norm(self, lengths: npt.NDArray[np.int32], tip: int) -> npt.NDArray[np.float64]:
        mean = max(self._length_at[tip] / max(self._count_at[tip], 1), 1.0)
        return np.asarray(self.K1 * (1 - self.B + self.B * lengths / mean), np.float64)

    def _weight(self, holders: int, tip: int) -> float:
        return math.log(1 + (self._count_at[tip] - holders + 0.5) / (holders + 0.5)) * (self.K1 + 1)

    def _telling(self, terms: Iterable[str], tip: int) -> list[tuple[int, int]]:
        """The terms that distinguish rows, as pairs: the number of rows of the snapshot that hold it, and its number.

        They are sorted by term, because the order decides the last digit of a sum.
        """
        end = self._rows.until(tip)
        found: list[tuple[int, int]] = []
        for term in sorted(set(terms)):
            at = self._numbers.get(term)
            if at is not None:
                births, deaths = self._postings[at].until(end, tip)
                if births > deaths:
                    found.append((births - deaths, at))
        common = max(self.COMMON_FLOOR, self.COMMON_SHARE * self._count_at[tip])
        if sum(holders <= common for holders, _ in found) < self.RAREST:
            common = max((holders for holders, _ in sorted(found)[: self.RAREST]), default=0)
        return [(holders, at) for holders, at in found if holders <= common]

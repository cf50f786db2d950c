"""An index that finds entries by their words."""

from __future__ import annotations

from collections import Counter

from flex_dspy.libraries.change_log import Change
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.bm25 import TermRows
from flex_dspy.search.indexes import LOCK, LONGEST_QUERY, Match, content_order, top_rows
from flex_dspy.search.words import words_of


class LexicalIndex:
    """Finds entries by BM25 over their text and their precedents' problems; see ``flex_dspy.search.bm25``."""

    # Number of precedents whose words count. With thousands, the lesson's own words would hardly count, and each
    # merge would take longer than the one before.
    PRECEDENTS = 8

    def __init__(self) -> None:
        self.synced = 0
        self._rows = TermRows()
        self._entry_of_row: list[str] = []
        self._newest: dict[str, tuple[int, int]] = {}  # an entry's row, and the number of precedents in it

    def read(self, number: int, change: Change) -> None:
        """Write a new row if an entry's words changed, and retire the old row."""
        self._take_in(number, change)
        self._rows.end_change()

    def _take_in(self, number: int, change: Change) -> None:
        old, known = self._newest.get(change.entry_id, (None, 0))
        if change.removed:
            del self._newest[change.entry_id]
            self._retire(old, number)
            return
        if change.rewritten is not None:
            fresh = change.rewritten.precedents[: self.PRECEDENTS]
            words, known = Counter(words_of(change.rewritten.text())), 0
        else:
            fresh = change.precedents[: self.PRECEDENTS - known]
            words = self._rows.terms_of(old) if fresh and old is not None else Counter()
        if change.rewritten is not None or fresh:
            words.update(word for p in fresh for word in words_of(p.problem))
            row = self._rows.write(words, number)
            self._entry_of_row.append(change.entry_id)
            self._retire(old, number)
            self._newest[change.entry_id] = (row, known + len(fresh))

    def _retire(self, row: int | None, number: int) -> None:
        if row is not None:
            self._rows.retire(row, number)

    def search(self, library: ExperienceLibrary, text: str, depth: int) -> list[Match]:
        """The ``depth`` entries whose text fits best, best first; ties by id.

        Args:
            library: The snapshot to search.
            text: The query. Only the first ``LONGEST_QUERY`` characters are used.
            depth: Number of entries.
        """
        with LOCK:  # an array cannot grow while its buffer is read
            scores = self._rows.scores(words_of(text[:LONGEST_QUERY]), library.tip)
        rows = top_rows(scores, depth)
        matches = (
            Match(self._entry_of_row[row], score)
            for row, score in zip(rows.tolist(), scores[rows].tolist(), strict=True)
        )
        return sorted(matches, key=content_order)[:depth]

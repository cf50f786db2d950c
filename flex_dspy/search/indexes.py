"""Indexes over a line of library snapshots: by fingerprint, by words, by rule, and by problem.

An index reads the library's change log forward and never rebuilds. It answers for any snapshot of its line, and
its answer depends on that snapshot's content alone (not on the order in which the content arrived): a library
loaded from a file is searched exactly like the one that was saved.
"""

from __future__ import annotations

import math
import re
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from flex_dspy.core.zones import ZONES, Zone
from flex_dspy.libraries.change_log import Change, ChangeLog
from flex_dspy.libraries.experience import Experience, Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.views import Fingerprint

NEVER = np.iinfo(np.int64).max

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
_LOCK = threading.RLock()


def index_of(library: ExperienceLibrary, kind: str, make: Callable[[], IndexT]) -> IndexT:
    """The index of this kind for the library's line, up to date with the snapshot."""
    with _LOCK:
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


class _Rows:
    """Which change added which row: the rows of a snapshot are a prefix."""

    def __init__(self) -> None:
        self._change_of_row = array("q")

    @property
    def count(self) -> int:
        return len(self._change_of_row)

    def add(self, change: int) -> int:
        self._change_of_row.append(change)
        return self.count - 1

    def until(self, tip: int) -> int:
        return bisect_right(self._change_of_row, tip - 1)


class _Deaths:
    """Which rows ended at which change: the dead of a snapshot are a prefix."""

    def __init__(self) -> None:
        self._row_of_death = array("q")
        self._change_of_death = array("q")

    def add(self, change: int, row: int) -> None:
        self._change_of_death.append(change)
        self._row_of_death.append(row)

    def until(self, tip: int) -> array[int]:
        """Rows of a snapshot that are dead in it."""
        return self._row_of_death[: bisect_right(self._change_of_death, tip - 1)]


ArrayT = TypeVar("ArrayT", bound=np.generic)


def _grow(data: npt.NDArray[ArrayT], needed: int, fill: int = 0) -> npt.NDArray[ArrayT]:
    """``data`` with room for ``needed`` items on its last axis; doubling keeps the cost of an item constant."""
    room = data.shape[-1]
    if needed <= room:
        return data
    more = np.full((*data.shape[:-1], max(needed, 2 * room) - room), fill, data.dtype)
    return np.concatenate([data, more], axis=-1)


class FingerprintIndex:
    """Tanimoto similarity of fingerprints between the problem that is asked and every precedent's problem.

    A search compares the query with every precedent, 256 bytes each for 2,048 bits: it grows linearly
    (tests/benchmarks says how).

    Args:
        fingerprint: Gives a problem's bits; see ``flex_dspy.search.views``.

    Source: similarity of products as the key to precedents is RetroSim's idea (Coley et al., ACS Cent. Sci. 2017,
    3, 1237).
    """

    def __init__(self, fingerprint: Fingerprint) -> None:
        self.synced = 0
        self._fingerprint = fingerprint
        self._rows = _Rows()
        # One array a word, not one a fingerprint: numpy then runs along thousands of rows at once, and words
        # without a bit in the query cost nothing. Five times as fast as rows of 32 words, at 40,000 precedents.
        self._bits: npt.NDArray[np.uint64] = np.zeros((0, 64), np.uint64)
        self._ones: npt.NDArray[np.int32] = np.zeros(64, np.int32)
        self._keys: list[tuple[str, Precedent]] = []
        # The rows of an entry, newest first: each knows the one before, so that a removal looks at no others.
        self._newest_row: dict[str, int] = {}
        self._row_before = array("q")
        self._deaths = _Deaths()

    def _words(self, problem: str) -> npt.NDArray[np.uint64] | None:
        return None if len(problem) > LONGEST_QUERY else self._fingerprint(problem)

    def read(self, number: int, change: Change) -> None:
        """Add one row a precedent whose problem has a fingerprint. A removal ends an entry's rows."""
        if change.removed:
            self._end_rows(number, change.entry_id)
        for precedent in change.precedents:
            words = self._words(precedent.problem)
            if words is None:
                continue
            row = self._rows.count
            self._bits = _grow(self._bits if row else np.zeros((len(words), 64), np.uint64), row + 1)
            self._ones = _grow(self._ones, row + 1)
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
        """The ``depth`` most similar precedents, best first; ties by text, so that order of arrival is no matter.

        Precedents that share nothing with the problem are never among them.

        Args:
            library: The snapshot to search.
            problem: The problem that is asked.
            depth: How many precedents.
            skip: Precedents with these very problems are left out.
        """
        query, end = self._words(problem), self._rows.until(library.tip)
        if query is None or not end:
            return []
        similarity = self._similarity(query, end)
        similarity[np.array(self._deaths.until(library.tip), np.intp)] = 0  # what scores nothing is no match
        wanted = depth
        while True:
            rows = _top_rows(similarity, wanted)
            matches = list(self._matches(rows, similarity, skip))
            if len(matches) >= depth or len(rows) < wanted:
                return sorted(matches, key=_content_order)[:depth]
            wanted *= 2  # more of them were skipped than there was room for

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


def _top_rows(scores: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.intp]:
    """Rows of the ``count`` highest scores above zero, and of all that tie with the last of them."""
    rows = np.flatnonzero(scores)
    if len(rows) <= count:
        return rows
    found = scores[rows]
    return rows[found >= np.partition(found, len(found) - count)[len(found) - count]]


def _content_order(match: Match) -> tuple[float, str, str, str, str]:
    precedent = match.precedent
    if precedent is None:
        return -match.score, "", "", "", match.entry_id
    return -match.score, precedent.problem, precedent.answer, precedent.example_id, match.entry_id


_WORD = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")


def words_of(text: str) -> list[str]:
    """Lower-case words and single marks: the tokens of lexical search."""
    return _WORD.findall(text.lower())


@dataclass(slots=True)
class _Postings:
    """One word: the rows it is in, how often, and when such rows were replaced; all ascending but the counts."""

    rows: array[int] = field(default_factory=lambda: array("i"))
    counts: array[int] = field(default_factory=lambda: array("i"))
    deaths: array[int] = field(default_factory=lambda: array("i"))

    def until(self, end: int, tip: int) -> tuple[int, int]:
        """How many rows of a snapshot hold or held the word, and how many of those are replaced."""
        return bisect_left(self.rows, end), bisect_left(self.deaths, tip)


class LexicalIndex:
    """BM25 over the text of entries and of their precedents' problems.

    An entry's score is the sum, over the distinct words of the query, of
    ``log(1 + (N - n + 0.5) / (n + 0.5)) * f * (K1 + 1) / (f + K1 * (1 - B + B * length / mean_length))``, with N
    entries, n of them holding the word, f of its occurrences in the entry. All are those of the snapshot that is
    searched. A search reads the places of the query's words: it grows with how common those are.

    Source: Robertson and Zaragoza, Found. Trends Inf. Retr. 2009, 3, 333; the weight of a word is the
    non-negative form of Lucene.
    """

    K1 = 1.2
    B = 0.75
    # A word in more than this share of a large library says little, and costs a scan; the rarest few always count.
    COMMON_SHARE = 0.2
    COMMON_FLOOR = 1_000
    RAREST = 4
    # Precedents whose words count: an entry with thousands would drown its own lesson, and rewriting its row at
    # every merge would cost more each time.
    PRECEDENTS = 8

    def __init__(self) -> None:
        self.synced = 0
        self._rows = _Rows()
        self._entry_of_row: list[str] = []
        self._newest: dict[str, tuple[int, int]] = {}  # an entry's row, and the precedents in it
        self._length: npt.NDArray[np.int32] = np.zeros(64, np.int32)
        self._died: npt.NDArray[np.int64] = np.full(64, NEVER)
        self._total_length = array("q", [0])  # by tip: words in all rows that live there
        self._numbers: dict[str, int] = {}  # of the words; a row then takes a fifth of what a Counter takes
        self._words: list[str] = []
        self._postings: list[_Postings] = []
        self._row_words: list[array[int] | None] = []  # word, count, word, count, ...; None once replaced

    def read(self, number: int, change: Change) -> None:
        """Write a new row where an entry's words changed, and mark the row it replaces."""
        old, known = self._newest.get(change.entry_id, (None, 0))
        total = self._total_length[-1]
        if change.removed:
            del self._newest[change.entry_id]
            self._total_length.append(total - self._retire(old, number))
            return
        if change.rewritten is not None:
            fresh = change.rewritten.precedents[: self.PRECEDENTS]
            words, known = Counter(words_of(change.rewritten.text())), 0
        else:
            fresh = change.precedents[: self.PRECEDENTS - known]
            words = self._counter(old) if fresh else Counter()
        if change.rewritten is not None or fresh:
            words.update(word for p in fresh for word in words_of(p.problem))
            row = self._write(change.entry_id, words, number)
            total += words.total() - self._retire(old, number)
            self._newest[change.entry_id] = (row, known + len(fresh))
        self._total_length.append(total)

    def _counter(self, row: int | None) -> Counter[str]:
        pairs = (self._row_words[row] if row is not None else None) or array("i")
        return Counter({self._words[pairs[i]]: pairs[i + 1] for i in range(0, len(pairs), 2)})

    def _retire(self, row: int | None, number: int) -> int:
        """Mark a row as replaced; its length."""
        if row is None:
            return 0
        self._died[row] = number
        for word in (self._row_words[row] or ())[::2]:
            self._postings[word].deaths.append(number)
        self._row_words[row] = None
        return int(self._length[row])

    def _write(self, entry_id: str, words: Counter[str], number: int) -> int:
        row = self._rows.count
        self._died = _grow(self._died, row + 1, NEVER)
        self._length = _grow(self._length, row + 1)
        self._length[row] = words.total()
        pairs = array("i")
        for word, count in words.items():
            at = self._number(word)
            self._postings[at].rows.append(row)
            self._postings[at].counts.append(count)
            pairs.extend((at, count))
        self._row_words.append(pairs)
        self._entry_of_row.append(entry_id)
        return self._rows.add(number)

    def _number(self, word: str) -> int:
        at = self._numbers.setdefault(word, len(self._words))
        if at == len(self._words):
            self._words.append(word)
            self._postings.append(_Postings())
        return at

    def search(self, library: ExperienceLibrary, text: str, depth: int) -> list[Match]:
        """The ``depth`` entries whose text fits best, best first; ties by id.

        Args:
            library: The snapshot to search.
            text: The query; what is beyond ``LONGEST_QUERY`` is not looked at.
            depth: How many entries.
        """
        with _LOCK:  # an array whose buffer is being read cannot grow
            scores = self._scores(library, text)
        rows = _top_rows(scores, depth)
        matches = (
            Match(self._entry_of_row[row], score)
            for row, score in zip(rows.tolist(), scores[rows].tolist(), strict=True)
        )
        return sorted(matches, key=_content_order)[:depth]

    def _scores(self, library: ExperienceLibrary, text: str) -> npt.NDArray[np.float64]:
        end, documents = self._rows.until(library.tip), len(library)
        telling = self._telling(library, text, end)
        if not telling:
            return np.zeros(end)
        # All words at once: numpy's calls, a dozen a word, took twice as long as the sums.
        spans = [(postings, *postings.until(end, library.tip)) for postings in telling]
        rows = np.concatenate([np.frombuffer(p.rows, np.int32, births) for p, births, _ in spans])
        counts = np.concatenate([np.frombuffer(p.counts, np.int32, births) for p, births, _ in spans])
        holders = [births - deaths for _, births, deaths in spans]
        each = [math.log(1 + (documents - n + 0.5) / (n + 0.5)) * (self.K1 + 1) for n in holders]
        weights = np.repeat(each, [births for _, births, _ in spans])
        if any(deaths for _, _, deaths in spans):
            alive = self._died[rows] >= library.tip
            rows, counts, weights = rows[alive], counts[alive], weights[alive]
        mean_length = max(self._total_length[library.tip] / max(documents, 1), 1.0)
        norm = self.K1 * (1 - self.B + self.B * self._length[:end] / mean_length)
        scores: npt.NDArray[np.float64] = np.bincount(rows, weights * counts / (counts + norm[rows]), end)  # type: ignore[assignment]
        return scores

    def _telling(self, library: ExperienceLibrary, text: str, end: int) -> list[_Postings]:
        """The words of a text that tell entries apart, in the order of the words: it decides a sum's last digit."""
        found: list[tuple[int, int]] = []  # how many entries hold a word, and its number
        for word in sorted(set(words_of(text[:LONGEST_QUERY]))):
            at = self._numbers.get(word)
            if at is not None:
                births, deaths = self._postings[at].until(end, library.tip)
                if births > deaths:
                    found.append((births - deaths, at))
        common = max(self.COMMON_FLOOR, self.COMMON_SHARE * len(library))
        if sum(holders <= common for holders, _ in found) < self.RAREST:
            common = max((holders for holders, _ in sorted(found)[: self.RAREST]), default=0)
        return [self._postings[at] for holders, at in found if holders <= common]


class RuleIndex:
    """Entries by the exact text of their rules: the sure way to find a lesson that is already there."""

    def __init__(self) -> None:
        self.synced = 0
        self._entries: dict[tuple[str, Zone], list[str]] = {}  # ids in order

    def read(self, number: int, change: Change) -> None:
        """Note the rules of a new or rewritten entry; those of a removed one are passed over by a search."""
        if change.rewritten is None:
            return
        for rule in change.rewritten.rules:
            ids = self._entries.setdefault((rule.text, change.rewritten.zone), [])
            at = bisect_left(ids, change.entry_id)
            if ids[at : at + 1] != [change.entry_id]:
                ids.insert(at, change.entry_id)

    def search(self, library: ExperienceLibrary, lesson: Experience, count: int) -> list[Experience]:
        """Up to ``count`` entries that hold one of the lesson's rules word for word.

        Those that hold its first rule come first, and of these the ones in its own zone: where a rule is in more
        entries than are asked for, the one to merge into must be among them.
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
        """Entries of the snapshot; the index may know some that are newer, gone, moved or without the rule by now."""
        for entry_id in self._entries.get((rule, zone), ()):
            entry = library.get(entry_id)
            if entry is not None and entry.zone == zone and any(held.text == rule for held in entry.rules):
                yield entry


class ProblemIndex:
    """Entries by the exact problems of their precedents: who has solved this very problem."""

    def __init__(self) -> None:
        self.synced = 0
        self._entries: dict[str, list[tuple[int, str]]] = {}  # number of the change, entry
        self._removals: dict[str, array[int]] = {}  # by entry, the changes that removed it

    def read(self, number: int, change: Change) -> None:
        """Note the problems of new precedents, and which entries went."""
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
        """Whether an entry that was there at a change is removed in a snapshot."""
        removals = self._removals.get(entry_id, ())
        after = bisect_right(removals, since)
        return after < len(removals) and removals[after] < tip

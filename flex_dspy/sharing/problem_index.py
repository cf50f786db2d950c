"""Finds problems of a test set in the texts of a library: whole, or in similar words with the same numbers."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from flex_dspy.evaluation.overlap import ProblemKey, common_problems

SHINGLE = 3  # number of consecutive words that are compared together
SAME = 0.6  # a text contains a problem if it has this share of the problem's shingles
_MIN_WORDS = 6  # shorter problems are compared as a whole
_MIN_LETTERS = 8  # a shorter text does not identify a problem
_WORDS = re.compile(r"[^\W_]+")


class ProblemIndex:
    """Problems that a library must not have seen.

    Args:
        problems: The problems as text.
        key: Maps all spellings of a problem to one form, as a task's ``key`` does. It is applied to precedents.
    """

    def __init__(self, problems: Iterable[str], key: ProblemKey | None = None) -> None:
        self._problems = list(dict.fromkeys(problem for problem in problems if len(problem) >= _MIN_LETTERS))
        self._key = key
        self._shingles: dict[tuple[str, ...], list[int]] = defaultdict(list)
        self._sizes: list[int] = []
        self._numbers: list[Counter[str]] = []
        self._wholes: dict[str, int] = {}
        for number, problem in enumerate(self._problems):
            self._add(number, problem)

    def _add(self, number: int, problem: str) -> None:
        words = _words(problem)
        shingles = _shingles(words) if len(words) >= _MIN_WORDS else set()
        self._sizes.append(len(shingles))
        self._numbers.append(Counter(word for word in words if word.isdigit()))
        for shingle in shingles:
            self._shingles[shingle].append(number)
        if not shingles:
            self._wholes[problem.strip()] = number

    def __len__(self) -> int:
        return len(self._problems)

    def find(self, text: str) -> Iterator[str]:
        """The reasons to suspect that a text contains test problems, one reason per problem.

        Args:
            text: Any text of an entry.
        """
        words = _words(text)
        shared = Counter(number for shingle in _shingles(words) for number in self._shingles.get(shingle, ()))
        numbers = Counter(word for word in words if word.isdigit())
        for number, count in shared.items():
            share = count / self._sizes[number]
            if share >= SAME and self._numbers[number] <= numbers:
                yield f"{share:.0%} of the words of a test problem, in order: {self._name(number)}"
        tokens = {token.strip("`'\".,;:()") for token in text.split()} | {text.strip()} if self._wholes else set()
        yield from (f"a test problem: {self._name(self._wholes[token])}" for token in tokens & self._wholes.keys())

    def common(self, precedents: Iterable[str]) -> set[str]:
        """The problems of precedents that are test problems, in any spelling."""
        return common_problems(set(precedents), self._problems, self._key)

    def _name(self, number: int) -> str:
        problem = " ".join(self._problems[number].split())
        return problem if len(problem) <= 80 else f"{problem[:77]}..."


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORDS.findall(text)]


def _shingles(words: list[str]) -> set[tuple[str, ...]]:
    return set(zip(*(words[start:] for start in range(SHINGLE)), strict=False))

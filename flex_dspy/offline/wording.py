"""The wording of a problem: its text without the numbers, and the numbers.

>>> read("How many multiples of $7$ are at most 1,000?")
Wording(pattern='how many multiples of N are at most N', numbers=(7, 1000))
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from flex_dspy.offline.procedures import VARIABLES

# No decimals, and no number with more digits than the procedures accept.
_NUMBER = re.compile(r"(?<![\d.])(?:\d{1,3}(?:,\d{3}){1,3}(?!\d|\.\d)|\d{1,12}(?!\d|\.\d))", re.ASCII)
_SEPARATOR = re.compile(r"\{,\}|\\,")
# A capitalized word inside a sentence, such as a person or a place.
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+\b")
_WORD = re.compile(r"[a-z]+|N|[-+*/^=<>]")
_LONGEST_TEXT = 4_000
_LONGEST_PATTERN = 600


class Wording(NamedTuple):
    """How a problem is worded.

    Attributes:
        pattern: Its words and marks, ``N`` for each number; names are left out.
        numbers: Its whole numbers written in digits, in order; the first few, if there are many.
    """

    pattern: str
    numbers: tuple[int, ...]


@lru_cache(maxsize=1_024)
def read(problem: str) -> Wording:
    """Split a problem's text into its pattern and its numbers."""
    plain = _SEPARATOR.sub(",", problem[:_LONGEST_TEXT])
    numbers = tuple(int(found.replace(",", "")) for found in _NUMBER.findall(plain)[: len(VARIABLES)])
    words = _WORD.findall(_NUMBER.sub("\0", _NAME.sub("", plain)).lower().replace("\0", " N "))
    return Wording(" ".join(words)[:_LONGEST_PATTERN], numbers)


def likeness(pattern: str, other: str) -> float:
    """The similarity of two patterns, 0 to 1: the share of their words that both contain."""
    words, others = set(pattern.split()), set(other.split())
    return len(words & others) / max(len(words | others), 1)

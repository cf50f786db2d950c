"""The wording of a problem: its text with the numbers taken out, and the numbers.

>>> read("How many multiples of $7$ are at most 1,000?")
Wording(pattern='how many multiples of N are at most N', numbers=(7, 1000))
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from flex_dspy.offline.procedures import VARIABLES

# No decimals, and nothing of more digits than the procedures take.
_NUMBER = re.compile(r"(?<![\d.])(?:\d{1,3}(?:,\d{3}){1,3}(?!\d|\.\d)|\d{1,12}(?!\d|\.\d))", re.ASCII)
_SEPARATOR = re.compile(r"\{,\}|\\,")
# A capital inside a sentence: a person, a place.
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
    """Take a problem's text apart."""
    plain = _SEPARATOR.sub(",", problem[:_LONGEST_TEXT])
    numbers = tuple(int(found.replace(",", "")) for found in _NUMBER.findall(plain)[: len(VARIABLES)])
    words = _WORD.findall(_NUMBER.sub("\0", _NAME.sub("", plain)).lower().replace("\0", " N "))
    return Wording(" ".join(words)[:_LONGEST_PATTERN], numbers)


def likeness(pattern: str, other: str) -> float:
    """How much two patterns have in common, from 0 to 1: shared words among all words of the two."""
    words, others = set(pattern.split()), set(other.split())
    return len(words & others) / max(len(words | others), 1)

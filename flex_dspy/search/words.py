"""Terms of a text: words for entries, words and their trigrams for precedents."""

from __future__ import annotations

import re
from collections import Counter

_WORD = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")


def words_of(text: str) -> list[str]:
    """Lower-case words and single marks: the terms of lexical search."""
    return _WORD.findall(text.lower())


def spelling_of(text: str) -> Counter[str]:
    """Words and their trigrams. Other forms of a word, and spelling mistakes, share most of these trigrams.

    Each trigram gets a leading space, which words do not have. So no trigram equals a word.
    """
    words = words_of(text)
    terms = Counter(words)
    for word in words:
        padded = f"^{word}$"
        terms.update(f" {padded[start : start + 3]}" for start in range(len(padded) - 2))
    return terms

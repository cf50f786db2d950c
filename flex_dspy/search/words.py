"""Terms of a text: words for entries, words and their trigrams for precedents."""

from __future__ import annotations

import re
from collections import Counter

_WORD = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")


def words_of(text: str) -> list[str]:
    """Lower-case words and single marks: the terms of lexical search."""
    return _WORD.findall(text.lower())


def spelling_of(text: str) -> Counter[str]:
    """Words, and trigrams of letters within them: other forms of one word, and slips of the pen, share most of those.

    A trigram begins with a space, which no word does: so the two are told apart.
    """
    words = words_of(text)
    terms = Counter(words)
    for word in words:
        padded = f"^{word}$"
        terms.update(f" {padded[start : start + 3]}" for start in range(len(padded) - 2))
    return terms

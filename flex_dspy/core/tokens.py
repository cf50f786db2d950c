"""Estimates the number of tokens in a text without a tokenizer."""

from __future__ import annotations

import string

_LOWER = string.ascii_lowercase.encode()
_BEYOND_ASCII = bytes(range(128, 256))


def tokens(text: str) -> int:
    """Estimate the number of tokens in a text; the estimate is rather too high than too low.

    Each capital letter, digit, punctuation mark and line end counts as a token. Three lower-case letters count as one
    token, and so do two bytes of non-ASCII text. A fixed number of characters for a token does not work: it is 1.5 for
    SMILES, 1.9 for LaTeX and 4 for English prose. Compared with the tokenizers of GPT-4 and Claude 2, the estimate is
    1.1 times the tokens of SMILES, 1.2 of LaTeX, 1.5 of prose and of code, 1.4 of Chinese.
    """
    data = text.encode("utf-8", "replace")
    rest = data.translate(None, _LOWER)
    marks = rest.translate(None, b" " + _BEYOND_ASCII)
    beyond = 0 if text.isascii() else len(rest) - len(rest.translate(None, _BEYOND_ASCII))
    return len(marks) - (len(rest) - len(data)) // 3 + (beyond + 1) // 2

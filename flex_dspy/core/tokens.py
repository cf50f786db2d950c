"""An estimate of the number of tokens in a text, without a tokenizer."""

from __future__ import annotations

import string

_LOWER = string.ascii_lowercase.encode()
_BEYOND_ASCII = bytes(range(128, 256))


def tokens(text: str) -> int:
    """A cautious estimate of the number of tokens in a text.

    A capital, a digit, a mark and a line's end are a token each; three lower-case letters are one, and so are two
    bytes of what is not ASCII. SMILES has 1.5 characters a token, LaTeX 1.9, English prose 4: no one number of
    characters fits. Against the tokenizers of GPT-4 and of Claude 2 this gives 1.1 times the tokens of SMILES, 1.2
    of LaTeX, 1.5 of prose and of code, 1.4 of Chinese.
    """
    data = text.encode("utf-8", "replace")
    rest = data.translate(None, _LOWER)
    marks = rest.translate(None, b" " + _BEYOND_ASCII)
    beyond = 0 if text.isascii() else len(rest) - len(rest.translate(None, _BEYOND_ASCII))
    return len(marks) - (len(rest) - len(data)) // 3 + (beyond + 1) // 2

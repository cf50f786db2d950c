"""Escapes texts of entries for Markdown, so that they cannot change its structure or contain hidden text.

Dangerous characters are written as character references (``&#x23;``). Markdown shows a reference as the character, and
``unescape`` reads it back. All other characters stay, so that people and models read LaTeX and SMILES unchanged.

Example:
    >>> escape("<!-- end -->")
    '&#x3c;!-- end -->'
    >>> unescape(escape("# &#x23; <b>")) == "# &#x23; <b>"
    True
"""

from __future__ import annotations

import re
import unicodedata

# Control characters, invisible formats, and every line end but "\n".
_UNSEEN = frozenset({"Cc", "Cf", "Co", "Zl", "Zp"})
_REFERENCE = re.compile(r"&#x([0-9a-f]{1,6});")
_AMBIGUOUS = re.compile(r"&(?=#x[0-9a-f]{1,6};)")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_IMAGE = re.compile(r"!(?=\[)")  # a viewer of the page would fetch the image
# The beginning of a heading, a list, a quote, a block of code, a rule, or the definition of a link.
_LINE_START = re.compile(
    r"^([ \t]*)(?=[-+*](?:[ \t]|$)|[-=_*~`#]{3}|#{1,6}(?:[ \t]|$)|>|=+[ \t]*$|\[[^\]\n]*\]:)(.)", re.MULTILINE
)


def escape(text: str) -> str:
    """Escape a text of several lines for the body of a list item or a quotation."""
    text = _IMAGE.sub("&#x21;", _TAG.sub("&#x3c;", _AMBIGUOUS.sub("&#x26;", text)))
    text = _LINE_START.sub(lambda found: found[1] + _reference(found[2]), text)
    return text if text.isascii() and text.isprintable() else "".join(map(_visible, text))


def escape_line(text: str) -> str:
    """Escape a text for a single line; its line ends become references too."""
    return escape(text).replace("\n", _reference("\n"))


def unescape(text: str) -> str:
    """Restore an escaped text. References that people wrote themselves are replaced too."""
    return _REFERENCE.sub(lambda found: _letter(found), text)


def _visible(letter: str) -> str:
    return _reference(letter) if letter not in "\n\t" and unicodedata.category(letter) in _UNSEEN else letter


def _reference(letter: str) -> str:
    return f"&#x{ord(letter):x};"


def _letter(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    return found[0] if code > 0x10FFFF or 0xD800 <= code < 0xE000 else chr(code)

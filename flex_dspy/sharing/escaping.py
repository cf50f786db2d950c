"""Texts of entries inside Markdown: nothing in them can end their place, begin another, or hide.

What would do so is written as a character reference (``&#x23;``), which Markdown shows as the character, and which is
read back as it. All other letters stay as they are, so that people and models read LaTeX and SMILES unchanged.

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
_IMAGE = re.compile(r"!(?=\[)")  # whoever shows the page would fetch it
# A line that would begin a heading, a list, a quote, a block of code, a rule, or define a link.
_LINE_START = re.compile(
    r"^([ \t]*)(?=[-+*](?:[ \t]|$)|[-=_*~`#]{3}|#{1,6}(?:[ \t]|$)|>|=+[ \t]*$|\[[^\]\n]*\]:)(.)", re.MULTILINE
)


def escape(text: str) -> str:
    """A text of several lines for the body of a list item or a quotation."""
    text = _IMAGE.sub("&#x21;", _TAG.sub("&#x3c;", _AMBIGUOUS.sub("&#x26;", text)))
    text = _LINE_START.sub(lambda found: found[1] + _reference(found[2]), text)
    return text if text.isascii() and text.isprintable() else "".join(map(_visible, text))


def escape_line(text: str) -> str:
    """A text for a single line: its line ends are references too."""
    return escape(text).replace("\n", _reference("\n"))


def unescape(text: str) -> str:
    """The text that was escaped; references that people wrote themselves are read as well."""
    return _REFERENCE.sub(lambda found: _letter(found), text)


def _visible(letter: str) -> str:
    return _reference(letter) if letter not in "\n\t" and unicodedata.category(letter) in _UNSEEN else letter


def _reference(letter: str) -> str:
    return f"&#x{ord(letter):x};"


def _letter(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    return found[0] if code > 0x10FFFF or 0xD800 <= code < 0xE000 else chr(code)

r"""Normal form of problems in words and LaTeX.

Example:
    >>> normal_text(r"Find $\dfrac{a}{b}$ .") == normal_text(r"find \frac{a}{b}")
    True
"""

from __future__ import annotations

import re
import unicodedata

from flex_dspy.evaluation.overlap import FastKey

# LaTeX commands that only change spacing or fonts, and alternative names of the same command.
_SPACING = re.compile(
    r"\\(?:[,;:!> ]|(?:left|right|big|Big|bigg|Bigg)[lrm]?(?![a-zA-Z])|(?:display|text|script)style(?![a-zA-Z])"
    r"|q?quad(?![a-zA-Z])|(?:no)?limits(?![a-zA-Z])|(?:mathrm|mathit|mathbf|text|textbf|textit|rm|bf|it|operatorname|mbox)(?![a-zA-Z])\*?)"
)
_LENGTH = re.compile(r"\\[hv]space\*?\s*\{[^{}]*\}")
_EMPTY = re.compile(r"[\^_]\{\s*\}")
_SHORT_FRACTION = re.compile(r"(\\frac|\\binom)\s*(\w)\s*(\w)")
_SPELLINGS = {
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\leqslant": r"\le", r"\leq": r"\le",
    r"\geqslant": r"\ge", r"\geq": r"\ge", r"\neq": r"\ne", r"\dots": "...", r"\ldots": "...", r"\cdots": "...",
    r"\lvert": "|", r"\rvert": "|", r"\vert": "|", r"\degree": r"^\circ", r"\to": r"\rightarrow", r"\cdot": r"\cdot",
    r"\dbinom": r"\binom", r"\tbinom": r"\binom", r"\lbrace": r"\{", r"\rbrace": r"\}", r"\colon": ":",
}  # fmt: skip
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_CHARACTERS = str.maketrans(
    {"‐": "-", "‑": "-", "–": "-", "—": "-", "―": "-", "−": "-", "“": '"', "”": '"', "„": '"', "‘": "'", "’": "'",
     "′": "'", "×": r"\times", "·": r"\cdot", "≤": r"\le", "≥": r"\ge", "≠": r"\ne", "°": r"^\circ", "π": r"\pi",
     "∠": r"\angle", "√": r"\sqrt", "…": "...", "″": '"'}
)  # fmt: skip
# A space matters only between two digits: 1 23 is not 12 3.
_IDLE_SPACE = re.compile(r"(?<!\d)\s+|\s+(?!\d)")


def normal_text(text: str) -> str:
    r"""Normal form of a problem's text, to compare problems without regard to formatting.

    It removes differences in case, white space, LaTeX spacing and fonts, ``$`` and braces, ``\dfrac`` and other
    alternative commands, Unicode dashes, quotes and widths, and punctuation at the end. Digits, letters, signs and
    commands stay.

    Args:
        text: Text with or without LaTeX.
    """
    text = _LENGTH.sub(" ", text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_CHARACTERS))
    text = text.replace("~", " ").replace("``", '"').replace("''", '"').replace("---", "-").replace("--", "-")
    text = text.replace(r"\[", " ").replace(r"\]", " ").replace(r"\(", " ").replace(r"\)", " ")
    text = _SPACING.sub(" ", text.replace(r"\\", " "))
    text = _EMPTY.sub("", text)
    text = _COMMAND.sub(lambda found: _SPELLINGS.get(found[0], found[0]), text)
    text = _SHORT_FRACTION.sub(r"\1{\2}{\3}", text.replace("$", ""))
    text = " ".join(text.replace("{", " ").replace("}", " ").split())
    return _IDLE_SPACE.sub("", text).casefold().rstrip(".?!:;,")


_BUT_DIGITS = {code: None for code in range(128) if not chr(code).isdigit()}


def digits_sketch(text: str) -> str:
    """Digits of a text, in order. They are fast to find, and ``normal_text`` never changes them."""
    if "space" in text:
        text = _LENGTH.sub(" ", text)
    if not text.isascii():
        text = "".join(letter for letter in unicodedata.normalize("NFKC", text) if letter.isascii())
    return text.translate(_BUT_DIGITS)


TEXT_KEY = FastKey(normal_text, digits_sketch)

r"""Reads the one number that an answer states in the text of a language model.

A text that can be read in two ways is not read, because a metric must not guess. Integers and decimals are read by the
same rules; see ``flex_dspy.metrics.integers`` and ``flex_dspy.metrics.decimals``.

Example:
    >>> find_number(r"Hence $m+n = \boxed{\textbf{073}}$.")
    Fraction(73, 1)
    >>> find_number("The answer is 73 or 74.") is None
    True
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from flex_dspy.metrics.answers import last_box, last_tag
from flex_dspy.metrics.cleaning import (
    after_retraction,
    out_of_container,
    visible_answer,
    without_fence,
    without_quotes,
    without_strong,
)

# Python refuses to read integers of several thousand digits; no answer has twenty.
_LONGEST = 40

# -- marks that only change how a number looks -------------------------------------------------------------

_SIGNS = str.maketrans({"−": "-", "－": "-", "﹣": "-", "‐": "-", "‑": "-", "＋": "+", "，": ",", "．": ".", "＝": "=",
                        "：": ":", "％": "%", "’": "'", "\u00a0": " ", "\u2009": " ", "\u202f": " "})  # fmt: skip
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|\\,|\\!,|,\\!|[\u00a0\u2009\u202f])(?=\d{3}(?!\d))")
_FRACTION = re.compile(r"(-?)\\[dt]?frac\s*(?:\{\s*(-?\d{1,40})\s*\}|(\d))\s*(?:\{\s*(\d{1,40})\s*\}|(\d))")
_BOLD = re.compile(r"(?<![\w)*])\*{1,3}(?=[^\s*])([^*\n]{1,200})(?<=\S)\*{1,3}(?![\w(*])")
_FONT = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|textnormal|emph|mathbf|mathrm|mathit|mathsf|boldsymbol|underline|fbox|boxed"
    r"|framebox|mbox|bf|rm|it|bfseries|left|right|big|Big|bigg|Bigg|displaystyle|quad|qquad)(?![a-zA-Z])"
)
_DECORATION = re.compile(
    r"\\[\\,!;: ]|\\[()\[\]]|\\?\$|\\?%|`|\^\s{0,9}\{?\s{0,9}\\circ(?![a-zA-Z])|\^?\\degree(?![a-zA-Z])|[°€£¥]|[{}]"
    r"|</?[a-zA-Z]{1,10}>"
)

# -- numbers -----------------------------------------------------------------------------------------------

# Possessive (++): "12x" must not be read as the 1 before "2x". Text directly before or after can make it another
# number: 2\sqrt{3}, 3x, 2^5, 4 + 1, 1,23, 5!, 73_8, 1e3.
_NUMBER = re.compile(
    r"(?<![\w.^\\/!])(?<!\d,)(?P<sign>[-+]?)(?P<whole>\d{1,3}(?:,\d{3})++(?!\d)|\d++)(?:\.(?P<decimals>\d++))?"
    r"(?:\s{0,9}/\s{0,9}(?P<divisor>\d++))?(?![\w√π²³]|[.,]\d|\s{0,9}[\[({]?\s{0,9}[+*/^×·÷=\\!±]|\s{0,9}-\s{0,9}[\w\\(])"
)
_DIGIT = re.compile(r"\d")
# Words and marks beside a number that make it another number, or no answer.
_DOUBT = re.compile(
    r"\b(?:or|nor|not|never|no|cannot|unless|approx\w*|about|around|roughly|nearly|almost|maybe|perhaps|possibly"
    r"|either|neither|wrong|incorrect|unknown|unsure|impossible|fails"
    r"|(?:at|the) (?:least|most)|(?:less|more|greater|fewer|smaller"
    r"|larger|other) than|between|below|above|up to|plus|minus|times|over|divided|squared|cubed|root|factorial|choose"
    r"|given|originally|initially|(?:problem|question) (?:gives|says|states|has)|hundred|thousand"
    r"|million|billion|trillion|dozen|half|halves|thirds?|quarters?|mod|modulo|pi|base)\b"
    r"|n't\b|[<>≤≥≈~∼≠±√π∞!?^*×·÷+/|&_–—\\]",
    re.IGNORECASE,
)
_UNSETTLED = re.compile(r"\b(?:or|either)\b", re.IGNORECASE)

# -- where the answer stands -------------------------------------------------------------------------------

_KEYWORD = re.compile(
    r"\b(?:answer|ans|result)\b(?:\s{1,9}(?:is|equals|(?:should|would|must|will) be|comes? out (?:to be|to|as))|\s{0,9}"
    r"(?:[:=→⇒]|->|=>)|\s{0,9}\n)(?:\s{0,9}(?:equal to|then|thus|therefore|just|simply|exactly|indeed))?[\s:=,]*+|####",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\n|[.!?](?=\s|\Z)")
# Text that may come before and after a lone number, if the answer is not marked.
_LEAD = re.compile(
    r"(?:\A|.*?[\s\"'(])(?:is|are|be|equals?|equal to|get|gets|gives?|have|has|obtain|yields?|find|so|thus|hence"
    r"|therefore|answer|result|[a-e]\))[\s:,(\"']*+|.*?[:=→⇒][\s(\"']*+|[\s(\"'#\[•]*+",
    re.IGNORECASE | re.DOTALL,
)
_ARROW = re.compile(r"\A\s*(?:=>|->|[→⇒])\s*")
_UNIT = re.compile(
    r"[\s)\"'.\]]*+(?:[a-z]+(?:[\s.]+[a-z]+){0,2}[\s.]*|is the (?:final |correct )?(?:answer|result)[\s.]*"
    r"|[,;]\s*(?:where|because|since|as|for|which|so)\b.*)?[\s)\"'.,;\]}]*+",
    re.IGNORECASE | re.DOTALL,
)
_EXPLAINED = re.compile(r"[\s,;:)\"']*(?:\(|(?:because|since|as|which|where|so|obtained|by|from|not)\b)", re.I)
_SEPARATOR = re.compile(r"[,;]|\band\b|\\quad", re.IGNORECASE)
_VARIABLE = re.compile(r"\s*[a-zA-Z](?:_\w+)?\s*")


def find_number(text: str, *, whole: bool = True) -> Fraction | None:
    r"""The number that a text states; None if it states no number or is ambiguous.

    Reasoning blocks are ignored. If there is an ``<answer>`` tag or ``\boxed{...}``, only the last one is read.
    Otherwise the number may come after the last "the answer is" or ``####``, in an equation that ends the text, or in a
    text that is little more than a number. Units, percent and degree signs, currencies, fonts, thousands separators and
    leading zeros are ignored.

    Args:
        text: A model's answer.
        whole: Accept only whole numbers: 73.0 and 146/2 are whole, 3/4 is not.
    """
    text = after_retraction(without_strong(visible_answer(text)))
    text = without_quotes(out_of_container(without_fence(text).strip()))
    text = _ARROW.sub("", ascii_digits(text))
    if text.startswith(('{"', "{'")):
        return None  # cut short, or with several values
    inside = last_tag(text)
    marked = text if inside is None else inside
    box = last_box(marked)
    if box is None and inside is None:
        found = _number_of_text(_plain(text), whole)
    else:
        found = _segment(_plain(marked if box is None else box), whole, marked=True)
    return found


def ascii_digits(text: str) -> str:
    """The text with full-width and other decimal digits replaced by 0 to 9. Superscripts stay."""
    if text.isascii():
        return text
    text = _THOUSANDS.sub(",", text).translate(_SIGNS)
    return "".join(str(unicodedata.decimal(letter)) if letter.isdecimal() else letter for letter in text)


def _plain(text: str) -> str:
    """The text without the marks that only change how a number looks."""
    text = _FONT.sub(" ", _BOLD.sub(r" \1 ", _THOUSANDS.sub(",", text)))
    text = _FRACTION.sub(lambda f: f" {f[1]}{f[2] or f[3]}/{f[4] or f[5]} ", text)
    return _DECORATION.sub(" ", text).strip()


def _number_of_text(text: str, whole: bool) -> Fraction | None:
    """The number of a text that has no box and no tag."""
    until = len(text)
    for keyword in reversed(list(_KEYWORD.finditer(text))):
        tail = _first_sentence(text, keyword.end(), until)
        until = keyword.start()
        found = _number_after_phrase(tail, whole)
        if found is not None:
            return found
        if _DIGIT.search(tail) or _DOUBT.search(tail):
            return None
    lines = text.splitlines()
    last = _last_sentence(lines[-1]) if lines else ""
    if "=" in text[: len(text) - len(last)] and _VARIABLE.fullmatch(last.partition("=")[0]):
        return None  # x = 5. y = 7.
    return _segment(last if "=" in last else text, whole, marked=False)


def _first_sentence(text: str, start: int, until: int) -> str:
    end = _SENTENCE_END.search(text, start, until)
    return text[start : end.start() + (end[0] == "?") if end else until]


def _last_sentence(line: str) -> str:
    ends = [end.end() for end in _SENTENCE_END.finditer(line.rstrip(" ."))]
    return line[ends[-1] :] if ends else line


def _number_after_phrase(tail: str, whole: bool) -> Fraction | None:
    """The number that a sentence begins with after "the answer is", or the right-hand side that ends it."""
    tail = tail.lstrip(" \t(:\"'[")
    number = _NUMBER.match(tail)
    value = _value(number, whole) if number else None
    if number is None or value is None:
        return _segment(tail, whole, marked=True) if "=" in tail else None
    rest = tail[number.end() :]
    if not _DIGIT.search(rest):
        return None if _DOUBT.search(rest[:40]) else value
    return value if _EXPLAINED.match(rest) and not _UNSETTLED.search(rest) and "mod" not in rest[:9] else None


def _segment(text: str, whole: bool, *, marked: bool) -> Fraction | None:
    """The number of a short text: its only number, or the right-hand side of its last equation."""
    text = text.strip()
    if "=" in text:
        left, _, right = text.rpartition("=")
        if left.endswith(("!", "<", ">")):
            return None
        if "=" in left and _list_of_values(left):
            return None
        if _DIGIT.search(right):
            return None if _UNSETTLED.search(left) and _DIGIT.search(left) else _lone(right, whole, marked=True)
        return _lone(left.rpartition("=")[2], whole, marked=True)
    return _lone(text, whole, marked=marked)


def _list_of_values(left: str) -> bool:
    """Whether the last equation is one of several for different variables: x = 5, y = 7."""
    *before, last = _SEPARATOR.split(left.rpartition("=")[2])
    return bool(before) and _VARIABLE.fullmatch(last) is not None


def _lone(text: str, whole: bool, *, marked: bool) -> Fraction | None:
    """The only number of the text; None if another digit, word or mark changes its meaning."""
    text = text.strip()
    numbers = list(_NUMBER.finditer(text))
    if len(numbers) != 1:
        return None
    number = numbers[0]
    before, behind = text[: number.start()], text[number.end() :]
    if _DIGIT.search(before) or _DIGIT.search(behind) or _DOUBT.search(before) or _DOUBT.search(behind):
        return None
    if before.rstrip().endswith(("-", "+")) or (number["sign"] and re.search(r"(?:\b[a-z]|\))\s*\Z", before, re.I)):
        return None
    if not marked and not (_LEAD.fullmatch(before) and _UNIT.fullmatch(behind)):
        return None
    return _value(number, whole)


def _value(number: re.Match[str], whole: bool) -> Fraction | None:
    """The number; None if it is not whole but must be, has too many digits, or is divided by zero."""
    if len(number[0]) > _LONGEST:
        return None
    value = Fraction(f"{number['whole'].replace(',', '')}.{number['decimals'] or 0}")
    if number["divisor"] is not None:
        if not number["divisor"].strip("0"):
            return None
        value /= int(number["divisor"])
    if whole and value.denominator != 1:
        return None
    return -value if number["sign"] == "-" else value

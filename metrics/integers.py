r"""Reading the one integer that an answer states, from a typed field or from what a language model wrote around it.

Whatever could be read in two ways is not read at all: a metric that guesses measures its own luck.

Example:
    >>> integer_answer(r"Hence $m+n = \boxed{\textbf{073}}$.")
    73
    >>> integer_answer("The answer is 73 or 74.") is None
    True
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import dspy

from flex_dspy.errors import DataError
from flex_dspy.metrics.answers import boxed, tagged

# Python refuses to read integers of several thousand digits; no answer has even twenty.
_LONGEST = 40

# -- what only changes how a number looks ------------------------------------------------------------------

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

# Possessive (++): "12x" must not be read as the 1 before "2x". What stands before or behind would make it another
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
    r"|hundred|thousand|million|billion|trillion|dozen|half|halves|thirds?|quarters?|mod|modulo|pi|base)\b"
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
# What may come before a lone number in a text that marks no answer, and what behind it.
_LEAD = re.compile(
    r"(?:\A|.*?[\s\"'(])(?:is|are|be|equals?|equal to|get|gets|gives?|have|has|obtain|yields?|find|so|thus|hence"
    r"|therefore|answer|result|[a-e]\))[\s:,(\"']*+|.*?[:=→⇒][\s(\"']*+|[\s(\"'#\[]*+",
    re.IGNORECASE | re.DOTALL,
)
_UNIT = re.compile(
    r"[\s)\"'.\]]*+(?:[a-z]+(?:[\s.]+[a-z]+){0,2}[\s.]*|is the (?:final |correct )?(?:answer|result)[\s.]*"
    r"|[,;]\s*(?:where|because|since|as|for|which|so)\b.*)?[\s)\"'.,;\]}]*+",
    re.IGNORECASE | re.DOTALL,
)
_EXPLAINED = re.compile(r"[\s,;:)\"']*(?:\(|(?:because|since|as|which|where|so|obtained|by|from|not)\b)", re.I)
_SEPARATOR = re.compile(r"[,;]|\band\b|\\quad", re.IGNORECASE)
_VARIABLE = re.compile(r"\s*[a-zA-Z](?:_\w+)?\s*")


def integer_answer(value: object) -> int | None:
    r"""The integer that an answer states, or None if it states none, or one that could be another.

    Looks into the last ``<answer>`` tag or ``\boxed{...}`` where there is one, and nowhere else then. Otherwise behind
    the last "the answer is" or ``####``, at an equation that ends the text, and at a text that is little more than
    a number. Units, percent and degree signs, currencies, fonts, thousands separators and leading zeros do not count;
    73.0 and 146/2 are whole.

    Args:
        value: An int, a whole float, a text or None.
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return int(value) if value == value // 1 else None
    text = _ascii_digits(str(value))
    inside = tagged(text)
    marked = text if inside is None else inside
    box = boxed(marked)
    if box is None and inside is None:
        return _unmarked(_plain(text))
    return _segment(_plain(marked if box is None else box), marked=True)


def compared(gold: Any, pred: Any, impossible: Callable[[int], str | None] = lambda answer: None) -> dspy.Prediction:
    """Score 1.0 iff the answer states the reference's integer, with feedback that does not give it away.

    Args:
        gold: The example; ``answer`` is an int or a text that holds one.
        pred: The answer; ``answer`` is an int or free text.
        impossible: A remark on an integer that no problem of the kind has as its answer, else None.

    Returns:
        ``score`` (0.0 or 1.0) and ``feedback``.

    Raises:
        DataError: The reference is missing or no integer.
    """
    reference = integer_answer(_field(gold, "answer"))
    if reference is None:
        raise DataError("The example has no integer in 'answer'.")
    given = _field(pred, "answer")
    answer = integer_answer(given)
    if answer == reference:
        return dspy.Prediction(score=1.0, feedback="Right.")
    if given is None or not str(given).strip():
        feedback = "There is no answer: give one integer."
    elif answer is None:
        feedback = "The answer is not one integer: end with a single number, without units or alternatives."
    else:
        feedback = impossible(answer) or f"{answer} is wrong."
    return dspy.Prediction(score=0.0, feedback=feedback)


def _field(record: Any, name: str) -> Any:
    """A field of an Example, a Prediction, a mapping or any object; None where it is absent."""
    return record.get(name) if isinstance(record, Mapping) else getattr(record, name, None)


def _ascii_digits(text: str) -> str:
    """The text with full-width and other decimal digits as 0 to 9; superscripts stay what they are."""
    if text.isascii():
        return text
    text = _THOUSANDS.sub(",", text).translate(_SIGNS)
    return "".join(str(unicodedata.decimal(letter)) if letter.isdecimal() else letter for letter in text)


def _plain(text: str) -> str:
    """The text without the marks that only change how a number looks."""
    text = _FONT.sub(" ", _BOLD.sub(r" \1 ", _THOUSANDS.sub(",", text)))
    text = _FRACTION.sub(lambda f: f" {f[1]}{f[2] or f[3]}/{f[4] or f[5]} ", text)
    return _DECORATION.sub(" ", text).strip()


def _unmarked(text: str) -> int | None:
    """The integer of a text without box or tag."""
    until = len(text)
    for keyword in reversed(list(_KEYWORD.finditer(text))):
        tail = _first_sentence(text, keyword.end(), until)
        until = keyword.start()
        found = _announced(tail)
        if found is not None:
            return found
        if _DIGIT.search(tail) or _DOUBT.search(tail):
            return None
    lines = text.splitlines()
    last = _last_sentence(lines[-1]) if lines else ""
    if "=" in text[: len(text) - len(last)] and _VARIABLE.fullmatch(last.partition("=")[0]):
        return None  # x = 5. y = 7.
    return _segment(last if "=" in last else text, marked=False)


def _first_sentence(text: str, start: int, until: int) -> str:
    end = _SENTENCE_END.search(text, start, until)
    return text[start : end.start() + (end[0] == "?") if end else until]


def _last_sentence(line: str) -> str:
    ends = [end.end() for end in _SENTENCE_END.finditer(line.rstrip(" ."))]
    return line[ends[-1] :] if ends else line


def _announced(tail: str) -> int | None:
    """The number that a sentence begins with after "the answer is", or the right-hand side that ends it."""
    tail = tail.lstrip(" \t(:\"'[")
    number = _NUMBER.match(tail)
    value = _value(number) if number else None
    if number is None or value is None:
        return _segment(tail, marked=True) if "=" in tail else None
    rest = tail[number.end() :]
    if not _DIGIT.search(rest):
        return None if _DOUBT.search(rest[:40]) else value
    return value if _EXPLAINED.match(rest) and not _UNSETTLED.search(rest) and "mod" not in rest[:9] else None


def _segment(text: str, *, marked: bool) -> int | None:
    """The integer of a short text: its only number, or the right-hand side of its last equation."""
    text = text.strip()
    if "=" in text:
        left, _, right = text.rpartition("=")
        if "=" in left and _list_of_values(left):
            return None
        if _DIGIT.search(right):
            return None if _UNSETTLED.search(left) and _DIGIT.search(left) else _lone(right, marked=True)
        return _lone(left.rpartition("=")[2], marked=True)
    return _lone(text, marked=marked)


def _list_of_values(left: str) -> bool:
    """Whether the last equation is one of several for different variables: x = 5, y = 7."""
    *before, last = _SEPARATOR.split(left.rpartition("=")[2])
    return bool(before) and _VARIABLE.fullmatch(last) is not None


def _lone(text: str, *, marked: bool) -> int | None:
    """The one number of the text; None if any digit, word or mark makes it something else."""
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
    return _value(number)


def _value(number: re.Match[str]) -> int | None:
    """The number if it is whole: 073, 1,000, 73.0 and 146/2 are, 3/4 is not."""
    if len(number[0]) > _LONGEST:
        return None
    value = Fraction(f"{number['whole'].replace(',', '')}.{number['decimals'] or 0}")
    if number["divisor"] is not None:
        if not number["divisor"].strip("0"):
            return None
        value /= int(number["divisor"])
    if value.denominator != 1:
        return None
    return -int(value) if number["sign"] == "-" else int(value)

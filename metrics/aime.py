r"""AIME: is this the integer?

Answers of the American Invitational Mathematics Examination are integers from 0 to 999. Models write them as
``\boxed{073}``, "the answer is 73" or ``$73^\circ$``: `integer_answer` reads all of these and guesses at none.

Example:
    >>> integer_answer(r"Hence $m+n = \boxed{\textbf{073}}$.")
    73
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import dspy

from flex_dspy.errors import DataError
from flex_dspy.metrics.answers import boxed, unwrapped

LARGEST = 999
# Python refuses to read integers of several thousand digits; no answer has even twenty.
_LONGEST = 40

# Marks that change how a number looks and not what it is.
_DECORATION = re.compile(
    r"\\[,!;: ]|\\[()\[\]]|\$|\*\*|`|\\(?:left|right|displaystyle|d?quad)\b|\^\{?\\circ\}?|\^?\\degree\b|°|\bdegrees?\b"
)
_WRAPPER = re.compile(r"\\(?:text|textbf|textit|mathbf|mathrm|bf|rm|fbox|boxed)\s*\{([^{}]*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{?(-?\d+)\}?\s*\{?(-?\d+)\}?")
# Possessive (++): "12x" must not be read as the 1 before "2x".
_NUMBER = re.compile(
    r"(?<![\w.^\\])(?P<sign>[-−+]?)\s*(?P<whole>\d{1,3}(?:,\d{3})++(?!\d)|\d++)(?:\.(?P<decimals>\d++))?"
    r"(?:\s*/\s*(?P<divisor>\d++))?"
    # What follows would make it another number: 2\sqrt{3}, 3x, 2^5, 4 + 1.
    r"(?![\w({√π]|[.,]\d|\s*[+*/^×·=\\!]|\s*[-−]\s*[\d\\])"
)
_KEYWORD = re.compile(r"(?:answer|result)\s*(?:is|:|=|equals)\s*:?|####", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\n|\.(?:\s|\Z)")
_LAST_EQUATION = re.compile(r"=\s*([^=\n]*?)\s*\.?\s*\Z")


def aime(
    gold: Any, pred: Any, trace: Any = None, pred_name: str | None = None, pred_trace: Any = None
) -> dspy.Prediction:
    """Score 1.0 iff the answer is the reference's integer, with feedback that does not give it away.

    Args:
        gold: The example; ``answer`` is an int or a text that holds one.
        pred: The answer; ``answer`` is an int or free text.
        trace: Unused; GEPA passes it.
        pred_name: Unused; GEPA passes it.
        pred_trace: Unused; GEPA passes it.

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
    return dspy.Prediction(score=0.0, feedback=_whats_wrong(given, answer))


def integer_answer(text: object) -> int | None:
    r"""The integer that an answer states, or None if it states none or several.

    Looks at the last ``\boxed{...}`` or ``<answer>`` first, then behind "the answer is" and ``####``, then at
    the text as a whole, at a last ``= ...``, and at the only number in the text.

    Args:
        text: An int, a whole float, a text or None.
    """
    if isinstance(text, bool) or text is None:
        return None
    if isinstance(text, int | float):
        return int(text) if text == text // 1 else None
    raw = str(text)
    inner = unwrapped(raw)
    marked = boxed(raw) is not None or inner != raw.strip()
    plain = _plain(inner)
    readings = (_only_number,) if marked else (_announced,)
    return _first(plain, *readings, _last_equation, _only_number)


def _field(record: Any, name: str) -> Any:
    """A field of an Example, a Prediction, a mapping or any object; None where it is absent."""
    return record.get(name) if isinstance(record, Mapping) else getattr(record, name, None)


def _plain(text: str) -> str:
    """The text without the marks that only change how a number looks."""
    text = _FRACTION.sub(r" \1/\2 ", text.replace("{,}", ","))
    previous = None
    while previous != text:
        previous, text = text, _WRAPPER.sub(r" \1 ", text)
    return _DECORATION.sub(" ", text).strip()


def _first(text: str, *readings: Callable[[str], int | None]) -> int | None:
    """What the first reading that finds an integer finds."""
    return next((found for reading in readings if (found := reading(text)) is not None), None)


def _announced(text: str) -> int | None:
    """The number behind the last "the answer is", or behind the last equals sign of that sentence."""
    for keyword in reversed(list(_KEYWORD.finditer(text))):
        sentence = _SENTENCE_END.split(text[keyword.end() :].lstrip(), maxsplit=1)[0]
        found = _leading(sentence)
        if found is None and "=" in sentence:
            found = _leading(sentence.rpartition("=")[2])
        if found is not None:
            return found
    return None


def _last_equation(text: str) -> int | None:
    """The right-hand side of an equation that ends the text."""
    found = _LAST_EQUATION.search(text)
    return _leading(found[1]) if found else None


def _only_number(text: str) -> int | None:
    """The one number of the text; None if any digit belongs to something else."""
    numbers = list(_NUMBER.finditer(text))
    if len(numbers) != 1 or re.search(r"\d", text[: numbers[0].start()] + text[numbers[0].end() :]):
        return None
    return _value(numbers[0])


def _leading(text: str) -> int | None:
    """The number that the text begins with."""
    found = _NUMBER.match(text.lstrip(" \t(:*"))
    return _value(found) if found else None


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
    return -int(value) if number["sign"] in ("-", "−") else int(value)


def _whats_wrong(given: object, answer: int | None) -> str:
    # No digits but the answer's own: "0 to 999" would give away a reference of 0 or 999.
    if given is None or not str(given).strip():
        return "There is no answer: give one integer."
    if answer is None:
        return "The answer is not one integer: end with a single number, without units or alternatives."
    if not 0 <= answer <= LARGEST:
        return f"{answer} is out of range: AIME answers are whole numbers of at most three digits, never negative."
    return f"{answer} is wrong."

r"""Reads the one decimal number that an answer states.

A percentage may mean 85 or 0.85, and 8/10 may be a grade of 8 or the number 0.8. Then both readings are returned, and
the field's bounds decide between them. Without bounds such a text is not read.

Example:
    >>> decimal_readings("The mass is 3.5 kg.")
    [3.5]
    >>> decimal_readings("85%")
    [85.0, 0.85]
    >>> decimal_readings("0.5 or 0.6")
    []
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

from flex_dspy.metrics.cleaning import clean_answer
from flex_dspy.metrics.numerals import ascii_digits, find_number

_PLAIN = re.compile(r"[-+]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][-+]?\d{1,3})?")
# 1.5e-3, 1.5 x 10^3, 1.5 \times 10^{-3}; and a power of ten alone.
_SCIENTIFIC = re.compile(
    r"(?<![\w.^])(?P<sign>[-+]?)(?P<base>\d{1,20}(?:\.\d{1,20})?)"
    r"(?:[eE](?P<plain>[-+]?\d{1,2})"
    r"|\s?(?:\\times|\\cdot|[x×*·])\s?10\s?(?:\^|\*\*)\s?\{?\s?(?P<power>[-+]?\d{1,2})\s?\}?)(?!\w|\.\d|\^)"
)
_ABOUT = re.compile(
    r"(?:\b(?:approx(?:imately\b|\.)?|about\b|around\b|roughly\b)|\\approx|[≈~∼])\s{0,3}(?=[-+$€£\d.])", re.IGNORECASE
)
_BARE_POINT = re.compile(r"(?<![\w.,])(?=\.\d)")
_PERCENT = re.compile(r"\d\s?\\?(?:%|percent\b|per cent\b)", re.IGNORECASE)
_GRADE = re.compile(r"\d\s{0,3}/\s{0,3}(?:5|10|20|100)(?![\d.])")
_GRADES = (5, 10, 20, 100)


def decimal_readings(text: str) -> list[float]:
    """The readings of the number that a text states: one, two if the field's bounds must decide, or none.

    Units, currencies, surrounding words, LaTeX, thousands separators, fractions, "approximately" and powers of ten up
    to 10^30 are read as a person reads them. Two numbers, a range or a bound ("at least 3") give no reading.

    Args:
        text: One field of a model's answer.
    """
    text = ascii_digits(clean_answer(text))
    if _PLAIN.fullmatch(text):
        return [value for value in [float(text)] if math.isfinite(value)]
    text = _ABOUT.sub("", _BARE_POINT.sub("0", _SCIENTIFIC.sub(_spelt_out, text)))
    number = find_number(text, whole=False)
    if number is None:
        return []
    value = float(number)
    if _PERCENT.search(text):
        return [value, value / 100]
    if _GRADE.search(text):
        return [value, *(value * most for most in _GRADES if re.search(rf"/\s{{0,3}}{most}(?![\d.])", text))]
    return [value]


def _spelt_out(found: re.Match[str]) -> str:
    """A number with a power of ten as a plain number. A power that is too large stays, so that it is not read."""
    power = int(found["plain"] or found["power"])
    if abs(power) > 30:
        return found[0]
    return found["sign"] + format(Decimal(f"{found['base']}e{power}"), "f")

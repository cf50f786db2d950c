"""Reads a single value from one field's text: a number, a yes or no, or a label.

Each reader takes the text and the field's type. If it cannot read the text, it raises ``ValueError`` with what it
found.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, get_args

from flex_dspy.metrics.cleaning import clean_answer
from flex_dspy.metrics.decimals import decimal_readings
from flex_dspy.metrics.integers import integer_answer
from flex_dspy.metrics.labels import LabelError, find_label
from flex_dspy.metrics.truth import find_truth
from flex_dspy.models.structures import quote

# Exact numbers, as JSON and Python write them: 70, -5, 70.0, 1e3, 1_000.
_NUMBER = re.compile(r"[-+]?\d{1,40}(?:_\d{1,40}){0,13}(?:\.\d{0,40})?(?:[eE][-+]?\d{1,3})?")
_LARGEST_EXACT = 1e15  # above it, a float may not be able to tell an integer from the next
_NULL = re.compile(r"(?:null|none|nil|n/?a|not applicable|not available)", re.IGNORECASE)


def read_anything(text: str, annotation: Any) -> Any:
    """The value if the text is JSON, else the text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def read_integer(text: str, annotation: Any) -> int:
    """One integer: exact digits, or else a number as the metrics of arithmetic tasks read it."""
    exact = _exact(text)
    value = integer_answer(text) if exact is None else exact
    if value is None:
        raise ValueError(_no_number(text))
    return int(value)


def _exact(text: str) -> float | int | None:
    """The number if the whole text is one number, as JSON and Python write it."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    if text.lstrip("+-").replace("_", "").isdecimal():
        return int(text)
    value = float(text.replace("_", ""))
    return value if value.is_integer() and abs(value) < _LARGEST_EXACT else None


def decimals_in(text: str) -> list[float]:
    """The numbers that the text may state; several if the field's bounds must decide."""
    readings = decimal_readings(text)
    if not readings or not all(map(math.isfinite, readings)):
        raise ValueError(_no_number(text))
    return readings


def _no_number(text: str) -> str:
    seen = clean_answer(text)
    if not seen:
        return _nothing(text)
    if any(letter.isdigit() for letter in seen):
        return f"found no single number beyond doubt in {quote(seen)}"
    return f"found no number in {quote(seen)}"


def _nothing(text: str) -> str:
    return "found only reasoning and no answer" if text.strip() else "found nothing"


def read_truth(text: str, annotation: Any) -> bool:
    """True or False."""
    value = find_truth(text)
    if value is None:
        raise ValueError(f"found {quote(clean_answer(text))}" if clean_answer(text) else _nothing(text))
    return value


def read_null(text: str, annotation: Any) -> None:
    """None, if the text says that there is no value."""
    if not is_null(text):
        raise ValueError(f"found {quote(text)}")


def read_literal(text: str, annotation: Any) -> Any:
    """The member of a ``Literal`` that the text names."""
    return _member(text, {str(member): member for member in get_args(annotation)})


def read_enum(text: str, annotation: Any) -> Any:
    """The member of an ``Enum`` that the text names by its value, or by its name."""
    members = list(annotation)
    by_value = {str(member.value): member for member in members}
    by_name = {member.name: member for member in members}
    text = re.sub(rf"\b{re.escape(annotation.__name__)}\.(?=\w)", "", text)
    try:
        return _member(text, by_value)
    except LabelError:
        return _member(text, by_name)


def _member(text: str, members: Mapping[str, Any]) -> Any:
    """The member whose label a text names; members that are numbers are read as numbers."""
    if text.strip() in members:
        return members[text.strip()]
    if all(re.fullmatch(r"-?\d+", label) for label in members):
        found = members.get(str(integer_answer(text)))
        if found is None:
            raise LabelError(f"found {quote(clean_answer(text))}")
        return found
    try:
        return members[find_label(text, list(members))]
    except LabelError as error:
        raise LabelError(f"{error} in {quote(text)}" if text.strip() else "found nothing") from error


def is_null(text: str) -> bool:
    """Whether a text says that there is no value. Reasoning alone does not say that."""
    return not text.strip() or bool(_NULL.fullmatch(clean_answer(text).rstrip(".")))

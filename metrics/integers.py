r"""Reads the one integer that an answer states, and compares it with the reference.

Example:
    >>> integer_answer(r"Hence $m+n = \boxed{\textbf{073}}$.")
    73
    >>> integer_answer("The answer is 73 or 74.") is None
    True
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import dspy

from flex_dspy.core.errors import DataError
from flex_dspy.metrics.numerals import find_number


def integer_answer(value: object) -> int | None:
    r"""The integer that an answer states; None if it states no integer or is ambiguous.

    ``find_number`` reads a text; 73.0 and 146/2 are whole.

    Args:
        value: An int, a whole float, a text or None.
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return int(value) if value == value // 1 else None
    number = find_number(str(value))
    return None if number is None else int(number)


def canonical_integer(text: str) -> str | None:
    """The integer that an answer states, as plain digits; None if ``integer_answer`` returns None."""
    value = integer_answer(text)
    return None if value is None else str(value)


def compare_integers(
    gold: Any, pred: Any, impossible: Callable[[int], str | None] = lambda answer: None
) -> dspy.Prediction:
    """Score 1.0 if the answer states the reference integer, else 0.0. The feedback does not reveal the reference.

    Args:
        gold: The example; ``answer`` is an int or a text that holds one.
        pred: The answer; ``answer`` is an int or free text.
        impossible: Takes an integer. It returns a remark if no problem of this kind can have it as the answer, else
            None.

    Returns:
        ``score`` (0.0 or 1.0) and ``feedback``.

    Raises:
        DataError: The reference is missing or is no integer.
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
    """A field of an Example, a Prediction, a mapping or any object; None if it is absent."""
    return record.get(name) if isinstance(record, Mapping) else getattr(record, name, None)

r"""The metric of AIME. It checks whether the answer is the right integer.

Answers of the American Invitational Mathematics Examination are integers from 0 to 999. Models write them as
``\boxed{073}``, "the answer is 73" or ``$73^\circ$``: see ``flex_dspy.metrics.integers``.
"""

from __future__ import annotations

from typing import Any

import dspy

from flex_dspy.metrics.integers import compare_integers, integer_answer

__all__ = ["LARGEST", "aime", "integer_answer"]

LARGEST = 999


def aime(
    gold: Any, pred: Any, trace: Any = None, pred_name: str | None = None, pred_trace: Any = None
) -> dspy.Prediction:
    """Score 1.0 if the answer is the reference integer, else 0.0. The feedback does not reveal the reference.

    Args:
        gold: The example; ``answer`` is an int or a text that holds one.
        pred: The answer; ``answer`` is an int or free text.
        trace: Unused; GEPA passes it.
        pred_name: Unused; GEPA passes it.
        pred_trace: Unused; GEPA passes it.

    Returns:
        ``score`` (0.0 or 1.0) and ``feedback``.

    Raises:
        DataError: The reference is missing or is no integer.
    """
    return compare_integers(gold, pred, _out_of_range)


def _out_of_range(answer: int) -> str | None:
    # The feedback contains no digits except the answer's own: "0 to 999" would reveal a reference of 0 or 999.
    if 0 <= answer <= LARGEST:
        return None
    return f"{answer} is out of range: AIME answers are whole numbers of at most three digits, never negative."

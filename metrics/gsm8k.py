"""The metric of GSM8K. It checks whether the answer is the right integer, which may be negative and of any size."""

from __future__ import annotations

from typing import Any

import dspy

from flex_dspy.metrics.integers import compare_integers


def gsm8k(
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
    return compare_integers(gold, pred)

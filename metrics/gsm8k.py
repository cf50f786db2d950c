"""The metric of GSM8K: whether the answer is the right integer. It may be negative, and of any size."""

from __future__ import annotations

from typing import Any

import dspy

from flex_dspy.metrics.integers import compare_integers


def gsm8k(
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
    return compare_integers(gold, pred)

"""Counts the errors among the answers of an evaluation: calls that gave no answer.

An accuracy counts an error as a wrong answer. So an accuracy with errors is a lower bound. Every place that shows such
an accuracy also shows the number of errors.
"""

from __future__ import annotations

from collections.abc import Mapping

MAX_ERRORS = 0.05  # share of errors up to which an accuracy is compared with others


def error_share(metrics: Mapping[str, float]) -> float:
    """Share of the answers that are errors, in [0, 1].

    Args:
        metrics: Metrics of an ``Evaluation``, by name. Without a number of examples, the share is 0.
    """
    answers = metrics.get("n", 0) * metrics.get("samples", 1)
    return metrics.get("errors", 0) / answers if answers else 0.0


def errors_text(metrics: Mapping[str, float]) -> str:
    """Text to put after an accuracy, such as ``, 6 errors``; empty if there were no errors."""
    errors = round(metrics.get("errors", 0))
    return f", {errors:,} error{'s' * (errors != 1)}" if errors else ""

"""Errors among the answers of an evaluation: an answer that never came says nothing about a library.

An accuracy counts an error as a wrong answer, over all examples: so it is never flattered. That makes it a lower bound
rather than a measurement, and whoever shows it says how many errors there were.
"""

from __future__ import annotations

from collections.abc import Mapping

MAX_ERRORS = 0.05  # share of errors up to which an accuracy is compared with others


def error_share(metrics: Mapping[str, float]) -> float:
    """The share of answers that are errors, in [0, 1].

    Args:
        metrics: Those of an ``Evaluation``, by name; an accuracy of unknown size has no errors that are known.
    """
    answers = metrics.get("n", 0) * metrics.get("samples", 1)
    return metrics.get("errors", 0) / answers if answers else 0.0


def errors_text(metrics: Mapping[str, float]) -> str:
    """How many errors there were, to follow an accuracy: ``, 6 errors``, or nothing."""
    errors = round(metrics.get("errors", 0))
    return f", {errors:,} error{'s' * (errors != 1)}" if errors else ""

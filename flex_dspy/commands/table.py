"""Evaluations side by side, in a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.evaluation.intervals import score_text
from flex_dspy.evaluation.settings import SOLVED

_COLUMNS = ("accuracy", "accuracy_low", "accuracy_high", "n", "samples", "errors")


def table(results: Mapping[str, Evaluation], *, solved: float = SOLVED) -> str:
    """Accuracy with its interval, and every further measure, a row an evaluation.

    Args:
        results: Evaluations by name; at least one.
        solved: The score from which a sample counts as right for ``pass_at_k``.
    """
    numbers = {label: evaluation.metrics(solved=solved) for label, evaluation in results.items()}
    bounds = {f"{name}{end}" for row in numbers.values() for name in row for end in ("_low", "_high")}
    names = [name for row in numbers.values() for name in row if name not in bounds and name not in _COLUMNS]
    columns = list(dict.fromkeys(names))
    rows = [["", "n", "accuracy", "95% interval", *columns, "errors"]]
    for label, row in numbers.items():
        score = [row["accuracy"], row["accuracy_low"], row["accuracy_high"]]
        mean, low, high = (score_text(number, *score) for number in score)
        cells = [score_text(row[name]) if name in row else "-" for name in columns]
        rows.append([label, f"{row['n']:.0f}", mean, f"{low} to {high}", *cells, f"{row['errors']:.0f}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)

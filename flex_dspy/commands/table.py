"""Evaluations side by side, in a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from flex_dspy.measuring.evaluation import Evaluation

_COLUMNS = ("accuracy", "accuracy_low", "accuracy_high", "n", "samples", "errors")


def table(results: Mapping[str, Evaluation]) -> str:
    """Accuracy with its interval, and every further measure, a row an evaluation.

    Args:
        results: Evaluations by name; at least one.
    """
    numbers = {label: evaluation.metrics() for label, evaluation in results.items()}
    bounds = {f"{name}{end}" for row in numbers.values() for name in row for end in ("_low", "_high")}
    names = [name for row in numbers.values() for name in row if name not in bounds and name not in _COLUMNS]
    columns = list(dict.fromkeys(names))
    rows = [["", "n", "accuracy", "95% interval", *columns, "errors"]]
    for label, row in numbers.items():
        interval = f"{row['accuracy_low']:.1%} to {row['accuracy_high']:.1%}"
        cells = [f"{row[name]:.1%}" if name in row else "-" for name in columns]
        rows.append([label, f"{row['n']:.0f}", f"{row['accuracy']:.1%}", interval, *cells, f"{row['errors']:.0f}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)

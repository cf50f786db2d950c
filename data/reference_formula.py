"""Finds a reference formula for labelled mutants: a ridge regression of fitness on the score columns.

Columns and fitness are in standard deviations, so the formula is a weighted sum of ``z``. The penalty is a constant; a
choice by leave-one-out for each assay was no better on the mutants and generated assays that the constant was chosen on
(see docs/results.md). Columns with a very small weight are left out, and the rest is fitted again. So the formula
remains short enough to read.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flex_dspy.metrics.formula import quote
from flex_dspy.metrics.formula_values import Vector

PENALTY = 0.1  # added to the variance of each column, which is about 1
MOST_COLUMNS = 24
LEAST_WEIGHT = 0.04  # as a share of the greatest weight


def reference_weights(correlations: Vector, likeness: Vector) -> Vector:
    """Weights of the columns, shape ``(columns,)``. The greatest absolute weight is 1; all are 0 if none is useful.

    Args:
        correlations: Covariance of each column with fitness, shape ``(columns,)``.
        likeness: Covariances between the columns, shape ``(columns, columns)``.
    """
    first = _ridge(correlations, likeness)
    chosen = np.argsort(-np.abs(first), kind="stable")[:MOST_COLUMNS]
    chosen = chosen[np.abs(first[chosen]) >= LEAST_WEIGHT * np.abs(first).max()]
    weights = np.zeros(len(first))
    weights[chosen] = _ridge(correlations[chosen], likeness[np.ix_(chosen, chosen)])
    largest = np.abs(weights).max()
    return (weights / largest).round(2) if largest > 0 else weights


def _ridge(correlations: Vector, likeness: Vector) -> Vector:
    solution = np.linalg.solve(likeness + PENALTY * np.eye(len(likeness)), correlations)
    return np.asarray(solution, np.float64)


def weighted_sum(columns: Sequence[str], weights: Sequence[float], function: str) -> str:
    """The formula with these weights of a function of each column, greatest weight first; "" if all weights are 0.

    Args:
        columns: The columns' names.
        weights: The weight of each.
        function: ``rank`` or ``z``.

    Example:
        >>> weighted_sum(["A", "B", "C"], [1, 0, -2], "rank")
        '-2*rank(C) + rank(A)'
    """
    order = sorted(range(len(columns)), key=lambda number: -abs(weights[number]))
    text = ""
    for number in order:
        weight = round(float(weights[number]), 3)
        if weight:
            times = "" if abs(weight) == 1 else f"{abs(weight):g}*"
            sign = (" - " if weight < 0 else " + ") if text else ("-" if weight < 0 else "")
            text += f"{sign}{times}{function}({quote(columns[number])})"
    return text

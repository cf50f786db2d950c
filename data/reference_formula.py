"""Finds a reference formula for labelled mutants: a sum of ranks with small integer weights, by forward selection.

Each step adds or subtracts the rank of one column, the one that raises the correlation with the measured ranks most.
The correlation of a sum follows from the correlations between columns, which need no measurement. These are shrunk, as
if each column had noise of its own. So small differences between nearly equal columns count less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flex_dspy.metrics.formula import quote
from flex_dspy.metrics.formula_values import Vector

MOST_STEPS = 12
MOST_WEIGHT = 3
SHRINKAGE = 0.3  # as a share of a column's own variance
LEAST_GAIN = 0.003


def reference_weights(correlations: Vector, likeness: Vector) -> Vector:
    """Integer weights of the columns' ranks, shape ``(columns,)``.

    Args:
        correlations: Correlation of each column's ranks with the measured ranks, shape ``(columns,)``.
        likeness: Correlations between the columns' ranks, shape ``(columns, columns)``.
    """
    shrunk = likeness + SHRINKAGE * np.eye(len(likeness))
    weights = np.zeros(len(correlations))
    covariance, variance, reached = 0.0, 0.0, 0.0
    for _ in range(MOST_STEPS):
        step = _best_step(weights, correlations, shrunk, covariance, variance)
        if step is None or step[0] < reached + LEAST_GAIN:
            break
        reached, number, sign = step
        variance += 2 * sign * float(shrunk[number] @ weights) + float(shrunk[number, number])
        covariance += sign * float(correlations[number])
        weights[number] += sign
    return weights


def _best_step(
    weights: Vector, correlations: Vector, shrunk: Vector, covariance: float, variance: float
) -> tuple[float, int, int] | None:
    """The correlation after the best step, the step's column and its sign; None if no step is possible."""
    best: tuple[float, int, int] | None = None
    for sign in (1, -1):
        variances = variance + 2 * sign * (shrunk @ weights) + np.diag(shrunk)
        usable = (variances > 1e-9) & (np.abs(weights + sign) <= MOST_WEIGHT)
        if not usable.any():
            continue
        reached = np.full(len(weights), -np.inf)
        reached[usable] = (covariance + sign * correlations[usable]) / np.sqrt(variances[usable])
        number = int(np.argmax(reached))
        if best is None or reached[number] > best[0]:
            best = (float(reached[number]), number, sign)
    return best


def sum_of_ranks(columns: Sequence[str], weights: Sequence[float]) -> str:
    """The formula with these weights of the columns' ranks, greatest weight first; "" if all weights are 0.

    Example:
        >>> sum_of_ranks(["A", "B", "C"], [1, 0, -2])
        '-2*rank(C) + rank(A)'
    """
    order = sorted(range(len(columns)), key=lambda number: -abs(weights[number]))
    text = ""
    for number in order:
        weight = round(float(weights[number]), 3)
        if weight:
            times = "" if abs(weight) == 1 else f"{abs(weight):g}*"
            sign = (" - " if weight < 0 else " + ") if text else ("-" if weight < 0 else "")
            text += f"{sign}{times}rank({quote(columns[number])})"
    return text

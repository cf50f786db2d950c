"""Conditions of a study. They are measured on the same examples and compared with a reference condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flex_dspy.core.scoring import ACCURACY
from flex_dspy.evaluation.differences import Difference, Side, correct_p_values, difference
from flex_dspy.evaluation.evaluate import Evaluation

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Condition:
    """Result of one condition.

    Attributes:
        accuracy: Mean score.
        low: Lower end of its 95% interval.
        high: Upper end of the interval.
        n: Number of examples.
        compared: Paired difference from the reference condition, with a p-value adjusted for all comparisons of the
            study; None for the reference itself.
        score: Name of the mean score.
    """

    accuracy: float
    low: float
    high: float
    n: int
    compared: Difference | None = None
    score: str = ACCURACY


def compare_with_first(groups: Sequence[Mapping[str, Evaluation]]) -> list[dict[str, Condition]]:
    """Conditions of a study in groups. Each condition is compared with the first condition of its group.

    Args:
        groups: Evaluations by the name of the condition, all on the same examples.
    """
    sides = [[Side(name, evaluation) for name, evaluation in group.items()] for group in groups]
    found = iter(correct_p_values([difference(group[0], side) for group in sides for side in group[1:]]))
    return [
        {side.name: _condition(side.evaluation, next(found) if place else None) for place, side in enumerate(group)}
        for group in sides
    ]


def _condition(evaluation: Evaluation, against: Difference | None) -> Condition:
    return Condition(evaluation.accuracy, *evaluation.interval, evaluation.n, against, evaluation.score)


def points(gain: float, score: str = ACCURACY) -> str:
    """Text of a difference with its sign: in percentage points for accuracies, else in the score's own unit."""
    return (f"{100 * gain:+.1f}" if score == ACCURACY else f"{gain:+.3f}").replace("-", "−")


def in_points(score: str) -> str:
    """Unit of a difference for a heading: " in points" for accuracies, else ""."""
    return " in points" if score == ACCURACY else ""


def gain_text(found: Difference, score: str = ACCURACY) -> str:
    """Text of a difference with its 95% interval, if there is one; see ``points``."""
    bounds = [points(bound, score) for bound in (found.low, found.high) if bound is not None]
    return points(found.gain, score) + (f" ({' to '.join(bounds)})" if len(bounds) == 2 else "")


def p_text(p: float) -> str:
    """Text of a p-value."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"

"""The conditions of a study: measured on the same examples, and compared with a reference among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flex_dspy.core.scoring import ACCURACY
from flex_dspy.evaluation.differences import Difference, Side, correct_p_values, difference
from flex_dspy.evaluation.evaluate import Evaluation

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Condition:
    """The result under one condition.

    Attributes:
        accuracy: Mean score.
        low: Lower end of its 95% interval.
        high: Upper end.
        n: Number of examples.
        compared: Difference to the reference condition, example by example, its p-value adjusted for all comparisons
            of the study; None for the reference itself.
        score: Name of the mean score.
    """

    accuracy: float
    low: float
    high: float
    n: int
    compared: Difference | None = None
    score: str = ACCURACY


def compare_with_first(groups: Sequence[Mapping[str, Evaluation]]) -> list[dict[str, Condition]]:
    """The conditions of a study, in groups; the first of a group is the reference that the others are compared with.

    Args:
        groups: Evaluations by the name of the condition, all of the same examples.
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
    """A difference with its sign: of accuracies in percentage points, of another score in its own unit."""
    return (f"{100 * gain:+.1f}" if score == ACCURACY else f"{gain:+.3f}").replace("-", "−")


def in_points(score: str) -> str:
    """The unit of a difference, for a heading: " in points", or "" where it is the score's own."""
    return " in points" if score == ACCURACY else ""


def gain_text(found: Difference, score: str = ACCURACY) -> str:
    """A difference with its 95% interval where there is one; see ``points``."""
    bounds = [points(bound, score) for bound in (found.low, found.high) if bound is not None]
    return points(found.gain, score) + (f" ({' to '.join(bounds)})" if len(bounds) == 2 else "")


def p_text(p: float) -> str:
    """A p-value as it is printed."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"

"""A library before and after a change, measured on the same examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dspy
import numpy as np

from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.measuring.contrasts import Floats, contrasts, half_width
from flex_dspy.measuring.evaluation import Evaluation, evaluate
from flex_dspy.measuring.records import by_example
from flex_dspy.scoring import Metric


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two libraries measured on the same examples.

    Attributes:
        before: With the library as it was.
        after: With the changed one.
    """

    before: Evaluation
    after: Evaluation

    @property
    def gain(self) -> tuple[float, float, float]:
        """Accuracy after less accuracy before, with its 95% interval.

        Like an entry's effect (see ``flex_dspy.measuring.contrasts``), it is of the differences on each example; with
        a single example the interval is infinite.
        """
        differences = _means(self.after) - _means(self.before)
        n = len(differences)
        found = contrasts(np.ones((n, 1)), differences, np.arange(n))
        half = half_width(float(found.error[0]), n, 0.05)
        return float(found.effect[0]), float(found.centre[0]) - half, float(found.centre[0]) + half

    def metrics(self) -> dict[str, float]:
        """Everything measured of the changed library, and ``accuracy_before``, ``accuracy_gain`` with its interval."""
        gain, low, high = self.gain
        before = {"accuracy_before": self.before.accuracy, "accuracy_gain": gain}
        bounds = {"accuracy_gain_low": low, "accuracy_gain_high": high}
        return self.after.metrics() | before | {name: value for name, value in bounds.items() if math.isfinite(value)}


def _means(evaluation: Evaluation) -> Floats:
    return np.array([sum(r.score for r in samples) / len(samples) for samples in by_example(evaluation.records)])


def compare(
    before: ExperienceLibrary,
    after: ExperienceLibrary,
    program: dspy.Module,
    examples: Sequence[dspy.Example],
    metric: Metric,
    **options: Any,
) -> Comparison:
    """Measure two libraries, on examples that had no part in the change.

    Args:
        before: The library as it was.
        after: The library as it is, or would be.
        program: Any program that holds a retriever.
        examples: Validation examples.
        metric: See ``flex_dspy.scoring.score``.
        **options: Further arguments of ``flex_dspy.measuring.evaluation.evaluate``.

    Raises:
        FlexError: As ``evaluate``.
    """
    measured = [
        evaluate(program, examples, metric, library=library, label=label, **options)
        for library, label in ((before, "before"), (after, "after"))
    ]
    return Comparison(*measured)

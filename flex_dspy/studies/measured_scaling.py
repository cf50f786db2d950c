"""Measures a run's versions again, also on training examples. Learning itself measures only validation examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import dspy
import numpy as np

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.scoring import Metric
from flex_dspy.evaluation.evaluate import Evaluation, evaluate
from flex_dspy.evaluation.records import by_example
from flex_dspy.learning.curve import CurvePoint
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs.equip import equip
from flex_dspy.search.retrieval import retrievers
from flex_dspy.studies.curve_fitting import Floats
from flex_dspy.studies.scaling_law import TRAINING, VALIDATION, Curve, Scaling
from flex_dspy.studies.settings import ScalingSettings

# Two versions that solve exactly the same examples would make the points' covariance singular.
_OWN = 0.02


def measure_scaling(
    program: dspy.Module,
    libraries: Mapping[int, ExperienceLibrary],
    metric: Metric,
    *,
    validation: Sequence[dspy.Example] = (),
    training: Sequence[dspy.Example] = (),
    **options: Any,
) -> Scaling:
    """Measure a run's versions on validation examples, on training examples, or on both.

    Args:
        program: Any program. A program without a retriever gets one from ``equip``.
        libraries: Libraries by the number of examples learned from; see ``Snapshots`` and ``registry_libraries``.
        metric: See ``flex_dspy.core.scoring.score``.
        validation: Examples that were not learned from.
        training: Examples that were learned from, or a sample of them. No retriever may show an example its own
            solution.
        **options: Fields of ``ScalingSettings``, and further arguments of ``flex_dspy.evaluation.evaluate.evaluate``.

    Raises:
        ConfigurationError: If there is nothing to measure, or a retriever shows an example its own solution.
        FlexError: For the same reasons as ``evaluate``.
    """
    if not libraries or not (validation or training):
        raise ConfigurationError("there is nothing to measure: give libraries, and validation or training examples")
    settings = ScalingSettings(**{name: options.pop(name) for name in ScalingSettings.model_fields if name in options})
    program = program if retrievers(program) else equip(program)
    if training and not all(retriever.exclude_self for retriever in retrievers(program)):
        raise ConfigurationError("with exclude_self=False training examples would be answered from their own solutions")
    curves = []
    for name, examples in ((VALIDATION, validation), (TRAINING, training)):
        if examples:
            allowed = {"allow_overlap": True} if name == TRAINING else {}
            evaluations = {
                step: evaluate(program, examples, metric, library=library, **{**options, **allowed})
                for step, library in sorted(libraries.items())
            }
            curves.append(_curve(name, evaluations, libraries, settings))
    return Scaling(tuple(curves), settings.title)


def _curve(
    name: str,
    evaluations: Mapping[int, Evaluation],
    libraries: Mapping[int, ExperienceLibrary],
    settings: ScalingSettings,
) -> Curve:
    points = {
        step: CurvePoint(step, each.accuracy, *each.interval, len(libraries[step]), each.n, score=each.score)
        for step, each in evaluations.items()
    }
    curve = Curve(name, tuple(points.values()), settings.against, settings.epoch, settings.form)
    fitted = [evaluations[step] for step, point in points.items() if curve.at(point) > 0]
    return replace(curve, correlation=tuple(map(tuple, _correlation(fitted).tolist())) if fitted else None)


def _correlation(evaluations: Sequence[Evaluation]) -> Floats:
    """Correlation of the accuracies of several versions on the same examples, shape ``(versions, versions)``."""
    scores = np.array(
        [[sum(r.score for r in row) / len(row) for row in by_example(each.records)] for each in evaluations]
    )
    centred = scores - scores.mean(axis=1, keepdims=True)
    length = np.sqrt((centred**2).sum(axis=1))
    length[length == 0] = 1.0  # all scores equal: there is no correlation
    found = (centred / length[:, None]) @ (centred / length[:, None]).T
    return np.asarray((1 - _OWN) * found + _OWN * np.eye(len(found)) + np.diag(1 - np.diag(found)) * (1 - _OWN))

"""The scaling law: accuracy against the amount learned.

::

    scaling(optimizer.versions)                              # measured in learning, on validation examples
    scaling("exps/aime-19a6903a5292")                        # the same from a run's folder; or "flex-aime" in MLflow
    measure_scaling(actor, snapshots.libraries, metric, validation=val, training=train)

Accuracy on training examples is fair, because an example never retrieves an entry based only on its own solution.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flex_dspy.core import representations
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.scoring import ACCURACY
from flex_dspy.core.settings import accepts
from flex_dspy.evaluation.intervals import Z
from flex_dspy.learning.curve import CurvePoint
from flex_dspy.learning.version import VersionRecord
from flex_dspy.studies.curve_fitting import Fit, fit
from flex_dspy.studies.settings import Axis, ScalingSettings
from flex_dspy.studies.snapshots import read_versions, registry_points

if TYPE_CHECKING:
    import pandas as pd

VersionSource = str | Path | Sequence[VersionRecord] | Sequence[CurvePoint]

VALIDATION, TRAINING = "validation", "training"
_TOLD = ("form", "equation", "chi2", "freedom", "criteria")  # fields of a fit in the JSON


@dataclass(frozen=True)
class Curve:
    """Accuracy of each version on one set of examples.

    Attributes:
        name: The set, such as ``validation``.
        points: Measured versions, by the amount learned. A point with 0 examples is the empty library.
        against: The axis.
        epoch: Number of examples in one pass over the training set, for the axis ``epochs``.
        form: Name of the form to fit; None chooses the best form.
        correlation: Correlation of the errors of the fitted points, if they were measured on the same examples and
            each example's score is known. Without it the points count as independent. Then the interval of the
            curve's level is somewhat too narrow, and the interval of its slope too wide.
    """

    name: str
    points: tuple[CurvePoint, ...]
    against: Axis = "examples"
    epoch: int | None = None
    form: str | None = None
    correlation: tuple[tuple[float, ...], ...] | None = None

    @property
    def learned(self) -> list[CurvePoint]:
        """Points with a positive amount, which have a place on a logarithmic axis."""
        return [point for point in self.points if self.at(point) > 0]

    @property
    def score(self) -> str:
        """Name of the mean score."""
        return self.points[0].score if self.points else ACCURACY

    @property
    def baseline(self) -> CurvePoint | None:
        """Point of the empty library; None if it was not measured."""
        return next((point for point in self.points if point.entries == 0), None)

    def at(self, point: CurvePoint) -> float:
        """Position of a point on the axis."""
        if self.against == "entries":
            return point.entries
        if point.entries == 0 and point.examples == 0:
            return 0
        return point.examples / self.epoch if self.against == "epochs" and self.epoch else point.examples

    @property
    def fit(self) -> Fit | None:
        """Fitted curve; None if the points do not allow a fit, see ``why_not``."""
        return self._fitted[0]

    @property
    def why_not(self) -> str:
        """Reason why there is no fit; empty if there is a fit."""
        return self._fitted[1]

    def text(self) -> str:
        """Fitted parameters on one line, or the reason why there is no fit."""
        return f"no fit: {self.why_not}" if self.fit is None else self.fit.text(self.against)

    @cached_property
    def _fitted(self) -> tuple[Fit | None, str]:
        points = self.learned
        correlation = None if self.correlation is None else np.array(self.correlation)
        try:
            found = fit(
                [self.at(point) for point in points],
                [point.accuracy for point in points],
                [(point.high - point.low) / (2 * Z) for point in points],
                correlation=correlation,
                form=self.form,
            )
        except ValueError as error:
            return None, str(error)
        return found, ""


@dataclass(frozen=True)
class Scaling(representations.Representable):
    """Accuracy against the amount learned, with fitted curves. A notebook shows a table with the curves' parameters.

    Attributes:
        curves: One curve for each set of examples.
        title: Title, such as the model and the data that it learned from.
    """

    curves: tuple[Curve, ...]
    title: str = "Accuracy against experience"

    def __getitem__(self, name: str) -> Curve:
        return next(curve for curve in self.curves if curve.name == name)

    def figure(self, path: str | Path) -> Path:
        """Draw points, curves and bands as a PNG. See ``flex_dspy.studies.scaling_figure.scaling_figure``."""
        return representations.figure(self, path)

    def __repr__(self) -> str:
        return self.text()

    def to_pandas(self) -> pd.DataFrame:
        """Table with one row for each version and set of examples, with the fitted accuracy and its band."""
        return representations.frame(self)

    def text(self) -> str:
        """Text of the curves' parameters for a terminal, one line for each set of examples."""
        return "\n".join(f"{curve.name}: {curve.text()}" for curve in self.curves)

    def to_json(self) -> str:
        """Points, settings and fits as JSON text."""
        curves = []
        for curve in self.curves:
            found = curve.fit
            facts = found and {
                name: getattr(found, name) for name in ("form", "equation", "chi2", "freedom", "criteria")
            }
            numbers = {name: asdict(value) for name, value in found.parameters.items()} if found else {}
            curves.append(asdict(curve) | {"fit": facts and {**facts, "parameters": numbers}, "why_not": curve.why_not})
        return json.dumps(_finite({"title": self.title, "curves": curves}), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Scaling:
        """Read a study from the output of ``to_json``, and fit its curves again from the points.

        Raises:
            ValueError: If the text is not such a study.
        """
        try:
            data = json.loads(text)
            return cls(tuple(_curve(curve) for curve in data["curves"]), data["title"])
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"this is no scaling study: {error}") from error


def _curve(data: dict[str, Any]) -> Curve:
    given = {name: value for name, value in data.items() if name not in ("fit", "why_not")}
    rows = given.pop("correlation")
    points = tuple(CurvePoint(**point) for point in given.pop("points"))
    return Curve(**given, points=points, correlation=None if rows is None else tuple(map(tuple, rows)))


def _finite(value: Any) -> Any:
    """Replace infinite bounds by None, because JSON has no infinity."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


@accepts(ScalingSettings)
def scaling(
    source: VersionSource | Mapping[str, VersionSource],
    *,
    tracking_uri: str | None = None,
    settings: ScalingSettings | None = None,
    **options: Any,
) -> Scaling:
    """Compute the scaling law of measured versions.

    Args:
        source: A run's versions (``optimizer.versions``), its folder, library or ``.versions.jsonl`` file, the name of
            a registered library in MLflow (its newest run), or measured points. It may also be a mapping of such
            sources by the name of their set of examples. Versions without a measurement are left out.
        tracking_uri: The tracking store; None for MLflow's own choice.
        settings: The axis, the form and the title.
        **options: Fields of ``ScalingSettings`` to change, such as ``against``.

    Raises:
        ConfigurationError: If nothing was measured, there is no such name, or the axis needs ``epoch``.
        LibraryError: If a file cannot be read.
    """
    settings = ScalingSettings.resolve(settings, options)
    sources = source if isinstance(source, Mapping) else {VALIDATION: source}
    found = {name: _points(each, tracking_uri) for name, each in sources.items()}
    axis = (settings.against, settings.epoch, settings.form)
    curves = tuple(Curve(name, points, *axis) for name, points in found.items() if points)
    if not curves:
        raise ConfigurationError("no version was measured: learn with validation examples")
    return Scaling(curves, settings.title)


def _points(source: VersionSource, tracking_uri: str | None) -> tuple[CurvePoint, ...]:
    if isinstance(source, str | Path):
        path = Path(source)
        is_file = path.exists() or path.suffix in (".json", ".jsonl")
        source = read_versions(path) if is_file else registry_points(str(source), tracking_uri)
    points = [
        each.curve_point() if isinstance(each, VersionRecord) else each
        for each in source
        if isinstance(each, CurvePoint) or "accuracy" in each.metrics
    ]
    return tuple(sorted(points, key=lambda point: point.examples))

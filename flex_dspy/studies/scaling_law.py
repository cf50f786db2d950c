"""The scaling law: accuracy against the amount learned.

::

    scaling(optimizer.versions)                              # measured in learning, on validation examples
    scaling("exps/aime-19a6903a5292")                        # the same from a run's folder; or "flex-aime" in MLflow
    measure_scaling(actor, snapshots.libraries, metric, validation=val, training=train)

Accuracy on training examples is honest: an example never retrieves an entry that rests on its own solution alone.
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
_TOLD = ("form", "equation", "chi2", "freedom", "criteria")  # of a fit, in JSON


@dataclass(frozen=True)
class Curve:
    """Accuracy on one set of examples, version by version.

    Attributes:
        name: The set, such as ``validation``.
        points: Measured versions, by the amount learned; one of no examples is the empty library.
        against: The axis.
        epoch: Number of examples of one pass over the training set; for the axis ``epochs``.
        form: Name of the form to fit; None chooses.
        correlation: Correlation of the errors of the points that are fitted, where they were measured on the same
            examples and each example's score is known. Without it they count as independent, and the level of the
            curve seems somewhat surer than it is, its slope less sure.
    """

    name: str
    points: tuple[CurvePoint, ...]
    against: Axis = "examples"
    epoch: int | None = None
    form: str | None = None
    correlation: tuple[tuple[float, ...], ...] | None = None

    @property
    def learned(self) -> list[CurvePoint]:
        """The points that have a place on a logarithmic axis."""
        return [point for point in self.points if self.at(point) > 0]

    @property
    def score(self) -> str:
        """Name of the mean score."""
        return self.points[0].score if self.points else ACCURACY

    @property
    def baseline(self) -> CurvePoint | None:
        """The empty library, if it was measured."""
        return next((point for point in self.points if point.entries == 0), None)

    def at(self, point: CurvePoint) -> float:
        """Where a point stands on the axis."""
        if self.against == "entries":
            return point.entries
        if point.entries == 0 and point.examples == 0:
            return 0
        return point.examples / self.epoch if self.against == "epochs" and self.epoch else point.examples

    @property
    def fit(self) -> Fit | None:
        """The fitted curve; None where the points do not allow one, see ``why_not``."""
        return self._fitted[0]

    @property
    def why_not(self) -> str:
        """Why there is no fit; empty where there is one."""
        return self._fitted[1]

    def text(self) -> str:
        """The fitted parameters on one line, or why there are none."""
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
    """Accuracy against the amount learned, with fitted curves. In a notebook a table, with the curves' parameters.

    Attributes:
        curves: One a set of examples.
        title: Says which model learned from which data.
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
        """One row a measured version and set of examples, with the fitted accuracy and its band."""
        return representations.frame(self)

    def text(self) -> str:
        """The curves' parameters for a terminal, one line a set of examples."""
        return "\n".join(f"{curve.name}: {curve.text()}" for curve in self.curves)

    def to_json(self) -> str:
        """Points, settings and fits as JSON."""
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
        """The same study again; its curves are fitted anew from the points.

        Raises:
            ValueError: If the text holds something else.
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
    """JSON has no infinity: such a bound becomes null."""
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
    """The scaling law of measured versions.

    Args:
        source: A run's versions (``optimizer.versions``), its folder, library or ``.versions.jsonl`` file, the name of
            a registered library in MLflow (its newest run), or measured points; or several of these by the name of the
            examples that they were measured on. Versions that were not measured are left out.
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

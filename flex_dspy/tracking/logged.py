"""The content of an MLflow run.

The store is asked once and the result is kept, so that the hundredth version of a run costs as much as the first.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flex_dspy.learning.curve import CurvePoint
from flex_dspy.learning.version import Version, point
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.locations import LIBRARY_FILE
from flex_dspy.tracking.mlflow_store import pages


@dataclass(slots=True)
class Logged:
    """The content of a run.

    Attributes:
        models: Its logged models, by hash and step.
        registered: Their registered versions, by the model's id.
        runs: Their own runs, by the model's id.
        outputs: Ids of the models that are linked to the run.
        inputs: Names and digests of its data sets.
        points: Its measured versions by step.
    """

    models: dict[tuple[str, str], Any] = field(default_factory=dict)
    registered: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    outputs: set[str] = field(default_factory=set)
    inputs: set[tuple[str, str]] = field(default_factory=set)
    points: dict[int, CurvePoint] = field(default_factory=dict)

    @classmethod
    def read(cls, client: Any, experiment_id: str, run_id: str, name: str) -> Logged:
        """Read the content of a run from the store, for a continued run or after an interrupted attempt."""
        run = client.get_run(run_id)
        outputs = {output.model_id for output in run.outputs.model_outputs}
        models = list(pages(
            client.search_logged_models, [experiment_id], filter_string=f"source_run_id = '{run_id}'"
        ))  # fmt: skip
        # An earlier run may have logged the empty library; this run is linked to it.
        models += [client.get_logged_model(other) for other in outputs - {model.model_id for model in models}]
        below = pages(client.search_runs, [experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")
        runs = {each.data.tags["flex_dspy.model_id"]: each.info.run_id for each in below}
        versions = pages(client.search_model_versions, f"name = '{name}'")
        ids = {model.model_id for model in models}
        registered = {v.tags["model_id"]: v for v in versions if v.tags.get("model_id") in ids}
        logged = cls(
            models={(model.params["hash"], model.params["step"]): model for model in models},
            registered=registered,
            runs={key: version.run_id for key, version in registered.items()} | runs,
            outputs=outputs,
            inputs={(each.dataset.name, each.dataset.digest) for each in run.inputs.dataset_inputs},
        )
        for model in models:
            own = [metric for metric in model.metrics or () if metric.run_id in (None, "", run_id)]
            numbers = {
                each.key: each.value for each in sorted(own, key=lambda each: each.timestamp)
            }  # the newest counts
            logged.note(int(model.params["step"]), numbers)
        return logged

    def curve(self, version: Version) -> list[CurvePoint]:
        """The measured versions up to and including this version."""
        own = version.curve_point()
        earlier = [self.points[step] for step in sorted(self.points) if step < version.step]
        return [*earlier, *([own] if own is not None else [])]

    def number_of(self, library_hash: str | None) -> str | None:
        """The newest registered version number of a library that this run logged."""
        found = [
            v
            for (known, _), m in self.models.items()
            if known == library_hash and (v := self.registered.get(m.model_id))
        ]
        return str(max(int(version.version) for version in found)) if found else None

    def note(self, step: int, numbers: Mapping[str, float]) -> None:
        """Remember the measurements of a version."""
        measured = point(step, numbers)
        if measured is not None:
            self.points[step] = measured


def read_logged(client: Any, experiment_id: str, wanted: str, uri: str) -> ExperienceLibrary | None:
    """Load a library that was logged in an experiment; None if it was not.

    Args:
        client: The store's client.
        experiment_id: The experiment.
        wanted: The library's hash.
        uri: The store's address.
    """
    from mlflow.artifacts import download_artifacts

    model = find_model(client, experiment_id, wanted)
    if model is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        # Not "models:/...", because MLflow looks that up in the process's own store, which may be another store.
        path = download_artifacts(f"{model.artifact_location}/{LIBRARY_FILE}", dst_path=folder, tracking_uri=uri)
        return ExperienceLibrary.from_json(Path(path).read_bytes(), wanted)


def find_model(client: Any, experiment_id: str, wanted: str) -> Any | None:
    """The newest logged model of an experiment that is ready and holds the library with this hash."""
    from mlflow.entities import LoggedModelStatus

    # Not "AND status = 'READY'", because the database stores the status as a number and would find nothing.
    found = client.search_logged_models([experiment_id], filter_string=f"params.hash = '{wanted}'")
    return next((model for model in found if model.status == LoggedModelStatus.READY), None)

"""The libraries of a run, version by version, to be measured again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flex_dspy.core.errors import LibraryError
from flex_dspy.learning.curve import CurvePoint
from flex_dspy.learning.version import Version, Versions, point
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tracking import registry
from flex_dspy.tracking.mlflow_store import connect, report_errors, resolve_uri

SUFFIX = ".versions.jsonl"


class Snapshots:
    """A tracker that keeps each version's library in memory; they share their common entries.

    A run that is resumed brings only the versions that it publishes from then on.

    Attributes:
        libraries: By the number of examples learned from.

    Example:
        >>> from flex_dspy import ForwardLearning
        >>> snapshots = Snapshots()
        >>> optimizer = ForwardLearning(metric, tracker=snapshots)  # doctest: +SKIP
        >>> learned = optimizer.compile(actor, trainset=train, valset=val)  # doctest: +SKIP
        >>> measure_scaling(learned, snapshots.libraries, metric, validation=val, training=train)  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self.libraries: dict[int, ExperienceLibrary] = {}

    def start(self, params: Mapping[str, Any]) -> None:
        """Nothing is needed of a run's parameters."""

    def log_version(self, version: Version) -> None:
        """Keep one version."""
        self.libraries[version.step] = version.library

    def finish(self, artifacts: Sequence[Path] = ()) -> None:
        """Nothing is left to do."""


def read_versions(path: Path) -> Versions:
    """The versions of the newest run in a library's log.

    Args:
        path: The log itself (``library.versions.jsonl``), or the library beside it, or their folder.

    Raises:
        LibraryError: If there is no log, or it is damaged.
    """
    file = path / "library.json" if path.is_dir() else path
    library = file.with_name(file.name.removesuffix(SUFFIX) + ".json") if file.name.endswith(SUFFIX) else file
    log = VersionLog(library, run="").path
    if log is None or not log.exists():
        raise LibraryError(library, "the versions", "there is no log of them", "Only learning publishes versions")
    lines = log.read_bytes().splitlines()
    return VersionLog(library, run=json.loads(lines[-1])["run"] if lines else "").records


def registry_libraries(name: str, tracking_uri: str | None = None) -> dict[int, ExperienceLibrary]:
    """The libraries of the run that registered the newest version of a name, by the number of examples learned from.

    Args:
        name: The registered name, such as ``flex-aime``.
        tracking_uri: The tracking store; None for MLflow's own choice.

    Raises:
        ConfigurationError: If there is no such store or name.
    """
    name = registry.name_of(name)
    found = _versions_by_step(name, tracking_uri)
    return {step: registry.load_library(f"{name}/{number}", tracking_uri) for step, (number, _) in found.items()}


def registry_points(name: str, tracking_uri: str | None = None) -> list[CurvePoint]:
    """The measured points of these versions.

    Raises:
        ConfigurationError: If there is no such store or name.
    """
    found = _versions_by_step(registry.name_of(name), tracking_uri)
    return [measured for step, (_, metrics) in found.items() if (measured := point(step, metrics)) is not None]


def _versions_by_step(name: str, tracking_uri: str | None) -> dict[int, tuple[int, dict[str, float]]]:
    """The registered number and the metrics of each version of the newest run, by step.

    The empty library is registered once for all runs of a task and model; each run has its own metrics of it.
    """
    versions = registry.list_versions(name, tracking_uri)
    uri = resolve_uri(tracking_uri)
    with report_errors(f"read {name} in", uri):
        client = connect(uri)
        newest = client.get_logged_model(versions[-1].tags["model_id"]).source_run_id
        outputs = client.get_run(newest).outputs
        own = {output.model_id for output in outputs.model_outputs} if outputs else set()
        found: dict[int, tuple[int, dict[str, float]]] = {}
        for each in versions:
            model = client.get_logged_model(each.tags["model_id"]) if "model_id" in each.tags else None
            if model is not None and (model.source_run_id == newest or model.model_id in own):
                step = int(each.tags["step"])
                found[step] = (each.number, _metrics_in(client, newest, model, step))
    return dict(sorted(found.items()))


def _metrics_in(client: Any, run_id: str, model: Any, step: int) -> dict[str, float]:
    """The metrics of a logged model in a run: its own, or those that the run has of it."""
    metrics = {metric.key: metric.value for metric in model.metrics or ()}
    if model.source_run_id == run_id:
        return metrics
    histories = {key: client.get_metric_history(run_id, key) for key in metrics}
    at_step = {key: [metric.value for metric in history if metric.step == step] for key, history in histories.items()}
    return {key: values[-1] for key, values in at_step.items() if values}

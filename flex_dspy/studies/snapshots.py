"""Finds the libraries of all versions of a run, so that they can be measured again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flex_dspy.core.errors import LibraryError
from flex_dspy.learning.curve import CurvePoint
from flex_dspy.learning.version import Version, Versions
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tracking import registry, version_table
from flex_dspy.tracking.mlflow_store import connect, report_errors, resolve_uri
from flex_dspy.tracking.version_rows import VersionRow
from flex_dspy.tracking.version_table import find_experiments

SUFFIX = ".versions.jsonl"


class Snapshots:
    """A tracker that keeps the library of each version in memory. Libraries share their common entries.

    A resumed run adds only the versions that it publishes after the resumption.

    Attributes:
        libraries: Libraries by the number of examples learned from.

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
        """Do nothing: the parameters of a run are not needed."""

    def log_version(self, version: Version) -> None:
        """Store the library of a version."""
        self.libraries[version.step] = version.library

    def finish(self, artifacts: Sequence[Path] = ()) -> None:
        """Do nothing: there is nothing to finish."""


def read_versions(path: Path) -> Versions:
    """Read the versions of the newest run from a library's log.

    Args:
        path: The log (``library.versions.jsonl``), the library beside it, or their folder.

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
    """Load the libraries of the newest run of a registered name, by the number of examples learned from.

    Args:
        name: The registered name, such as ``flex-aime``.
        tracking_uri: The tracking store; None for MLflow's own choice.

    Raises:
        ConfigurationError: If there is no such store or name.
    """
    name = registry.name_of(name)
    rows = _newest_run(name, tracking_uri)
    return {row.examples: registry.load_library(row.reference, tracking_uri) for row in rows}


def registry_points(name: str, tracking_uri: str | None = None) -> list[CurvePoint]:
    """Load the measured points of the newest run of a registered name.

    Raises:
        ConfigurationError: If there is no such store or name.
    """
    rows = _newest_run(registry.name_of(name), tracking_uri)
    return [measured for row in rows if (measured := row.curve_point()) is not None]


def _newest_run(name: str, tracking_uri: str | None) -> list[VersionRow]:
    """Versions that the newest run of a registered name published or began with, by the examples learned from."""
    registry.list_versions(name, tracking_uri)  # raises an error that lists the registered names
    uri = resolve_uri(tracking_uri)
    with report_errors(f"read {name} in", uri):
        client = connect(uri)
        rows = [row for row in version_table.read_versions(client, find_experiments(client)) if row.name == name]
    newest = max(rows, key=lambda row: row.number or 0).run_id
    return sorted((row for row in rows if row.run_id == newest), key=lambda row: row.examples)

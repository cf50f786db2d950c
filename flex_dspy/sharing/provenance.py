"""Collects facts on how a library was made, from the run's files beside it or from MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flex_dspy.core.errors import RunError
from flex_dspy.learning.run_folder import RunFolder, RunNote
from flex_dspy.learning.version import VersionRecord
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tracking.registry import is_registered
from flex_dspy.tracking.version_table import versions


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a library was learned and measured.

    Attributes:
        models: The model of each role, as the user named it for the run.
        data: The run's sets of examples by use, each with ``name``, ``digest``, ``source``, ``size``.
        measured: The record of exactly this version; None if it was not measured.
    """

    models: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    measured: VersionRecord | None = None


def provenance_of(name: str | Path, library: ExperienceLibrary, tracking_uri: str | None = None) -> Provenance:
    """Read how a library was learned and measured.

    Args:
        name: The library's file, the folder of a run, or ``NAME@alias`` or ``NAME/version`` in MLflow.
        library: The library's content. A measurement counts only if it was made with the same content.
        tracking_uri: The tracking store; None for MLflow's default.

    Raises:
        ConfigurationError: If the name is an MLflow name and MLflow's store cannot be read.
        LibraryError: If the log of versions is damaged.
    """
    path = Path(name)
    return _of_mlflow(library, tracking_uri) if is_registered(path, str(name)) else _of_files(path, library)


def _of_mlflow(library: ExperienceLibrary, tracking_uri: str | None) -> Provenance:
    """The facts from MLflow. Of all versions with this content, take the one measured on the most examples."""
    rows = [row for row in versions(tracking_uri=tracking_uri) if row.hash == library.hash]
    row = max(rows, key=lambda each: each.n or 0, default=None)
    if row is None:
        return Provenance()
    record = VersionRecord.of(row.run_id, row.examples, library, row.numbers, row.metric)
    is_measured = {"accuracy", "accuracy_low", "accuracy_high", "n"} <= row.numbers.keys()
    data = {"validation": {"name": row.dataset, "digest": row.dataset_digest, "size": row.n}}
    return Provenance({"actor": row.model} if row.model else {}, data, record if is_measured else None)


def _of_files(path: Path, library: ExperienceLibrary) -> Provenance:
    folder = RunFolder(path) if path.is_dir() else RunFolder(path.parent, path)
    if not folder.library.exists():
        return Provenance()
    records = [record for record in VersionLog(folder.library, "").of_all_runs if record.hash == library.hash]
    measured = next((record for record in reversed(records) if "accuracy" in record.metrics), None)
    note = _note(folder, library)
    return Provenance(_models(note.command), note.data, measured)


def _note(folder: RunFolder, library: ExperienceLibrary) -> RunNote:
    """The note of the run that made the library; an empty one if there is none."""
    try:
        note = folder.note()
    except RunError:
        return RunNote("")
    return note if note.run in library.runs else RunNote("")


def _models(command: Mapping[str, Any]) -> dict[str, str]:
    named = {name: value for name, value in command.items() if isinstance(value, str) and value}
    roles = {name.removesuffix("_lm"): value for name, value in named.items() if name.endswith("_lm")}
    return ({"all other roles" if roles else "all roles": named["lm"]} if "lm" in named else {}) | roles

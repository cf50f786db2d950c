"""What is known of how a library came to be: from the run's files that lie beside it."""

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


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a library was learned and measured.

    Attributes:
        models: The model of each role that was named, as the run was told.
        data: Its sets of examples by use, each with ``name``, ``digest``, ``source``, ``size``.
        measured: The record of this very version; None where it was not measured.
    """

    models: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    measured: VersionRecord | None = None


def provenance_of(path: Path, library: ExperienceLibrary) -> Provenance:
    """Read what the files beside a library say of it.

    Args:
        path: The library's file, or the folder of a run.
        library: Its content: a measurement counts only if it was of the same content.

    Raises:
        LibraryError: If the log of versions is damaged.
    """
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

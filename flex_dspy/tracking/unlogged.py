"""Keeps versions beside the run until the tracking store has taken them.

    unlogged/about.json                   the run: its parameters, its experiment, its data sets
    unlogged/<step>-<hash>/library.json   the snapshot, without which a version cannot be logged
    unlogged/<step>-<hash>/version.json   its measurements and its validation set
    unlogged/<step>-<hash>/records.jsonl  the record of each example

Only missing versions are kept. If the store takes every version, there is no such folder.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flex_dspy.core.errors import FlexError, RunError
from flex_dspy.evaluation.record_files import RECORDS, as_lines, read_records
from flex_dspy.learning.version import Version
from flex_dspy.libraries.library_file import load, write_atomically
from flex_dspy.tracking.datasets import DatasetInfo

logger = logging.getLogger(__name__)

FOLDER = "unlogged"
_ABOUT, _LIBRARY, _VERSION = "about.json", "library.json", "version.json"


@dataclass(frozen=True, slots=True)
class RunNotes:
    """The names, parameters and data of a run, for MLflow.

    Attributes:
        experiment: Name of the experiment.
        registered_name: Name of the registered model.
        params: Its parameters, without secrets.
        data: Its training and validation sets.
        instructions: Instructions of its roles, by role.
    """

    experiment: str
    registered_name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, DatasetInfo] = field(default_factory=dict)
    instructions: Mapping[str, str] = field(default_factory=dict)


class Unlogged:
    """The versions in a folder that wait to be logged.

    Args:
        folder: The folder; it is made for the first waiting version, and removed after the last.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, version: Version, notes: RunNotes) -> None:
        """Keep a version, unless it is kept already. If the folder is not writable, log a warning."""
        place = self._place(version)
        if (place / _VERSION).exists():
            return
        try:
            place.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / _ABOUT, json.dumps(asdict(notes), indent=2, default=str) + "\n")
            write_atomically(place / _LIBRARY, version.library.to_json())
            write_atomically(place / RECORDS, as_lines(version.records))
            write_atomically(place / _VERSION, json.dumps(_numbers(version), indent=2) + "\n")
        except (OSError, FlexError) as error:
            logger.warning("the version at step %d cannot be kept to be logged later: %s", version.step, error)

    def drop(self, version: Version) -> None:
        """Remove a version that was logged."""
        shutil.rmtree(self._place(version), ignore_errors=True)
        if self.folder.is_dir() and not any(path.is_dir() for path in self.folder.iterdir()):
            shutil.rmtree(self.folder, ignore_errors=True)

    def versions(self) -> list[Version]:
        """The waiting versions, oldest first. A version that was only partly written is left out."""
        kept = (_read(path.parent) for path in self.folder.glob(f"*/{_VERSION}"))
        return sorted(kept, key=lambda version: version.step)

    def notes(self) -> RunNotes | None:
        """The notes on the run of these versions; None if no version waits."""
        path = self.folder / _ABOUT
        if not path.exists():
            return None
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            data = {use: DatasetInfo(**info) for use, info in kept.pop("data").items()}
            return RunNotes(**kept, data=data)
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(f"{path} does not describe a run: {error}. Remove it to log without it") from error

    def _place(self, version: Version) -> Path:
        return self.folder / f"{version.step}-{version.library.hash[:12]}"


def _numbers(version: Version) -> dict[str, Any]:
    return {
        "step": version.step,
        "metrics": dict(version.metrics),
        "dataset": version.dataset,
        "dataset_digest": version.dataset_digest,
        "is_again": version.is_again,
        "score": version.score,
        "program": version.program,
    }


def _read(place: Path) -> Version:
    try:
        numbers = json.loads((place / _VERSION).read_text(encoding="utf-8"))
        records = read_records(place / RECORDS) if (place / RECORDS).stat().st_size else ()
        return Version(load(place / _LIBRARY), **numbers, records=records)
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{place} holds no version: {error}. Remove it to log the others") from error

"""``flex-dspy library log``: log the versions of a run that MLflow lacks, from what lies in its folder.

A version that the store did not take while it was learned is kept in the folder, whole. Of a run that was not tracked,
or whose store was lost afterwards, the folder has the newest version alone: of the others it has the numbers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flex_dspy.core.errors import RunError, TrackingError
from flex_dspy.learning.version import Version, VersionRecord
from flex_dspy.learning.versions import VersionLog
from flex_dspy.tracking.datasets import DatasetInfo
from flex_dspy.tracking.registry import read_library
from flex_dspy.tracking.tracker import MLflowTracker
from flex_dspy.tracking.unlogged import FOLDER, RunNotes, Unlogged


def run(arguments: argparse.Namespace) -> None:
    """Do it. What is logged already stays as it is."""
    folder: Path = arguments.run
    records = VersionLog(folder / "library.json", "").of_all_runs
    if not records:
        raise RunError(f"{folder} holds no run that published versions: name the folder that learn wrote")
    notes = Unlogged(folder / FOLDER).notes() or _notes(folder)
    tracker = MLflowTracker(
        arguments.experiment or notes.experiment,
        tracking_uri=arguments.tracking_uri,
        registered_name=notes.registered_name,
        run_file=folder / "mlflow_run.txt",
        data=notes.data,
        unlogged=folder / FOLDER,
    )
    tracker.start(notes.params)
    before = _held(tracker, records)
    _log(tracker, folder, records[-1], notes)
    if tracker.missing:
        steps = ", ".join(map(str, tracker.missing))
        raise TrackingError(f"MLflow still lacks the versions at step {steps}: try again when the store answers")
    _say(tracker, records, before)


def _log(tracker: MLflowTracker, folder: Path, newest: VersionRecord, notes: RunNotes) -> None:
    """Log what waits, and the newest version, which the library's own file holds."""
    library = read_library(folder / "library.json")
    is_known = newest.step in tracker.missing or tracker.holds(newest.hash, newest.step)
    if library.hash == newest.hash and not is_known:
        measured = notes.data.get("validation")
        named = (measured.name, measured.digest) if measured and "accuracy" in newest.metrics else ("", "")
        tracker.log_version(Version(library, newest.step, newest.metrics, *named))
    figure = folder / "library.png"
    tracker.finish([figure] if figure.exists() else [])


def _held(tracker: MLflowTracker, records: Sequence[VersionRecord]) -> list[int]:
    return [record.step for record in records if tracker.holds(record.hash, record.step)]


def _say(tracker: MLflowTracker, records: Sequence[VersionRecord], before: Sequence[int]) -> None:
    held = _held(tracker, records)
    print(f"{len(held) - len(before)} versions were logged now, {len(before)} before, of {len(records)}")
    lost = [str(record.step) for record in records if record.step not in held]
    if lost:
        print(f"at step {', '.join(lost)}: the libraries were not kept, so they cannot be logged. Their numbers are in")
        print("  library.versions.jsonl")
    print(f"MLflow   {tracker.registered_name}@newest, experiment {tracker.experiment}")


def _notes(folder: Path) -> RunNotes:
    """What the run's own note says of it, where no version waits that says more."""
    path = folder / "run.json"
    try:
        note: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        command = note["command"]
        data = {use: DatasetInfo(**info) for use, info in note.get("data", {}).items()}
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} does not describe a run: {error}") from error
    task = read_library(folder / "library.json").task
    params = {"run": note.get("run"), "task": task, "actor": command.get("actor_lm") or command.get("lm")}
    return RunNotes(command.get("experiment") or f"flex-{task}", f"flex-{task}", params, data)

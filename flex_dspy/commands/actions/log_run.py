"""``flex-dspy library log``: logs the versions of a run that MLflow lacks, from the run's folder.

If the store rejected a version during learning, the folder keeps the whole version. If a run was not tracked, or its
store was lost later, the folder has only the newest version. Of the other versions it has only the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flex_dspy.core.errors import RunError, TrackingError
from flex_dspy.learning.run_folder import RunFolder
from flex_dspy.learning.version import Version, VersionRecord
from flex_dspy.tracking.datasets import DatasetInfo
from flex_dspy.tracking.promotion import Promote
from flex_dspy.tracking.registry import read_library
from flex_dspy.tracking.tracker import MLflowTracker
from flex_dspy.tracking.unlogged import RunNotes, Unlogged


def run(path: Path, experiment: str | None, tracking_uri: str | None, promote: Promote = "best") -> None:
    """Log the versions that MLflow lacks. Versions that it already has are unchanged.

    Raises:
        RunError: If the folder holds no run.
        TrackingError: If MLflow still lacks versions.
    """
    folder = RunFolder.of_run(path) if RunFolder(path).note_file.exists() else RunFolder(path)
    records = folder.versions()
    if not records:
        raise RunError(f"{path} holds no run that published versions: name the folder that learn wrote")
    notes = Unlogged(folder.unlogged).notes() or _notes(folder)
    tracker = MLflowTracker(
        experiment or notes.experiment,
        tracking_uri=tracking_uri,
        registered_name=notes.registered_name,
        run_file=folder.tracking_run,
        data=notes.data,
        unlogged=folder.unlogged,
        promote=promote,
    )
    tracker.start(notes.params)
    before = _steps_in_store(tracker, records)
    _log(tracker, folder, records[-1], notes)
    if tracker.missing:
        steps = ", ".join(map(str, tracker.missing))
        raise TrackingError(f"MLflow still lacks the versions at step {steps}: try again when the store answers")
    _print(tracker, records, before)


def _log(tracker: MLflowTracker, folder: RunFolder, newest: VersionRecord, notes: RunNotes) -> None:
    """Log the waiting versions, and the newest version, which is in the library's file."""
    library = read_library(folder.library)
    is_known = newest.step in tracker.missing or tracker.holds(newest.hash, newest.step)
    if library.hash == newest.hash and not is_known:
        measured = notes.data.get("validation")
        named = (measured.name, measured.digest) if measured and "accuracy" in newest.metrics else ("", "")
        tracker.log_version(Version(library, newest.step, newest.metrics, *named, score=newest.score))
    tracker.finish([folder.figure] if folder.figure.exists() else [])


def _steps_in_store(tracker: MLflowTracker, records: Sequence[VersionRecord]) -> list[int]:
    return [record.step for record in records if tracker.holds(record.hash, record.step)]


def _print(tracker: MLflowTracker, records: Sequence[VersionRecord], before: Sequence[int]) -> None:
    held = _steps_in_store(tracker, records)
    print(f"{len(held) - len(before)} versions were logged now, {len(before)} before, of {len(records)}")
    lost = [str(record.step) for record in records if record.step not in held]
    if lost:
        print(f"at step {', '.join(lost)}: the libraries were not kept, so they cannot be logged. Their numbers are in")
        print("  library.versions.jsonl")
    print(f"MLflow   {tracker.registered_name}@newest, experiment {tracker.experiment}")


def _notes(folder: RunFolder) -> RunNotes:
    """Notes of the run, for a run without waiting versions, which would have more detailed notes."""
    note = folder.note()
    try:
        data = {use: DatasetInfo(**info) for use, info in note.data.items()}
    except TypeError as error:
        raise RunError(f"{folder.note_file} does not describe a run: {error}") from error
    task = read_library(folder.library).task
    params = {"run": note.run, "task": task, "actor": note.command.get("actor_lm") or note.command.get("lm")}
    return RunNotes(note.command.get("experiment") or f"flex-{task}", f"flex-{task}", params, data)

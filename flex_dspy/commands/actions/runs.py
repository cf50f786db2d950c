"""``flex-dspy runs list``, ``show`` and ``delete``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from flex_dspy.commands.actions.asking import ask
from flex_dspy.commands.actions.tables import print_json, print_table
from flex_dspy.core.errors import ConfigurationError, RunError
from flex_dspy.core.scoring import ACCURACY
from flex_dspy.core.tables import build_table
from flex_dspy.learning.run_folder import RUNS, RunFolder, RunSummary, list_runs


def list_all(root: Path, *, as_json: bool) -> None:
    """Print the runs in a folder. The run that was changed last is at the end.

    Raises:
        RunError: If the folder does not exist.
    """
    if root != RUNS and not root.is_dir():
        raise RunError(f"there is no folder {root}")
    found = list_runs(root)
    if as_json:
        print_json([asdict(run) for run in found])
    elif found:
        has_graded = any(run.newest and run.newest.score != ACCURACY for run in found)
        head = ["folder", "task", "changed", "versions", "score" if has_graded else ACCURACY, "failures"]
        print_table(build_table(head, map(_row, found), left=3))
    else:
        print(f"there are no runs in {root}")


def _row(run: RunSummary) -> tuple[str, ...]:
    if run.problem:
        return str(run.folder), run.task, f"cannot be read: {run.problem}", "", "", ""
    changed = f"{run.changed:%Y-%m-%d %H:%M}" if run.changed else ""
    measured = run.newest.score_text() if run.newest else ""
    return str(run.folder), run.task, changed, str(run.versions), measured or "-", str(run.failures)


def show(path: Path, *, as_json: bool) -> None:
    """Print the options, the data, the versions and the costs of a run.

    Raises:
        RunError: If there is no run in the folder.
    """
    folder = RunFolder.of_run(path)
    note, versions = folder.note(), folder.versions()
    if as_json:
        print_json({**asdict(note), "library": str(folder.library), "versions": [asdict(each) for each in versions]})
        return
    print(f"run      {note.run}\nlibrary  {folder.library}\n")
    print_table(build_table(["option", "value"], sorted(note.command.items()), left=2))
    rows = [(use, info["name"], info["size"], info["digest"]) for use, info in note.data.items()]
    print()
    print_table(build_table(["data", "source", "examples", "digest"], rows, left=2))
    print(*["", *(record.text() for record in versions)], sep="\n")
    if folder.spending.exists():
        print(f"\n{folder.ledger().table()}")


def delete(paths: Sequence[Path], *, is_confirmed: bool) -> None:
    """Delete runs after asking for confirmation.

    Raises:
        ConfigurationError: If no run is named, or there is no terminal to ask at.
        RunError: If a folder holds no run.
    """
    if not paths:
        raise ConfigurationError("name the folders of the runs to delete; flex-dspy runs list shows them")
    folders = [RunFolder.of_run(path) for path in paths]
    for folder in folders:
        if is_confirmed or ask(f"delete {folder.path} with all its files", "delete"):
            folder.delete()
            print(f"deleted  {folder.path}")

"""``flex-dspy runs list``."""

from __future__ import annotations

from pathlib import Path

from flex_dspy.commands.arguments import PrintJson


def list_runs(folder: Path = Path("exps"), *, json: PrintJson = False) -> None:
    """List the runs in a folder, the newest last.

    Args:
        folder: The folder that holds the runs' folders.
        json: Print JSON.
    """
    from flex_dspy.commands.actions import runs

    runs.list_all(folder, as_json=json)

"""``flex-dspy runs show``."""

from __future__ import annotations

from pathlib import Path

from flex_dspy.commands.arguments import PrintJson


def show(run: Path, *, json: PrintJson = False) -> None:
    """Print a run: its options, its data, its versions and its costs.

    Args:
        run: The folder of a run.
        json: Print JSON.
    """
    from flex_dspy.commands.actions import runs

    runs.show(run, as_json=json)

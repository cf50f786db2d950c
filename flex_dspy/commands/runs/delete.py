"""``flex-dspy runs delete``."""

from __future__ import annotations

from pathlib import Path


def delete(*runs: Path, yes: bool = False) -> None:
    """Delete runs: their folders with the libraries in them. Their versions in MLflow stay.

    Args:
        runs: The folders of the runs.
        yes: Delete without a question.
    """
    from flex_dspy.commands.actions import runs as action

    action.delete(runs, is_confirmed=yes)

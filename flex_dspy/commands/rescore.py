"""``flex-dspy rescore``: judge saved records under another metric, without asking a model."""

from __future__ import annotations

from pathlib import Path

from flex_dspy.commands.arguments import PrintJson


def rescore(folder: Path, *, metric: str, json: PrintJson = False) -> None:
    """Judge the records of an evaluation again, under another metric. No model is asked.

    Args:
        folder: A folder with records.jsonl, or such a file.
        metric: A task's name, or module:function.
        json: Print JSON.
    """
    from flex_dspy.commands.actions import rescore as action

    action.run(folder, metric, as_json=json)

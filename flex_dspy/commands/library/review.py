"""``flex-dspy library review``."""

from __future__ import annotations

from pathlib import Path

from flex_dspy.commands import paths
from flex_dspy.commands.arguments import PrintJson


def review(library: Path, *, json: PrintJson = False) -> None:
    """Print the lessons that wait for approval. No actor is shown them before.

    Args:
        library: A library file of this project.
        json: Print JSON.
    """
    paths.check_own(library)
    from flex_dspy.commands.actions import reviewing

    reviewing.show(library, as_json=json)

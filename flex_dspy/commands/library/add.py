"""``flex-dspy library add``."""

from __future__ import annotations

from pathlib import Path

from flex_dspy.commands import paths
from flex_dspy.commands.options.library import Lesson


def add(library: Path, *, lesson: Lesson, task: str = "", reason: str = "") -> None:
    """Add a lesson that a person wrote.

    Args:
        library: A library file of this project. It is created if it is missing.
        lesson: The lesson.
        task: Name of the task, for a library that is not there yet.
        reason: The reason. The journal keeps it until the next checkpoint.
    """
    paths.check_target(library)
    from flex_dspy.commands.actions import reviewing

    reviewing.add(library, lesson, task=task, reason=reason)

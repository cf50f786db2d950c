"""``flex-dspy library prune``: remove entries that do harm, are out of use, or repeat others."""

from __future__ import annotations

from pathlib import Path

from flex_dspy.commands.options.library import PruneOptions


def prune(library: Path, *, options: PruneOptions = PruneOptions()) -> None:
    """Remove entries that do harm, are out of use, or repeat others.

    Harm is measured by library value. The plan is printed first. With --task and --data, accuracy is measured before
    and after, and nothing is removed if it would surely fall. Pinned entries stay.

    Args:
        library: A library file of this project.
        options: The other options.
    """
    from flex_dspy.commands.actions import prune as action

    action.run(library, options)

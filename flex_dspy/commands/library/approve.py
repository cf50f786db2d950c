"""``flex-dspy library approve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flex_dspy.commands import paths


def approve(
    library: Path,
    *entry_ids: str,
    every: Annotated[bool, Parameter(name="--all")] = False,
    reason: str = "",
) -> None:
    """Make lessons that wait for approval entries, which actors are shown.

    Args:
        library: A library file of this project.
        entry_ids: Ids of the lessons, or their beginnings.
        every: All lessons that wait.
        reason: The reason. The journal keeps it until the next checkpoint.
    """
    paths.check_own(library)
    from flex_dspy.commands.actions import reviewing

    reviewing.approve(library, entry_ids, every=every, reason=reason)

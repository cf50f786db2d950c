"""``flex-dspy library edit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flex_dspy.commands import paths
from flex_dspy.commands.options.library import Edit


def edit(
    library: Path,
    entry_id: Annotated[str, Parameter(name="--id")],
    *,
    change: Edit = Edit(),
    force: bool = False,
    reason: str = "",
) -> None:
    """Change, remove or pin an entry; without an option, in $EDITOR.

    Args:
        library: A library file of this project.
        entry_id: The entry's id, or its beginning.
        change: The change.
        force: Remove the entry though it is pinned.
        reason: The reason. The journal keeps it until the next checkpoint.
    """
    paths.check_own(library)
    from flex_dspy.commands.actions import editing

    editing.run(library, entry_id, change, force=force, reason=reason)

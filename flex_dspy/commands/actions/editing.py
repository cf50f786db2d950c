"""``flex-dspy library edit``."""

from __future__ import annotations

from pathlib import Path

from flex_dspy.commands.actions.entry_editor import revision_from_editor, revision_from_options
from flex_dspy.commands.options.library import Edit
from flex_dspy.libraries.editing import find_entry
from flex_dspy.libraries.experience import Experience, PersonEdit, Pin, Remove
from flex_dspy.libraries.paths import journal_of
from flex_dspy.libraries.store import LibraryStore


def run(path: Path, entry_id: str, change: Edit, *, force: bool, reason: str) -> None:
    """Change one entry, and print the difference."""
    is_learning = journal_of(path).exists()
    store = LibraryStore(path)
    before = store.library
    edit = _edit(find_entry(before, entry_id), change, force=force, reason=reason)
    if edit is None:
        print("nothing changed")
        return
    after = store.edit([edit])
    if not is_learning:  # during a run only the run writes its file, because it needs the snapshots in between
        after = store.checkpoint(before.hash)
    print(after.diff(before).text())


def _edit(entry: Experience, change: Edit, *, force: bool, reason: str) -> PersonEdit | None:
    if change.remove:
        return Remove(entry.id, reason, force)
    if change.pin or change.unpin:
        return Pin(entry.id, change.pin, reason)
    if change.assignments:
        return revision_from_options(entry, change.assignments, reason)
    return revision_from_editor(entry, reason)

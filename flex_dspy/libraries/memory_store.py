"""A store without a file, for a library that is only needed in one notebook or test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flex_dspy.libraries.by_hand import ByHand
from flex_dspy.libraries.editing import EDITS, check_edits
from flex_dspy.libraries.experience import Commit, PersonEdit
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.reading import holds
from flex_dspy.libraries.store import LibraryStore, Store


class MemoryStore(ByHand):
    """A ``Store`` in memory.

    Args:
        library: The snapshot to start from.
    """

    path: Path | None = None

    def __init__(self, library: ExperienceLibrary) -> None:
        self.library = library
        self.replayed: tuple[ExperienceLibrary, ...] = (library,)

    def refresh(self) -> ExperienceLibrary:
        """The newest snapshot; no other process can commit here."""
        return self.library

    def replay(self) -> tuple[ExperienceLibrary, ...]:
        """The snapshot to start from; none after a checkpoint."""
        return self.replayed

    def commit(self, commits: Sequence[Commit]) -> ExperienceLibrary:
        """Apply commits. Commits that the library already holds are skipped."""
        for commit in commits:
            if not holds(self.library, commit):
                self.library = self.library.apply(commit)
        return self.library

    def edit(self, edits: Sequence[PersonEdit]) -> ExperienceLibrary:
        """Make a person's edits as one commit.

        Raises:
            ConfigurationError: If one of the edits cannot be made. Then none is made.
        """
        check_edits(self.library, edits)
        return self.commit([Commit(EDITS, self.library.runs.get(EDITS, 0) + 1, tuple(edits))])

    def _newest(self) -> ExperienceLibrary:
        return self.library

    def checkpoint(self, parent: str | None = None) -> ExperienceLibrary:
        """Make the newest snapshot a version, and return it."""
        self.library = self.library if parent is None else self.library.as_version(parent)
        self.replayed = ()
        return self.library


def open_store(
    library: Store | ExperienceLibrary | str | Path | None, own: ExperienceLibrary, mode: int | None = None
) -> Store:
    """Open the store to learn into.

    Args:
        library: A store, or the path of its file, or a snapshot to start from in memory.
        own: The program's library. If ``library`` is None, learning starts from it; a new file takes its task.
        mode: Permissions of a new library; None follows the umask.
    """
    if isinstance(library, str | Path):
        return LibraryStore(library, task=own.task, mode=mode)
    if library is None or isinstance(library, ExperienceLibrary):
        return MemoryStore(own if library is None else library)
    if mode is not None and isinstance(library, LibraryStore):
        library.start_with(mode)
    return library

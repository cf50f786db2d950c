"""A store without a file: for a library learned in a notebook or a test, and gone with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flex_dspy.libraries.by_hand import ByHand
from flex_dspy.libraries.editing import EDITS, check_edits
from flex_dspy.libraries.experience import Commit, PersonEdit
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore


class MemoryStore(ByHand):
    """Commits to a library in memory, with the interface of ``flex_dspy.libraries.store.LibraryStore``.

    Args:
        library: Where to start.
    """

    path = None

    def __init__(self, library: ExperienceLibrary) -> None:
        self.library = library
        self.replayed: tuple[ExperienceLibrary, ...] = (library,)

    def commit(self, commits: Sequence[Commit]) -> ExperienceLibrary:
        """Apply commits; those that are already in are skipped."""
        for commit in commits:
            if not commit.run or commit.step > self.library.runs.get(commit.run, -1):
                self.library = self.library.apply(commit)
        return self.library

    def edit(self, edits: Sequence[PersonEdit]) -> ExperienceLibrary:
        """Make a person's edits as one commit.

        Raises:
            ConfigurationError: If one of them cannot be made. None is made.
        """
        check_edits(self.library, edits)
        return self.commit([Commit(EDITS, self.library.runs.get(EDITS, 0) + 1, tuple(edits))])

    def _newest(self) -> ExperienceLibrary:
        return self.library

    def checkpoint(self, parent: str | None = None) -> ExperienceLibrary:
        """The library as a version."""
        self.library = self.library if parent is None else self.library.published(parent)
        self.replayed = ()
        return self.library


def store_of(
    library: LibraryStore | ExperienceLibrary | str | Path | None, own: ExperienceLibrary, mode: int | None = None
) -> LibraryStore | MemoryStore:
    """Where to learn.

    Args:
        library: A store, or the path of its file, or a snapshot to start from in memory.
        own: What a program has: where to start, unless told otherwise.
        mode: Permissions of a library that is not there yet; None follows the umask.
    """
    if isinstance(library, str | Path):
        return LibraryStore(library, task=own.task, mode=mode)
    if isinstance(library, LibraryStore):
        if mode is not None:
            library.start_with(mode)
        return library
    return MemoryStore(own if library is None else library)

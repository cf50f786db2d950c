"""A library on the disk, open for reading. It needs no lock and only the permission to read the files."""

from __future__ import annotations

import threading
from functools import reduce
from itertools import accumulate
from pathlib import Path

from flex_dspy.core.errors import LibraryError, LibraryFormatError
from flex_dspy.libraries.experience import Commit
from flex_dspy.libraries.files import Identity, LibraryFiles
from flex_dspy.libraries.journal import Header, Journal
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import load

_TRIES = 20  # attempts that a writer's checkpoint may disturb before reading fails


class LibraryReader:
    """The newest snapshot of a library file and the journal beside it. It changes no file, and needs no lock.

    Args:
        path: The library file.

    Attributes:
        path: The library file, with all links followed.

    Raises:
        LibraryFormatError: If the file or its journal is damaged, or the two do not belong together.
        LibraryVersionError: If a newer flex-dspy wrote one of them.
        LibraryError: If they cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self._prepare(LibraryFiles(path), ExperienceLibrary())
        self.refresh()

    def _prepare(self, files: LibraryFiles, library: ExperienceLibrary) -> None:
        self.path = files.snapshot
        self._files = files
        self._journal = Journal(files.journal)
        self._guard = threading.RLock()
        self._snapshot_identity: Identity = None
        self._library = library

    @property
    def library(self) -> ExperienceLibrary:
        """The newest snapshot that this process knows."""
        return self._library

    def refresh(self) -> ExperienceLibrary:
        """The newest snapshot, with all commits made before this call.

        Raises:
            LibraryError: If the files were damaged, or replaced by others, since they were opened.
        """
        with self._guard:
            for _ in range(_TRIES):
                if self._is_read_undisturbed():
                    return self._library
        problem = "are written faster than they can be read"
        raise LibraryError(self.path, "the files", problem, "Try again, or write fewer checkpoints")

    def _is_read_undisturbed(self) -> bool:
        """Read the new commits; False if a checkpoint came in between, because the result may then mix old and new."""
        before = self._marks()
        try:
            self._catch_up()
        except LibraryError:
            if self._marks() == before:
                raise
        except OSError as error:
            if self._marks() == before:
                problem = f"cannot be read: {error.strerror or error}"
                raise LibraryError(self.path, "the files", problem, "Check the path and its permissions") from error
        return self._marks() == before

    def _marks(self) -> tuple[Identity, bytes]:
        """Marks that change with each checkpoint, but not with a commit."""
        try:
            return self._files.snapshot_identity(), self._journal.read_first_line()
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
            raise LibraryError(self.path, "the files", problem, "Check the path and its permissions") from error

    def _catch_up(self) -> None:
        """Read the commits of other processes: only the new ones, unless one of them made a checkpoint."""
        if self._snapshot_identity != self._files.snapshot_identity() or not self._journal.is_same():
            self._load()
            return
        commits, end = self._journal.read(self._library.seen)
        self._library = reduce(ExperienceLibrary.apply, commits, self._library)
        self._journal.position = end

    def _load(self) -> list[ExperienceLibrary]:
        """Read both files from the start, and return the snapshot after each commit."""
        identity = self._files.snapshot_identity()
        journal = Journal(self._files.journal)
        header = journal.open()
        base = ExperienceLibrary() if identity is None else load(self.path)
        base = base.for_task(header.task if header else self._library.task)
        snapshots = [base] if header is None else self._replay(base, header, journal)
        self._check_descent(snapshots[-1])
        self._library, self._journal, self._snapshot_identity = snapshots[-1], journal, identity
        return snapshots

    def _replay(self, base: ExperienceLibrary, header: Header, journal: Journal) -> list[ExperienceLibrary]:
        commits, journal.position = journal.read(header.seen)
        if (header.base, header.seen) == (base.hash, base.seen):
            return list(accumulate(commits, ExperienceLibrary.apply, initial=base))
        known = all(holds(base, commit) for commit in commits if commit.run)
        if not known or header.seen + len(commits) > base.seen:
            problem = f"continues another library than {self.path.name}: one of {header.seen} commits"
            remedy = "Put that library file back, or move the journal away to go on without its commits"
            raise LibraryFormatError(journal.path, "line 1", problem, remedy)
        journal.is_stale = True  # a crash came after the snapshot was written and before the journal was removed
        return [base]

    def _check_descent(self, library: ExperienceLibrary) -> None:
        """Refuse a file that lacks commits which this process already knows."""
        ours = self._library
        lost = [run for run, step in ours.runs.items() if library.runs.get(run, -1) < step]
        if lost or library.seen < ours.seen:
            problem = f"no longer holds the {ours.seen} commits that were made: another program replaced it"
            raise LibraryError(self.path, "the file", problem, "Put the file back, or open the library anew")


def holds(library: ExperienceLibrary, commit: Commit) -> bool:
    """Whether the library already holds a commit. For a commit without a run this is always False."""
    return bool(commit.run) and commit.step <= library.runs.get(commit.run, -1)

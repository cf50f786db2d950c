"""The store of a library that is being learned: a JSON file, a journal, and a lock between processes.

    <name>.json            the snapshot of the last checkpoint
    <name>.journal.jsonl   a header that names the snapshot it continues, then a line for each commit since
    <name>.lock            held by a writer while it reads or writes the two; a reader needs no lock

If the library is opened by a link, all three lie beside the target of the link. They have the permissions of the
library file. If a lock file is deleted, the lock no longer counts: its writer takes the lock again, or gets an error.

A commit is one line, which is on the disk before ``commit`` returns. A checkpoint writes the snapshot and then removes
the journal. After a crash between the two, the snapshot already holds all commits of the journal, so the journal is
ignored. A crash may cut the last line short; it was never acknowledged, and is dropped. Any other damage is an error,
and an error changes no file.

Example:
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from flex_dspy.libraries.experience import Commit, Experience, Insert
    >>> path = Path(mkdtemp()) / "dice.json"
    >>> lesson = Experience("golden", "Count the complement when 'at least one' is asked for.")
    >>> LibraryStore(path, task="dice").commit([Commit("run-1", 1, (Insert(lesson),))])
    ExperienceLibrary(dice: 1 golden; 0 precedents)
    >>> LibraryStore(path).library  # another process, or the same after a crash
    ExperienceLibrary(dice: 1 golden; 0 precedents)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from flex_dspy.core.errors import LibraryError, LibraryFormatError
from flex_dspy.core.lines import MAX_LINE
from flex_dspy.libraries.by_hand import ByHand
from flex_dspy.libraries.editing import EDITS, check_edits
from flex_dspy.libraries.experience import COMMIT_JSON, Commit, PersonEdit
from flex_dspy.libraries.files import LibraryFiles
from flex_dspy.libraries.journal import commit_line, first_problem
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import write_atomically
from flex_dspy.libraries.paths import journal_of as journal_of
from flex_dspy.libraries.paths import mode_beside
from flex_dspy.libraries.reading import LibraryReader, holds

_PREFIX = 200  # bytes; longer than the part of a line before its commit
_UNREAD = (-1, -1, -1)  # an identity that no file has


class Store(Protocol):
    """The store that receives the commits to a library: a file (``LibraryStore``) or memory (``MemoryStore``).

    One thread commits at a time. When ``commit`` returns, its commits are as safe as the store can make them.

    Attributes:
        replayed: The snapshots that were rebuilt when the store was opened; empty after the first checkpoint.
    """

    replayed: tuple[ExperienceLibrary, ...]

    @property
    def path(self) -> Path | None:
        """The library file; None if the library is only in memory."""

    @property
    def library(self) -> ExperienceLibrary:
        """The newest snapshot that this process knows."""

    def refresh(self) -> ExperienceLibrary:
        """The newest snapshot, with the commits of other processes."""

    def replay(self) -> tuple[ExperienceLibrary, ...]:
        """The snapshots since the last checkpoint: first the checkpoint's, then the library after each commit."""

    def commit(self, commits: Sequence[Commit]) -> ExperienceLibrary:
        """Apply commits to the newest snapshot and return the library after them.

        A commit of a named run is skipped if the library already holds its step, so that a commit can be repeated.
        """

    def edit(self, edits: Sequence[PersonEdit]) -> ExperienceLibrary:
        """Make a person's edits as one commit. The commit belongs to a separate run."""

    def checkpoint(self, parent: str | None = None) -> ExperienceLibrary:
        """Write the newest snapshot, as a version made from ``parent`` if that is given."""


class LibraryStore(LibraryReader, ByHand):
    """A library on the disk, open for learning. Any number of processes may have one file open.

    ``pin``, ``unpin``, ``veto`` and ``revise`` make a person's edits, durably.

    Args:
        path: The library file. It need not exist; nothing is written before the first commit. A file of the FLEX
            release can be read too, and is written in this project's format at the first checkpoint.
        task: Name of the task, for a library that has none yet.
        mode: Permissions of the files of a new library, such as 0o600; None follows the umask. Existing files keep
            their permissions.

    Attributes:
        path: The library file, with all links followed.
        replayed: The snapshots that were rebuilt when the store was opened: the last checkpoint, then the library after
            each commit of the journal. A resumed run needs them, so that each example sees the same library as in an
            uninterrupted run. They share their structure; the first checkpoint drops them.

    Raises:
        LibraryFormatError: If the file or its journal is damaged, or the two do not belong together.
        LibraryVersionError: If a newer flex-dspy wrote one of them.
        LibraryError: If the file is of another task, cannot be read, or is locked for minutes.
    """

    def __init__(self, path: str | Path, *, task: str = "", mode: int | None = None) -> None:
        self.replayed: tuple[ExperienceLibrary, ...] = ()
        self._prepare(LibraryFiles(path, mode), ExperienceLibrary(task=task))
        with self._exclusive():
            self._files.remove_leftovers()
            self.replayed = tuple(self._load())
        if task and self._library.task != task:
            problem = f"the library was learned on {self._library.task!r}, not on {task!r}"
            raise LibraryError(path, "task", problem, "Name another file for this task")

    @classmethod
    def fresh(cls, path: str | Path, *, task: str = "") -> LibraryStore:
        """Start an empty library with the same permissions, and rename existing files to ``<name>.<n>.bak.json``.

        Raises:
            LibraryError: If a file cannot be moved, or is locked for minutes.
        """
        files, mode = LibraryFiles(path), mode_beside(path)
        with files.hold_lock():
            files.move_aside()
        return cls(path, task=task, mode=mode)

    def start_with(self, mode: int) -> None:
        """Set the permissions of the files of a new library. Existing files keep theirs."""
        self._files.new_mode = mode

    def refresh(self) -> ExperienceLibrary:
        """The newest snapshot, with the commits of other processes.

        Raises:
            LibraryError: If the files were damaged, or replaced by others, since they were opened.
        """
        with self._exclusive():
            self._catch_up()
            return self._library

    def replay(self) -> tuple[ExperienceLibrary, ...]:
        """The snapshots since the last checkpoint. If this process has added commits, the journal is read again."""
        is_whole = bool(self.replayed) and self.replayed[-1] is self.library
        return self.replayed if is_whole else LibraryStore(self.path).replayed

    def commit(self, commits: Sequence[Commit]) -> ExperienceLibrary:
        """Apply commits to the newest library, durably: they are on the disk when this returns.

        A commit of a named run is skipped if the library already holds its step, so that commits can be repeated after
        a crash. The commits of one run must therefore come in the order of their steps.

        Args:
            commits: The commits, in order; they share one write to the disk.

        Returns:
            The library after them.

        Raises:
            LibraryFormatError: If a commit could not be read back after writing. None of them is made.
            LibraryError: If the files were damaged or replaced, or cannot be written. None of them is made.
        """
        with self._exclusive():
            self._catch_up()
            library, lines = self._with(commits)
            while not self._files.is_locked():
                self._catch_up()
                library, lines = self._with(commits)
            if lines:
                self._append(lines)
            else:
                self._journal.confirm()
            self._library = library
            return library

    def _with(self, commits: Sequence[Commit]) -> tuple[ExperienceLibrary, list[bytes]]:
        """The library after the commits, and the journal lines of those commits that it does not hold yet."""
        library, lines = self._library, []
        for commit in commits:
            if not holds(library, commit):
                body, kept = self._as_read_back(commit)
                library = library.apply(kept)
                lines.append(commit_line(library.seen, body))
        return library, lines

    def edit(self, edits: Sequence[PersonEdit]) -> ExperienceLibrary:
        """Make a person's edits, durably, as one commit of a separate run, so that learning runs are not affected.

        Args:
            edits: The edits, in order; they are made together or not at all.

        Returns:
            The library after them.

        Raises:
            ConfigurationError: If an edit cannot be made, see ``flex_dspy.libraries.editing.check_edits``. None is
                made.
            LibraryError: As ``commit``.
        """
        with self._exclusive():
            self._catch_up()
            check_edits(self._library, edits)
            return self.commit([Commit(EDITS, self._library.runs.get(EDITS, 0) + 1, tuple(edits))])

    def _newest(self) -> ExperienceLibrary:
        return self.refresh()

    def _repr_html_(self) -> str:
        return self.library._repr_html_()

    def checkpoint(self, parent: str | None = None) -> ExperienceLibrary:
        """Write the newest library to the library file, and remove the journal.

        Args:
            parent: Hash of the version that it was made from; None keeps the present parent.

        Returns:
            The library written.

        Raises:
            LibraryError: If the files were damaged or replaced, or cannot be written. The old files then stay.
        """
        with self._exclusive():
            self._catch_up()
            library = self._library if parent is None else self._library.as_version(parent)
            write_atomically(self.path, library.to_json(), mode=self._files.mode(), check=self._files.check_lock)
            self._journal.remove()
            self._library, self._snapshot_identity = library, self._files.snapshot_identity()
            self.replayed = ()
            return library

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        with self._guard, self._files.hold_lock():
            yield

    def _catch_up(self) -> None:
        self._journal.drop_rejected()
        super()._catch_up()

    def _append(self, lines: list[bytes]) -> None:
        """Append lines to the journal. They count if no other process could write at the same time."""
        self._journal.append(lines, self._library, self._files.mode)
        try:
            self._files.check_lock()
        except LibraryError:
            self._snapshot_identity = _UNREAD  # read everything again
            raise

    def _as_read_back(self, commit: Commit) -> tuple[bytes, Commit]:
        """A commit as JSON, and as read back from that JSON. A commit that cannot be read back is an error."""
        try:
            body = COMMIT_JSON.dump_json(commit, warnings="none")
            if len(body) > MAX_LINE - _PREFIX:
                raise ValueError(f"it is longer than {MAX_LINE:,} bytes")
            return body, COMMIT_JSON.validate_json(body, strict=True)
        except (PydanticSerializationError, ValueError) as error:
            place = f"step {commit.step} of run {commit.run!r}"
            why = first_problem(error) if isinstance(error, ValidationError) else str(error)
            problem = f"the commit could not be read back: {why}"
            remedy = "Nothing of it was written; mend the program that made it"
            raise LibraryFormatError(self.path, place, problem, remedy) from error

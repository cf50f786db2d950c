"""The paths of a library's files, and the lock that its writers share."""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

from filelock import Timeout

from flex_dspy.core.errors import LibraryError
from flex_dspy.libraries.library_file import make_folder, sync_folder
from flex_dspy.libraries.locking import NamedLock
from flex_dspy.libraries.paths import beside, library_path, mode_beside

# A checkpoint of the largest libraries holds the lock for less than this.
LOCK_SECONDS = 300.0

# Identity of a snapshot file. It changes when the file is replaced; None if there is no file.
Identity = tuple[int, int, int] | None


class LibraryFiles:
    """The files of a library.

    Args:
        path: The library file; it may be a link.
        mode: Permissions of a new library; None follows the umask.

    Attributes:
        snapshot: The library file, with all links followed.
        journal: The file of the commits since the snapshot.
        new_mode: Permissions of a new library.
    """

    def __init__(self, path: str | Path, mode: int | None = None) -> None:
        self.snapshot = library_path(path)
        self.journal = beside(self.snapshot, "journal.jsonl")
        self.new_mode = mode
        self._lock = NamedLock(beside(self.snapshot, "lock"), self.mode())

    def mode(self) -> int | None:
        """Permissions of the existing files; if there are none, the permissions for a new library."""
        known = mode_beside(self.snapshot)
        return self.new_mode if known is None else known

    @contextlib.contextmanager
    def hold_lock(self) -> Iterator[None]:
        """Hold the lock within this block; re-raises OS errors as ``LibraryError`` with the path."""
        try:
            make_folder(self.snapshot.parent)
            with self._lock.hold(LOCK_SECONDS):
                yield
        except Timeout as error:
            problem = "is held by another process"
            remedy = "Wait for that process, or end it"
            raise LibraryError(self.snapshot, "the lock file", problem, remedy) from error
        except OSError as error:
            remedy = "What was committed before is safe; correct the cause and resume"
            raise LibraryError(self.snapshot, "the files", f"cannot be used: {error}", remedy) from error

    def is_locked(self) -> bool:
        """Whether the lock still holds. If its file was deleted, the lock is taken again: others may have written."""
        if self._lock.is_held():
            return True
        self._lock.renew(LOCK_SECONDS)
        return False

    def check_lock(self) -> None:
        """Check that no other process could write since the lock was taken.

        Raises:
            LibraryError: If the lock file was deleted meanwhile.
        """
        if not self._lock.is_held():
            problem = "was deleted while it was held, so another process may have written at the same time"
            raise LibraryError(self.snapshot, "the lock file", problem, "Leave that file alone, and do the same again")

    def snapshot_identity(self) -> Identity:
        """Identity of the snapshot file. It changes when the file is replaced; None if there is no file."""
        try:
            stat = self.snapshot.stat()
        except FileNotFoundError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def remove_leftovers(self) -> None:
        """Remove temporary files of processes that were killed during a write."""
        for path in (self.snapshot, self.journal):
            for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
                leftover.unlink()

    def move_aside(self) -> None:
        """Rename all files to the first free backup name, so that they form a store of that name."""
        content, stem = self.content(), self.snapshot.name.removesuffix(".json")
        for n in count(1):
            names = (f"{stem}.{n}.bak{path.name.removeprefix(stem)}" for path in content)
            backups = [self.snapshot.with_name(name) for name in names]
            if not any(path.exists() for path in backups):
                break
        for path, backup in zip(content, backups, strict=True):
            if path.exists():
                path.rename(backup)
                sync_folder(path.parent)  # in this order: a snapshot without its journal would be an older library

    def content(self) -> list[Path]:
        """Every file of the library: snapshot, journal, observations and records of its versions."""
        kinds = ("versions.jsonl", "failures.jsonl", "outcomes.jsonl", "value.json", "batches.jsonl")
        patterns = ("outcomes.*.jsonl", "observed*.jsonl", "version-*.kept")
        stem = glob.escape(self.snapshot.name.removesuffix(".json"))
        found = (self.snapshot.parent.glob(f"{stem}.{pattern}") for pattern in patterns)
        named = (beside(self.snapshot, kind) for kind in kinds)
        return [self.snapshot, self.journal, *named, *sorted(chain(*found))]

"""A lock between processes that notices when its file is deleted.

If a lock file is deleted, a second process can make a new one and take its lock. The lock therefore counts only as long
as the locked file still has its name. This is checked when the lock is taken, and before and after each write.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from flex_dspy.libraries.paths import beside, mode_beside

# The library's default of 50 ms is as long as dozens of commits.
POLL_SECONDS = 0.005


class NamedLock:
    """A lock on the name of a file. It is reentrant.

    Args:
        path: The lock file.
        mode: Permissions of a new lock file; None follows the umask.
    """

    def __init__(self, path: Path, mode: int | None = None) -> None:
        self.path, self.mode = path, mode
        permissions = {} if mode is None else {"mode": mode}
        self._lock = FileLock(path, thread_local=False, **permissions)  # type: ignore[arg-type]

    def acquire(self, timeout: float) -> None:
        """Wait for the lock.

        Args:
            timeout: Longest wait in seconds; 0 does not wait.

        Raises:
            Timeout: If another process holds it.
            OSError: If the file cannot be used.
        """
        self._make_file()
        end = time.monotonic() + timeout
        while True:
            self._lock.acquire(timeout=max(0.0, end - time.monotonic()), poll_interval=POLL_SECONDS)
            if self.is_held():
                return
            self._lock.release(force=True)
            if time.monotonic() > end:
                raise Timeout(str(self.path))

    def _make_file(self) -> None:
        """Make the file, if there is none. Otherwise ``FileLock`` waits silently if the folder is not writable.

        Raises:
            OSError: If it cannot be made.
        """
        if not self.path.exists():
            self.path.touch()
            if self.mode is not None:
                self.path.chmod(self.mode)

    @contextlib.contextmanager
    def hold(self, timeout: float) -> Iterator[None]:
        """Hold the lock within this block. See ``acquire``."""
        self.acquire(timeout)
        try:
            yield
        finally:
            self._lock.release()

    def is_held(self) -> bool:
        """Whether this object holds the lock, and the locked file still has its name."""
        if not self._lock.is_locked:
            return False
        file = self._lock._context.lock_file_fd
        try:
            named = self.path.stat()
        except FileNotFoundError:
            return False
        return file is None or os.path.samestat(os.fstat(file), named)

    def renew(self, timeout: float) -> None:
        """Take the lock of the file that has this name now. See ``acquire``."""
        self._lock.release(force=True)
        self.acquire(timeout)

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()


@contextlib.contextmanager
def learning_into(library: Path | None) -> Iterator[None]:
    """Tell other processes, within this block, that a run learns into a library.

    If several runs learn at the same time, the first run holds the lock for all.

    Args:
        library: The library's file; None if it has no file.
    """
    with contextlib.ExitStack() as held:
        if library is not None:
            with contextlib.suppress(Timeout):
                held.enter_context(_run_lock(library).hold(0))
        yield


def is_learned_into(library: Path) -> bool:
    """Whether a run of this or another process learns into the library."""
    lock = _run_lock(library)
    if not lock.path.exists():
        return False
    try:
        with lock.hold(0):
            return False
    except Timeout:
        return True


def _run_lock(library: Path) -> NamedLock:
    return NamedLock(beside(library, "run.lock"), mode_beside(library))

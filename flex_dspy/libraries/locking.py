"""A lock that processes share, and that notices when its file is taken away.

Who deletes a lock file lets a second process in. So the lock counts only as long as the file that is locked is the file
that has the name: that is checked when it is taken, and again before and after each writing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

# The default of 50 ms is as long as dozens of commits.
POLL_SECONDS = 0.005


class NamedLock:
    """The lock of a file's name. It may be taken again by who holds it.

    Args:
        path: The lock file.
        mode: Its permissions where it is made; None follows the umask.
    """

    def __init__(self, path: Path, mode: int | None = None) -> None:
        self.path = path
        permissions = {} if mode is None else {"mode": mode}
        self._lock = FileLock(path, thread_local=False, **permissions)  # type: ignore[arg-type]

    def acquire(self, timeout: float) -> None:
        """Wait for the lock.

        Args:
            timeout: Most seconds; 0 does not wait.

        Raises:
            Timeout: If another process holds it.
            OSError: If the file cannot be used.
        """
        end = time.monotonic() + timeout
        while True:
            self._lock.acquire(timeout=max(0.0, end - time.monotonic()), poll_interval=POLL_SECONDS)
            if self.is_held():
                return
            self._lock.release(force=True)
            if time.monotonic() > end:
                raise Timeout(str(self.path))

    @contextlib.contextmanager
    def hold(self, timeout: float) -> Iterator[None]:
        """Hold the lock within this block. See ``acquire``."""
        self.acquire(timeout)
        try:
            yield
        finally:
            self._lock.release()

    def is_held(self) -> bool:
        """Whether it is held here, and the file of that name is the one that is locked."""
        if not self._lock.is_locked:
            return False
        file = self._lock._context.lock_file_fd
        try:
            named = self.path.stat()
        except FileNotFoundError:
            return False
        return file is None or os.path.samestat(os.fstat(file), named)

    def renew(self, timeout: float) -> None:
        """Take the lock of the file that has the name now. See ``acquire``."""
        self._lock.release(force=True)
        self.acquire(timeout)

    def release(self) -> None:
        """Let go of it."""
        self._lock.release()

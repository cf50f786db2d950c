"""A file layer that fails: each system call on files below a folder may, in every way that a disk does."""

from __future__ import annotations

import errno
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

# What each system call may fail with; "short" writes a part and says so, "part" writes a part and fails.
KINDS: dict[str, tuple[int | str, ...]] = {
    "open": (errno.EACCES, errno.EROFS, errno.EMFILE, errno.EIO),
    "write": (errno.EIO, errno.ENOSPC, errno.EDQUOT, "short", "part"),
    "fsync": (errno.EIO, errno.ENOSPC, errno.EDQUOT),
    "ftruncate": (errno.EIO, errno.EROFS),
    "replace": (errno.EIO, errno.ENOSPC, errno.EROFS),
    "unlink": (errno.EIO, errno.EROFS),
    "flock": (errno.EIO, errno.ENOLCK),
}


class FaultyFiles:
    """Makes system calls on the files of a folder fail, each with the same chance.

    Args:
        root: The folder.
        chance: Of one system call.
        seed: Of the choice.

    Attributes:
        injected: How often, by system call and kind, such as ``fsync EIO``.
    """

    def __init__(self, root: Path, chance: float, seed: int) -> None:
        self.root = root.resolve()
        self.chance = chance
        self.injected: Counter[str] = Counter()
        self._rng = random.Random(seed)
        self._open: set[int] = set()

    @contextmanager
    def at_work(self) -> Iterator[FaultyFiles]:
        """Fail within this block."""
        calls = {"open": self._opened, "write": self._write, "close": self._close}
        calls |= {name: self._on_file(name) for name in ("fsync", "ftruncate")}
        calls |= {name: self._on_path(name) for name in ("replace", "unlink")}
        with patch.multiple(os, **calls), _locks(self._fault):
            yield self

    def _fault(self, call: str) -> str:
        """Raise one, or not; "short" and "part" are for the caller to do."""
        if self._rng.random() >= self.chance:
            return ""
        kind = self._rng.choice(KINDS[call])
        name = kind if isinstance(kind, str) else errno.errorcode[kind]
        self.injected[f"{call} {name}"] += 1
        if isinstance(kind, int):
            raise OSError(kind, os.strerror(kind))
        return kind

    def _opened(self, path: Any, flags: int, *more: Any, **options: Any) -> int:
        is_ours = self._is_ours(path)
        if is_ours and flags & (os.O_WRONLY | os.O_RDWR):
            self._fault("open")
        file = _REAL["open"](path, flags, *more, **options)
        if is_ours:
            self._open.add(file)
        return file

    def _write(self, file: int, data: Any) -> int:
        kind = self._fault("write") if file in self._open else ""
        if not kind:
            return _REAL["write"](file, data)
        count = _REAL["write"](file, data[: self._rng.randrange(1, len(data)) if len(data) > 1 else 1])
        if kind == "part":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return count

    def _close(self, file: int) -> None:
        self._open.discard(file)
        _REAL["close"](file)

    def _on_file(self, call: str) -> Callable[..., Any]:
        def called(file: int, *more: Any) -> Any:
            if file in self._open:
                self._fault(call)
            return _REAL[call](file, *more)

        return called

    def _on_path(self, call: str) -> Callable[..., Any]:
        def called(path: Any, *more: Any, **options: Any) -> Any:
            if self._is_ours(path):
                self._fault(call)
            return _REAL[call](path, *more, **options)

        return called

    def _is_ours(self, path: Any) -> bool:
        return (Path.cwd() / path).is_relative_to(self.root)


_REAL: dict[str, Callable[..., Any]] = {
    name: getattr(os, name) for name in ("open", "write", "close", "fsync", "ftruncate", "replace", "unlink")
}


@contextmanager
def _locks(fault: Callable[[str], str]) -> Iterator[None]:
    """Let locking fail too, where the system has ``flock``."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    flock = fcntl.flock

    def called(file: Any, operation: int) -> None:
        if operation & fcntl.LOCK_EX:  # giving a lock up does not fail
            fault("flock")
        flock(file, operation)

    with patch.object(fcntl, "flock", called):
        yield

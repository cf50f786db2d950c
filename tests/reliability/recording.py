"""A file layer that writes down what is asked of the disk, and can end a process at any point of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch


class KilledError(BaseException):
    """The process is dead: nothing that it would still do reaches the disk."""


@dataclass(frozen=True)
class Write:
    """Bytes at an offset of a file; files are numbered in the order in which they are made."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Truncate:
    """A file of a new length."""

    file: int
    size: int


@dataclass(frozen=True)
class SyncFile:
    """All that was written to a file is on the disk."""

    file: int


@dataclass(frozen=True)
class Names:
    """A change of one folder: names given to files, folders (-1) or nothing (None), all of it or none."""

    folder: str
    changes: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True)
class SyncFolder:
    """The names in a folder are on the disk."""

    folder: str


@dataclass(frozen=True)
class Acknowledged:
    """A caller was told that this is safe."""

    kind: str
    value: int


Operation = Write | Truncate | SyncFile | Names | SyncFolder | Acknowledged


class Recorder:
    """Writes down each operation below a folder; lock files are left out.

    Args:
        root: The folder.

    Attributes:
        operations: In their order.
        dies_before: Number of the operation that a kill comes before; None lives on.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.operations: list[Operation] = []
        self.dies_before: int | None = None
        self._files: dict[str, int] = {}
        self._open: dict[int, int | str] = {}
        self._made = 0

    def acknowledge(self, kind: str, value: int) -> None:
        """Note that a caller was told that something is safe."""
        self.operations.append(Acknowledged(kind, value))

    def revive(self) -> None:
        """Another process goes on where a killed one stood: its open files are gone."""
        self.dies_before = None
        self._open.clear()

    @contextmanager
    def at_work(self) -> Iterator[Recorder]:
        """Record within this block."""
        layer = {"open": self._opened, "write": self._write, "fsync": self._fsync, "ftruncate": self._ftruncate}
        layer |= {"truncate": self._truncate, "replace": self._rename, "rename": self._rename}
        layer |= {"unlink": self._unlink, "remove": self._unlink, "mkdir": self._mkdir, "close": self._close}
        self._real = {name: getattr(os, name) for name in layer}
        with patch.multiple(os, **layer):
            yield self

    # -- the system calls ----------------------------------------------------------------------------------

    def _opened(self, path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        name = self._name(path)
        if name is None or more:
            return self._real["open"](path, flags, mode, **more)
        is_new = bool(flags & os.O_CREAT) and not os.path.lexists(path)
        if is_new:
            self._check_alive()
        file = self._real["open"](path, flags, mode)
        if Path(path).is_dir():
            self._open[file] = name
        else:
            if is_new:
                self._made += 1
                self._note(self._named(name, self._made))
            self._open[file] = self._files[name]
        return file

    def _write(self, file: int, data: Any) -> int:
        if file not in self._open:
            return self._real["write"](file, data)
        self._check_alive()
        status = os.fstat(file)
        offset = os.lseek(file, 0, os.SEEK_CUR)
        count = self._real["write"](file, data)
        if os.lseek(file, 0, os.SEEK_CUR) != offset + count:  # it appends
            offset = status.st_size
        self._note(Write(self._number(file), offset, bytes(data)[:count]))
        return count

    def _fsync(self, file: int) -> None:
        known = self._open.get(file)
        if known is not None:
            self._check_alive()
            self._note(SyncFolder(known) if isinstance(known, str) else SyncFile(known))

    def _ftruncate(self, file: int, size: int) -> None:
        if file not in self._open:
            self._real["ftruncate"](file, size)
            return
        self._check_alive()
        is_new = os.fstat(file).st_size != size
        self._real["ftruncate"](file, size)
        if is_new:
            self._note(Truncate(self._number(file), size))

    def _truncate(self, path: Any, size: int) -> None:
        self._check_alive()
        self._real["truncate"](path, size)
        self._note(Truncate(self._files[self._name(path) or ""], size))

    def _rename(self, source: Any, target: Any) -> None:
        old, new = self._name(source), self._name(target)
        if old is None or new is None:
            self._real["replace"](source, target)
            return
        self._check_alive()
        self._real["replace"](source, target)
        self._note(self._named(new, self._files.pop(old), old))

    def _unlink(self, path: Any, **more: Any) -> None:
        name = self._name(path)
        if name is None or not os.path.lexists(path):
            self._real["unlink"](path, **more)
            return
        self._check_alive()
        self._real["unlink"](path, **more)
        self._files.pop(name, None)
        self._note(Names(_folder(name), ((name, None),)))

    def _mkdir(self, path: Any, *more: Any, **options: Any) -> None:
        name = self._name(path)
        if name is None or os.path.lexists(path):
            self._real["mkdir"](path, *more, **options)
            return
        self._check_alive()
        self._real["mkdir"](path, *more, **options)
        self._note(Names(_folder(name), ((name, -1),)))

    def _close(self, file: int) -> None:
        self._open.pop(file, None)
        self._real["close"](file)

    # -- notes ---------------------------------------------------------------------------------------------

    def _name(self, path: Any) -> str | None:
        """The path below the root; None for what is not recorded."""
        whole = Path.cwd() / path
        is_recorded = whole.is_relative_to(self.root) and whole.suffix != ".lock"
        return str(whole.relative_to(self.root)) if is_recorded else None

    def _named(self, name: str, file: int, old: str | None = None) -> Names:
        self._files[name] = file
        gone = () if old is None else ((old, None),)
        return Names(_folder(name), ((name, file), *gone))

    def _number(self, file: int) -> int:
        number = self._open[file]
        assert isinstance(number, int)
        return number

    def _check_alive(self) -> None:
        if self.dies_before is not None and len(self.operations) >= self.dies_before:
            raise KilledError

    def _note(self, operation: Operation) -> None:
        self.operations.append(operation)


def _folder(name: str) -> str:
    return str(Path(name).parent)

"""The ids of the newest observations, so that an observation that is sent twice counts once, also after a restart.

An id may name a person, so only 32 digits of its hash are kept. Memory and file hold the newest ``KEPT`` ids, about
7 MB. If an observation is sent again after so many others, it counts as new. A process reads the ids of other processes
when it starts, so it does not know their later ids.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from flex_dspy.core.errors import LibraryError
from flex_dspy.core.lines import read_lines
from flex_dspy.core.side_records import SideRecord
from flex_dspy.libraries.library_file import BINARY, sync_folder, write_all, write_atomically
from flex_dspy.libraries.paths import PRIVATE

KEPT = 50_000

_ID = re.compile(rb'(?:\{"step":\d{1,18},"id":")?([0-9a-f]{32})["\n]')


def digest(known_as: str) -> str:
    """The digest that is kept instead of an id; "" for no id."""
    return hashlib.sha256(known_as.encode("utf-8", "replace")).hexdigest()[:32] if known_as else ""


def ids_in(path: Path) -> Iterator[str]:
    """The ids in a file of ids, or in a journal of observations; none if the file does not exist.

    Raises:
        OSError: If it cannot be read.
        LibraryFormatError: If a line has no end.
    """
    if path.exists():
        with path.open("rb") as file:
            for _, line in read_lines(file, path):
                if found := _ID.match(line):
                    yield found[1].decode()


class KnownIds:
    """A set of ids that forgets the oldest. Only one thread at a time may change it.

    Args:
        path: The file; None keeps nothing on the disk. The file is made with the first id.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, None] = {}
        self._unkept: list[str] = []
        self._lines = 0
        self._is_named = False  # whether the file's name is known to survive a power failure
        self._record = SideRecord("the ids of observations")
        if path is not None:
            with self._record.attempt():
                for known_as in ids_in(path):
                    self._lines += 1
                    self._remember(known_as)

    def __contains__(self, known_as: str) -> bool:
        return known_as in self._known

    def note(self, known_as: str) -> None:
        """Add an id."""
        if known_as not in self._known:
            self._unkept.append(known_as)
        self._remember(known_as)

    def take_in(self, paths: Iterable[Path]) -> None:
        """Add the ids of other files, and keep them. Files that cannot be read are skipped."""
        for path in paths:
            with contextlib.suppress(OSError, LibraryError):
                for known_as in ids_in(path):
                    self.note(known_as)
        self.keep()

    def keep(self) -> None:
        """Write the new ids to the disk. If that fails, log one warning."""
        if self._path is None or not self._unkept:
            return
        with self._record.attempt():
            if self._lines + len(self._unkept) > 2 * KEPT:
                write_atomically(self._path, "".join(f"{each}\n" for each in self._known), mode=PRIVATE)
                self._lines = len(self._known)
            else:
                self._append(self._path, "".join(f"{each}\n" for each in self._unkept).encode())
                self._lines += len(self._unkept)
            self._unkept.clear()

    def remove(self) -> None:
        """Delete the file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _remember(self, known_as: str) -> None:
        self._known.pop(known_as, None)
        self._known[known_as] = None
        while len(self._known) > KEPT:
            del self._known[next(iter(self._known))]

    def _append(self, path: Path, data: bytes) -> None:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | BINARY, PRIVATE)
        try:
            write_all(file, b"\n" + data)  # ends a line that a crash cut short; readers skip an empty line
            os.fsync(file)
        finally:
            os.close(file)
        if not self._is_named:
            sync_folder(path.parent)
            self._is_named = True

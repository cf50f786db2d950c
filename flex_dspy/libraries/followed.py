"""A library that follows its files: a reader gets the newest snapshot, without a restart.

While a learner writes a journal beside the file, only the new commits are read, and the existing indexes are extended.
A reader takes no lock and writes nothing, so permission to read the files is enough. A link is resolved at each check,
so that it can later point to another library.

Example:
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from flex_dspy.libraries.experience import Commit, Experience, Insert
    >>> from flex_dspy.libraries.store import LibraryStore
    >>> path = Path(mkdtemp()) / "dice.json"
    >>> store = LibraryStore(path, task="dice")
    >>> _ = store.checkpoint()
    >>> followed = FollowedFile(path, every=0)
    >>> len(followed.snapshot())
    0
    >>> _ = store.commit([Commit("run-1", 1, (Insert(Experience("golden", "Count the complement.")),))])
    >>> len(followed.snapshot())
    1
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from flex_dspy.core.errors import LibraryError
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.locations import LIBRARY_FILE, read_path
from flex_dspy.libraries.paths import journal_of, library_path
from flex_dspy.libraries.reading import LibraryReader

Stamp = tuple[Any, ...]


class FollowedFile:
    """The newest snapshot of a library file or folder that other processes may change. It is thread-safe.

    A deep copy is the same object, so that a copied program uses the same follower.

    Args:
        source: A library file, or a folder: its ``library.json``, or the merge of its files.
        every: Seconds between two checks of the source; 0 checks at each call. A check takes microseconds.
    """

    def __init__(self, source: str | Path, every: float = 1.0) -> None:
        self.source = source
        self.every = every
        self._guard = threading.Lock()
        self._library: ExperienceLibrary | None = None
        self._reader: LibraryReader | None = None
        self._path = Path.cwd() / source  # the process may change its working folder
        self._stamp: Stamp = ()
        self._looked_at = 0.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.source)!r}, every={self.every:g})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._path, self.every)

    def snapshot(self) -> ExperienceLibrary:
        """The library as of the last check; the same object as long as nothing changed.

        Raises:
            LibraryError: If a file is gone or cannot be used; the next call checks again.
            ConfigurationError: If files of one folder are of different tasks.
        """
        with self._guard:
            now = time.monotonic()
            if self._library is None or now - self._looked_at >= self.every:
                self._library = self._newest(self._library)
                self._looked_at = now
            return self._library

    def _newest(self, known: ExperienceLibrary | None) -> ExperienceLibrary:
        stamp = self._look()  # before reading, so that the next check sees a change made meanwhile
        if known is not None and stamp == self._stamp:
            return known
        library = self._read()
        self._stamp = stamp
        return library

    def _look(self) -> Stamp:
        """A value that changes when the source does."""
        path = self._path
        if not path.is_dir():
            return _stamp([path, journal_of(path)])
        return _stamp(sorted([*path.glob("*.json"), *path.glob("*.journal.jsonl")]))

    def _read(self) -> ExperienceLibrary:
        path = self._path
        file = path / LIBRARY_FILE if path.is_dir() else path
        if not journal_of(file).exists():
            self._reader = None
            return read_path(path)
        if self._reader is not None and self._reader.path == library_path(file):
            try:
                return self._reader.refresh()
            except LibraryError:  # another library may have replaced it, so the files are read from the start
                self._reader = None
        self._reader = LibraryReader(file)
        return self._reader.library


def _stamp(paths: Iterable[Path]) -> Stamp:
    found: list[tuple[Any, ...]] = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            found.append((path.name,))
        else:
            found.append((path.name, stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(found)

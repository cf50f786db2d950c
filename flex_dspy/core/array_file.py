"""Keeps computed arrays in a file that all processes of a machine read and add to.

It is for numbers that depend on nothing but a text, such as the fingerprint of a SMILES. So one file serves all
libraries. It lies in DSPy's cache folder (``DSPY_CACHEDIR``). It may be deleted while no program runs; what it lacks is
computed and added again. A folder that cannot be written only costs time.

The file is a table of rows of one length, mapped into memory. A row holds a hash of the text, a checksum and the array.
Nothing in it is executed. A damaged row counts as absent. Rows are added under a lock, and never changed.

    >>> squares = ArrayFile(Path("squares.rows"), 1)
    >>> squares.find("3", lambda text: np.array([int(text) ** 2], np.uint64))
    array([9], dtype=uint64)
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock

Words = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.void]

LARGEST = 100_000_000  # bytes
PATIENCE = 1.0  # seconds to wait for another writer; after that the rows are left out
_AT_ONCE = 100  # new rows that are written together


class ArrayFile:
    """Arrays of 64-bit words by text, in a file. Any number of threads and processes may use it.

    Args:
        path: The file; it need not exist.
        words: Number of words of each array.
    """

    def __init__(self, path: Path, words: int) -> None:
        self._path = path
        self._row = np.dtype([("key", "<u8"), ("check", "<u8"), ("words", "<u8", (words,))])
        self._rows: Rows = np.zeros(0, self._row)
        self._places: dict[int, int] = {}
        self._new: dict[int, Rows] = {}
        self._lock = threading.Lock()

    def find(self, text: str, compute: Callable[[str], Words | None]) -> Words | None:
        """The array of a text, from the file or computed. A computed array is written with the next hundred.

        Args:
            text: The text.
            compute: Computes the array of a text. A None is returned, and not kept.
        """
        key, check = _hash(text)
        with self._lock:
            found = self._look_up(key, check)
        if found is None and (found := compute(text)) is not None:
            row = np.array([(key, check ^ zlib.crc32(found.tobytes()), found.ravel())], self._row)
            with self._lock:
                self._add(key, row)
        return found

    def _look_up(self, key: int, check: int) -> Words | None:
        if key not in self._places and key not in self._new:
            self._read_more()
        rows, n = (self._new[key], 0) if key in self._new else (self._rows, self._places.get(key, -1))
        if n < 0:
            return None
        # A copy, so that a mapping is freed when a larger one takes its place: each takes a file descriptor.
        words: Words = rows["words"][n].copy()
        if check == int(rows["check"][n]) ^ zlib.crc32(words.tobytes()):
            return words
        self._places.pop(key, None)  # a damaged row: it is computed and added again
        return None

    def _read_more(self) -> None:
        """Map the file again if another process, or this one, has added rows."""
        try:
            count, known = self._path.stat().st_size // self._row.itemsize, len(self._rows)
            if count <= known:
                return
            # A plain array on the mapping: each row of a memmap would be a slow object of that class.
            self._rows = np.asarray(np.memmap(self._path, self._row, "r", shape=(count,)))
        except (OSError, ValueError):  # there is no file yet, or it cannot be read
            return
        self._places.update(zip(self._rows["key"][known:].tolist(), range(known, count), strict=True))

    def _add(self, key: int, row: Rows) -> None:
        self._new[key] = row
        if len(self._new) >= _AT_ONCE:
            rows, self._new = np.concatenate([*self._new.values()]), {}
            with contextlib.suppress(OSError):  # no space, no permission, or a busy file
                self._write(rows.tobytes())

    def _write(self, rows: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self._path}.lock", timeout=PATIENCE):
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
            try:
                size = os.fstat(file).st_size
                if size < LARGEST:
                    # A process that was ended may have left a part of a row, which is written over.
                    os.lseek(file, size - size % self._row.itemsize, os.SEEK_SET)
                    os.write(file, rows)
            finally:
                os.close(file)


def cache_file(name: str) -> Path:
    """The path of a file in DSPy's cache folder.

    Args:
        name: Name of the file. It must say which version of which code computes the arrays.
    """
    return Path(os.environ.get("DSPY_CACHEDIR") or Path.home() / ".dspy_cache") / name


def _hash(text: str) -> tuple[int, int]:
    """Two numbers of 64 bits: one to search by, one to compare."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")

"""Reads files of lines in bounded memory, even if a file is damaged or ends with gigabytes of NUL bytes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from flex_dspy.core.errors import LibraryFormatError

# Largest line in bytes. The project writes no longer lines. Reading a line takes about twice its size in memory.
MAX_LINE = 64 << 20
_PIECE = 1 << 20


def read_lines(file: BinaryIO, path: Path, number: int = 0) -> Iterator[tuple[int, bytes]]:
    """Read the lines of a file from its current position, each with its number. The last line may be incomplete.

    A power failure may leave a file that is longer than its data. If more NUL bytes than the limit of a line follow up
    to the end of the file, they are left out of the last line.

    Args:
        file: An open file.
        path: Path of the file, for errors.
        number: Number of the line before the first.

    Raises:
        LibraryFormatError: If a line is longer than ``MAX_LINE`` bytes.
    """
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE and not line.endswith(b"\n"):
            yield number, _before_hole(line, file, path, number)
            return
        yield number, line


def _before_hole(line: bytes, file: BinaryIO, path: Path, number: int) -> bytes:
    """Text of a line before the NUL bytes at its end."""
    start = file.tell() - len(line)
    written = line.rstrip(b"\0")
    if len(written) == len(line) or not _is_nothing_left(file):
        remedy = "Restore the file from a backup, or cut it off before that line"
        problem = f"is longer than {MAX_LINE:,} bytes"
        raise LibraryFormatError(path, f"line {number}, from byte {start}", problem, remedy)
    return written


def _is_nothing_left(file: BinaryIO) -> bool:
    """Whether only NUL bytes follow. Holes of a sparse file are skipped if the system supports it."""
    if hasattr(os, "SEEK_DATA"):
        place = os.lseek(file.fileno(), 0, os.SEEK_CUR)
        try:
            os.lseek(file.fileno(), file.tell(), os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return True
        os.lseek(file.fileno(), place, os.SEEK_SET)
    return not any(piece.strip(b"\0") for piece in iter(lambda: file.read(_PIECE), b""))

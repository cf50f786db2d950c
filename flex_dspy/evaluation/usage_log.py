"""Log of a library's usage: one line for each example, in ``<library>.outcomes.jsonl`` beside the library.

A line holds the version of the library, the entries that were shown, the entries that the actor relied on, and the
score. Any number of processes may append at once. When ``add`` has returned, its lines are safe even if the process is
killed. An incomplete line is skipped when the log is read. Old records are merged into totals (``usage_rotation``).

Example:
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from flex_dspy.evaluation.usage_records import usage_totals
    >>> log = UsageLog(Path(mkdtemp()) / "dice.json")
    >>> log.add([UsageRecord("3f2a", "e1", ("a", "b"), 1.0, relied=("a",)), UsageRecord("3f2a", "e2", ("b",), 0.0)])
    >>> usage_totals(log.read())["3f2a"]["b"]
    UsageTotal(shown=2, helped=0, hurt=0, score=1.0)
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from flex_dspy.core.errors import LibraryError, LibraryFormatError
from flex_dspy.core.lines import read_lines
from flex_dspy.core.side_records import SideRecord
from flex_dspy.evaluation.usage_records import UsageRecord
from flex_dspy.evaluation.usage_rotation import log_files, rotate
from flex_dspy.libraries.paths import PRIVATE, beside, mode_beside

logger = logging.getLogger(__name__)


_JSON = TypeAdapter(UsageRecord)
_START = b'{"version":'


class UsageLog:
    """Usage records of one library in a file.

    Args:
        library_path: The library's file; it need not exist.
    """

    def __init__(self, library_path: str | Path) -> None:
        self.path = beside(library_path, "outcomes.jsonl")
        self._library = library_path
        self._record = SideRecord("the outcomes")

    def add(self, records: Iterable[UsageRecord]) -> None:
        """Append records. Each record is one write, so that lines of several processes do not mix.

        Raises:
            LibraryError: If the file cannot be written.
        """
        self._rotate()
        lines = [_line(record) for record in records]
        if not lines:
            return
        try:
            file = self._open()
            try:
                lines[0] = b"\n" * _is_cut(file) + lines[0]
                size = sum(os.write(file, line) for line in lines)
            finally:
                os.close(file)
            if size < sum(map(len, lines)):
                raise OSError("the disk is full")
        except OSError as error:
            problem = f"cannot be written: {error.strerror or error}"
            raise LibraryError(self.path, "the outcomes", problem, "Make room or give leave, and go on") from error

    def note(self, records: Iterable[UsageRecord]) -> None:
        """Append records like ``add``, but log one warning instead of raising an error."""
        with self._record.attempt():
            self.add(records)

    def _open(self) -> int:
        """Open the file for appending. A new file gets the permissions of the library."""
        flags, mode = os.O_RDWR | os.O_APPEND | os.O_CREAT, mode_beside(self._library)
        with contextlib.suppress(FileExistsError):
            file = os.open(self.path, flags | os.O_EXCL, 0o666 if mode is None else mode & PRIVATE)
            if mode is not None and os.name != "nt":
                os.fchmod(file, mode)
            return file
        return os.open(self.path, flags)

    def read(self) -> list[UsageRecord]:
        """Read all records, oldest first. Merged records, which stand for many records, come first.

        Raises:
            LibraryFormatError: If a line is damaged. An incomplete line is no error.
        """
        files = log_files(self.path)
        found = [record for path in files for record in self._at(path)._read_file()]
        return found if log_files(self.path) == files else self.read()  # another process has begun a new log

    def _at(self, path: Path) -> UsageLog:
        """Copy of this log with another file."""
        other = copy.copy(self)
        other.path = path
        return other

    def _rotate(self) -> None:
        try:
            rotate(self.path, lambda path: self._at(path)._read_file(), lambda some: b"".join(map(_line, some)))
        except (OSError, LibraryError) as error:
            logger.warning("the outcomes in %s go on growing, they cannot be folded: %s", self.path, error)

    def _read_file(self) -> list[UsageRecord]:
        """Read all records of this file, oldest first. A missing file has no records.

        Raises:
            LibraryFormatError: If a line is damaged. An incomplete line is no error.
            LibraryError: If the file cannot be read.
        """
        if not self.path.exists():
            return []
        try:
            with self.path.open("rb") as file:
                lines = ((number, line.rstrip(b"\r\n")) for number, line in read_lines(file, self.path))
                return [record for number, line in lines if (record := self._parse(number, line)) is not None]
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
            raise LibraryError(self.path, "the outcomes", problem, "Move it away to go on without it") from error

    def _parse(self, number: int, line: bytes) -> UsageRecord | None:
        # A killed process may leave a piece of a line, with another process's line behind it.
        start = max(line.rfind(_START), 0)
        try:
            return _JSON.validate_json(line[start:])
        except ValidationError as error:
            if not line.endswith(b"}"):
                return None
            remedy = "Remove the line: that example's outcome is then not counted"
            raise LibraryFormatError(self.path, f"line {number}", "is no outcome", remedy) from error


def _line(record: UsageRecord) -> bytes:
    # Only merged records have a count in the file, so that earlier releases can read all other records.
    return _JSON.dump_json(record, exclude={"count"} if record.count == 1 else None) + b"\n"


def _is_cut(file: int) -> bool:
    """Whether the last line of an open file is incomplete."""
    size = os.fstat(file).st_size
    return size > 0 and os.pread(file, 1, size - 1) != b"\n"

"""The journal of a library: a line for each commit since the last checkpoint. To write, the caller holds the lock.

A crash may cut the last line short. That commit was never acknowledged, so the line is dropped. Any other damage is an
error, and an error changes no file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from flex_dspy.core.errors import LibraryFormatError, LibraryVersionError
from flex_dspy.core.lines import read_lines
from flex_dspy.libraries.experience import COMMIT_JSON, Commit
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import BINARY, sync_folder, sync_name, write_all, write_atomically

JOURNAL_FORMAT = "flex-dspy-journal/1"

logger = logging.getLogger(__name__)

_PREFIX = re.compile(rb'\{"seq":(\d{1,18}),"size":(\d{1,18}),"sum":"[0-9a-f]{16}","commit":')
_LONGEST_PREFIX = 100
_LONGEST_HEADER = 1 << 20
_MEND = "Restore it from a backup, or delete this line and those after it to go on from the commit before"


@dataclass(frozen=True, slots=True)
class Header:
    """The journal's first line: the snapshot that the journal continues, and an id that no other journal has."""

    format: str
    id: str
    task: str
    base: str
    seen: int


_HEADER_JSON: TypeAdapter[Header] = TypeAdapter(Header)


@dataclass(frozen=True, slots=True)
class Position:
    """The position up to which a journal has been read."""

    offset: int = 0
    lines: int = 0


class Journal:
    """The lines of commits since the last checkpoint.

    Args:
        path: The file; it need not exist.

    Attributes:
        position: The position up to which it has been read.
        is_stale: Whether the snapshot holds all its commits; the next commit then starts a new journal.
        first_line: Its header as it is in the file; empty if there is no journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = Position()
        self.is_stale = False
        self.first_line = b""
        self._is_named = False  # whether the file's name is known to survive a power failure
        self._safe_to = 0  # bytes known to be on the disk; a killed process may have left later bytes unsynced
        self._rejected: int | None = None  # size of the file, if it ends in lines that do not count

    def is_same(self) -> bool:
        """Whether the file is still the one that was opened, or still does not exist."""
        return self.read_first_line() == self.first_line

    def open(self) -> Header | None:
        """Open the journal and return its header; None if there is no journal.

        Raises:
            LibraryFormatError: If it is damaged.
            LibraryVersionError: If a newer flex-dspy wrote it.
        """
        self.first_line = self.read_first_line()
        if not self.first_line and not self.path.exists():
            return None
        header = self._parse_header(self.first_line)
        self.position = Position(len(self.first_line), 1)
        return header

    def read(self, seen: int) -> tuple[list[Commit], Position]:
        """The commits after the current position, and the position after these commits.

        Args:
            seen: Number of the last commit before them.

        Raises:
            LibraryFormatError: If a line is damaged, or longer than ``flex_dspy.core.lines.MAX_LINE``.
        """
        end = self.position
        commits: list[Commit] = []
        if not self.first_line:
            return commits, end
        with self.path.open("rb") as file:
            if file.seek(0, os.SEEK_END) < end.offset:
                raise LibraryFormatError(self.path, "the end", "was cut off since it was read", _MEND)
            file.seek(end.offset)
            for number, line in read_lines(file, self.path, end.lines):
                if line.endswith(b"\n"):
                    commits.append(self._parse(line, seen + len(commits) + 1, number))
                    end = Position(end.offset + len(line), number)
                else:
                    self._check_torn(line, number)
        return commits, end

    def append(self, lines: list[bytes], base: ExperienceLibrary, mode: Callable[[], int | None]) -> None:
        """Write lines durably, after ``base``. If this raises an error, none of them counts.

        Args:
            lines: Lines from ``commit_line``.
            base: The library before the first of these commits.
            mode: Returns the permissions of a new journal; None follows the umask.

        Raises:
            OSError: If they cannot be written.
            LibraryError: If a new journal cannot be written.
        """
        if not self.first_line or self.is_stale:
            self._start(base, mode())
        data = b"".join(lines)
        file = os.open(self.path, os.O_RDWR | BINARY)
        try:
            self._drop_torn_line(file)
            try:
                if not self._safe_to:  # the lines before must be on the disk first
                    os.fsync(file)
                write_all(file, data)
                os.fsync(file)
                self._sync_name()
            except BaseException:
                self._reject(file)
                raise
        finally:
            os.close(file)
        self.position = Position(self.position.offset + len(data), self.position.lines + len(lines))
        self._safe_to = self.position.offset

    def confirm(self) -> None:
        """Sync all commits that were read to the disk, because their writer may have been killed before it did so.

        Raises:
            OSError: If they cannot be synced.
        """
        if self.first_line and self._safe_to < self.position.offset:
            file = os.open(self.path, os.O_RDWR | BINARY)
            try:
                os.fsync(file)
            finally:
                os.close(file)
            self._sync_name()
            self._safe_to = self.position.offset

    def drop_rejected(self) -> None:
        """Cut off lines that were not acknowledged, if an earlier attempt to do so failed.

        Raises:
            OSError: If it fails again.
        """
        if self._rejected is None:
            return
        # If the file has grown since, another process has read these lines and continued after them: they count now.
        if self.path.exists() and self.path.stat().st_size == self._rejected:
            os.truncate(self.path, self.position.offset)
        self._rejected = None

    def remove(self) -> None:
        """Delete the journal, because the snapshot holds all its commits."""
        self.path.unlink(missing_ok=True)
        sync_folder(self.path.parent)
        self.first_line, self.position, self.is_stale = b"", Position(), False
        self._safe_to = 0

    def _start(self, base: ExperienceLibrary, mode: int | None) -> None:
        if self.is_stale:  # the snapshot must be on the disk before the old journal goes
            sync_folder(self.path.parent)
        header = Header(JOURNAL_FORMAT, secrets.token_hex(8), base.task, base.hash, base.seen)
        line = _header_line(header)
        write_atomically(self.path, line.decode(), mode=mode)
        self.first_line, self.position, self.is_stale = line, Position(len(line), 1), False
        self._safe_to = len(line)

    def _sync_name(self) -> None:
        """Sync the journal's name to the disk, once: the process that made the file may have been killed too early."""
        if not self._is_named:
            sync_folder(self.path.parent)
            sync_name(self.path.parent)
            self._is_named = True

    def _reject(self, file: int) -> None:
        """Remove the lines that were just appended."""
        try:
            os.ftruncate(file, self.position.offset)
        except OSError:
            self._rejected = os.fstat(file).st_size
        with contextlib.suppress(OSError):
            os.fsync(file)

    def _drop_torn_line(self, file: int) -> None:
        excess = os.lseek(file, 0, os.SEEK_END) - self.position.offset
        if excess:
            logger.warning("%s: dropping %d bytes of a commit that a crash cut short", self.path, excess)
            os.ftruncate(file, self.position.offset)
            os.fsync(file)  # otherwise later lines could reach the disk first
        os.lseek(file, self.position.offset, os.SEEK_SET)

    def read_first_line(self) -> bytes:
        """The header as it is in the file now; empty if there is no journal."""
        try:
            with self.path.open("rb") as file:
                return file.readline(_LONGEST_HEADER)
        except FileNotFoundError:
            return b""

    def _parse_header(self, line: bytes) -> Header:
        newer = re.match(rb'\{"format":"flex-dspy-journal/(\d+)"', line)
        if newer and newer[1] != b"1":
            remedy = "Upgrade flex-dspy"
            raise LibraryVersionError(self.path, "line 1", "a newer flex-dspy wrote the journal", remedy)
        try:
            header = _HEADER_JSON.validate_json(line.rpartition(b',"sum":')[0] + b"}", strict=True)
        except ValidationError:
            header = None
        if header is None or _header_line(header) != line:
            remedy = "Restore it from a backup, or move it away to go on without its commits"
            raise LibraryFormatError(self.path, "line 1", "the journal's header is damaged", remedy)
        return header

    def _parse(self, line: bytes, seq: int, number: int) -> Commit:
        prefix = _PREFIX.match(line)
        body = line[prefix.end() : -2] if prefix else b""
        if prefix is None or commit_line(int(prefix[1]), body) != line:
            raise LibraryFormatError(self.path, f"line {number}", "does not match its checksum", _MEND)
        if int(prefix[1]) != seq:
            problem = f"is commit {int(prefix[1])} where {seq} should be"
            raise LibraryFormatError(self.path, f"line {number}", problem, _MEND)
        try:
            return COMMIT_JSON.validate_json(body, strict=True)
        except ValidationError as error:
            problem = f"is no commit: {first_problem(error)}"
            raise LibraryFormatError(self.path, f"line {number}", problem, _MEND) from error

    def _check_torn(self, tail: bytes, number: int) -> None:
        """Refuse a last line that is damaged. A line that a crash cut short is shorter than it says, and is allowed."""
        written = tail.rstrip(b"\0")  # some file systems lengthen a file before its content arrives
        prefix = _PREFIX.match(written)
        whole = prefix.end() + int(prefix[2]) + len(b"}\n") if prefix else _LONGEST_PREFIX
        if len(written) >= whole:
            raise LibraryFormatError(self.path, f"line {number}", "is damaged at its end", _MEND)


def first_problem(error: ValidationError) -> str:
    """The first problem that pydantic found, with its place."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def commit_line(seq: int, body: bytes) -> bytes:
    """The journal line of a commit.

    Args:
        seq: The commit's number in the library.
        body: The commit as JSON.
    """
    digest = hashlib.sha256(b"%d %b" % (seq, body)).hexdigest()[:16].encode()
    return b'{"seq":%d,"size":%d,"sum":"%b","commit":%b}\n' % (seq, len(body), digest, body)


def _header_line(header: Header) -> bytes:
    body = json.dumps(asdict(header), separators=(",", ":"))
    digest = hashlib.sha256(body.encode()).hexdigest()[:16]
    return f'{body[:-1]},"sum":"{digest}"}}\n'.encode()

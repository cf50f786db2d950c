"""The journal of observations that wait to be learned from; it lies beside the library.

    <name>.observed.jsonl      a header that names the run, then a line for each observation
    <name>.observed.ids        ids of observations that were learned from (see ``flex_dspy.libraries.known_ids``)
    <name>.observed.lock       held by the process that learns from it, as long as it lives

If another process holds the journal, a process makes its own, ``<name>.observed.2.jsonl`` and so on. When a process
starts, it takes over the journals of dead processes. An observation is on the disk before ``append`` returns. A crash
may cut the last line short; that line was never acknowledged, and is dropped. Any other damage is an error.

The journal holds the questions of users and the answers, as text that only its owner can read. It is emptied as soon as
all its observations are learned from.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from filelock import Timeout

from flex_dspy.core.errors import LibraryError
from flex_dspy.core.lines import MAX_LINE, read_lines
from flex_dspy.libraries.known_ids import KnownIds, ids_in
from flex_dspy.libraries.library_file import BINARY, make_folder, sync_folder, sync_name, write_all
from flex_dspy.libraries.locking import NamedLock
from flex_dspy.libraries.observation import (
    OBSERVATION_JSON,
    Observation,
    header_line,
    observation_line,
    read_header,
    read_line,
)
from flex_dspy.libraries.paths import PRIVATE, beside, library_path


@dataclass(frozen=True, slots=True)
class _End:
    """The end of a line, and the step of its observation."""

    offset: int = 0
    step: int = 0


class ObservationJournal:
    """The observations of one process, on the disk. Any number of threads may append; one thread reads.

    Only observations that are on the disk count and are read. If ``append`` fails, its observation is removed.

    Args:
        path: The file.
        durable: Whether each line is synced to the disk; a temporary file does not need that.
        lock: Held until ``close``.

    Attributes:
        run: The run of the commits that come from these observations.
        last: Step of the newest observation that counts, which is its number in the run.
        known: The ids of the newest observations.

    Raises:
        LibraryFormatError: If the file is damaged.
        LibraryError: If it cannot be read or written.
    """

    def __init__(self, path: Path, *, durable: bool = True, lock: NamedLock | None = None) -> None:
        self.path = path
        self.run = f"observed {secrets.token_hex(6)}"
        self.last = 0
        self.known = KnownIds(path.with_suffix(".ids") if durable else None)
        self._durable = durable
        self._lock = lock
        self._writing = threading.Lock()
        self._forcing = threading.Lock()  # if both locks are needed, this one is taken first
        self._written = self._forced = _End()
        self._unforced: dict[str, int] = {}  # ids of lines that are not synced yet, with the ends of their lines
        self._losses = 0  # how often lines were removed
        self._is_broken = False
        self._read_to = 0
        self._lines_read = 1
        with self._refusals():
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | BINARY, PRIVATE)
            try:
                self._open()
            except BaseException:
                os.close(self._file)
                raise

    def _open(self) -> None:
        header = last = b""
        number = end = 0
        with self.path.open("rb") as file:
            for each, line in read_lines(file, self.path):
                if line.endswith(b"\n"):
                    number, header, last, end = each, header or line, line, end + len(line)
        for known_as in ids_in(self.path):
            self.known.note(known_as)
        if header:
            self.run = read_header(header, self.path)
            self.last = read_line(last, self.path, number)[0] if number > 1 else 0
        else:
            header, end = self._begin()
        self._header_end = self._read_to = len(header)
        self._shorten(end)
        self._written = self._forced = _End(end, self.last)
        if self._durable:  # the process that made the file may have been killed before its name was synced
            sync_folder(self.path.parent)
            sync_name(self.path.parent)

    def _begin(self) -> tuple[bytes, int]:
        header = header_line(self.run)
        self._shorten(0)
        self._write(header, 0)
        if self._durable:
            os.fsync(self._file)
        return header, len(header)

    def _shorten(self, end: int) -> None:
        """Shorten the file and sync it; otherwise later lines could reach the disk first."""
        if os.fstat(self._file).st_size > end:
            os.ftruncate(self._file, end)
            if self._durable:
                os.fsync(self._file)

    def append(self, observation: Observation, known_as: str = "") -> int:
        """Put an observation on the disk.

        Args:
            observation: The observation.
            known_as: Its id, as ``digest`` returns it; if two observations have one id, the first is kept. "" for
                none.

        Returns:
            The observation's step; 0 if an observation with this id was added before.

        Raises:
            LibraryError: If it cannot be written. The observation then does not count.
        """
        body = OBSERVATION_JSON.dump_json(observation)
        with self._refusals():
            with self._writing:
                self._check_usable()
                losses = self._losses
                step, end = self._add(body, known_as)
            if end:
                self._force(end, losses)
        return step

    def _add(self, body: bytes, known_as: str) -> tuple[int, int]:
        """Write a line, and return its step and its end in the file. For a known id, write nothing; the step is 0."""
        if known_as and known_as in self._unforced:
            return 0, self._unforced[known_as]
        if known_as and known_as in self.known:
            return 0, 0
        step = self._written.step + 1
        line = observation_line(step, known_as, body)
        if len(line) > MAX_LINE:
            raise OSError(errno.EFBIG, f"an observation may have {MAX_LINE:,} bytes")
        self._write(line, self._written.offset)
        self._written = _End(self._written.offset + len(line), step)
        if not self._durable:
            self._forced, self.last = self._written, step
        if known_as and self._durable:
            self._unforced[known_as] = self._written.offset
        elif known_as:
            self.known.note(known_as)
        return step, self._written.offset

    def _check_usable(self) -> None:
        """Refuse to write if bad lines could not be removed, or if another process may write."""
        if self._is_broken:
            raise OSError(errno.EIO, "what failed before could not be taken back: open the learner anew")
        if self._lock is None or self._lock.is_held():
            return
        try:
            self._lock.renew(0)
        except Timeout:
            raise OSError(errno.EBUSY, f"another process took it, as {self._lock.path.name} was deleted") from None
        named, own = self.path.stat(), os.fstat(self._file)
        if not os.path.samestat(named, own) or own.st_size != self._written.offset:
            self._is_broken = True
            raise OSError(errno.EBUSY, f"another process wrote to it, as {self._lock.path.name} was deleted")

    def _write(self, data: bytes, at: int) -> None:
        try:
            os.lseek(self._file, at, os.SEEK_SET)
            write_all(self._file, data)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, at)
            raise

    def _force(self, end: int, losses: int) -> None:
        """Wait until the disk holds the file up to ``end``. Threads that wait at the same time share one sync."""
        if not self._durable:
            return
        with self._forcing:
            if self._losses != losses:
                raise OSError(errno.EIO, "the disk failed on an observation made at the same time")
            if self._forced.offset >= end:
                return
            with self._writing:
                written, ids = self._written, list(self._unforced)
            try:
                os.fsync(self._file)
            except OSError:
                self._take_back()
                raise
            self._forced, self.last = written, written.step
            with self._writing:
                for known_as in ids:
                    del self._unforced[known_as]
                    self.known.note(known_as)

    def _take_back(self) -> None:
        """Cut off all lines that were not acknowledged."""
        with self._writing:
            self._losses += 1
            self._written = self._forced
            self._unforced.clear()
            try:
                os.ftruncate(self._file, self._forced.offset)
            except OSError:
                self._is_broken = True
            with contextlib.suppress(OSError):
                os.fsync(self._file)

    def read(self) -> tuple[int, Observation] | None:
        """The next observation, with its step; None if there is none yet.

        Raises:
            LibraryFormatError: If its line is damaged.
        """
        if self._read_to >= self._forced.offset:
            return None
        with self._refusals(), self.path.open("rb") as file:
            file.seek(self._read_to)
            line = file.readline(MAX_LINE)
        self._lines_read += 1
        self._read_to += len(line)
        return read_line(line, self.path, self._lines_read)

    def go_on_after(self, step: int) -> None:
        """Number new observations from the step after this one, because the library holds all steps up to it."""
        with self._forcing, self._writing:
            self.last = max(self.last, step)
            self._written = self._forced = replace(self._forced, step=self.last)

    def forget(self, settled: int) -> None:
        """Empty the file if it has no observation after this step. The ids are kept."""
        with self._refusals(), self._forcing, self._writing:
            if self._written.step == settled and self._read_to == self._written.offset > self._header_end:
                self.known.keep()
                self._shorten(self._header_end)
                self._written = self._forced = _End(self._header_end, settled)
                self._read_to = self._header_end
                self._lines_read = 1

    def close(self, *, remove: bool = False) -> None:
        """Close the file, so that another process can take it.

        Args:
            remove: Whether to delete the file and its ids, because all of it was learned from.
        """
        with self._forcing, self._writing:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
        if remove:
            self.path.unlink(missing_ok=True)
            self.known.remove()
        if self._lock is not None:
            self._lock.release()

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            problem = f"cannot be used: {error.strerror or error}"
            raise LibraryError(self.path, "the observations", problem, "Make room or give leave, and go on") from error


def claim(library: Path) -> tuple[ObservationJournal, list[ObservationJournal]]:
    """Take over the journals beside a library that no living process holds.

    Args:
        library: The library's file.

    Returns:
        The journal to write to, and the journals of dead processes, to be learned from and removed.

    Raises:
        LibraryError: As ``ObservationJournal``.
    """
    folder = library_path(library).parent
    try:
        make_folder(folder)
    except OSError as error:
        raise LibraryError(folder, "the folder", f"cannot be made: {error.strerror}", "Choose another path") from error
    own = next(journal for number in count(1) if (journal := _claim(_path(library, number))) is not None)
    stem = _path(library, 1).name.removesuffix(".jsonl")
    pattern = re.compile(re.escape(stem) + r"(\.\d+)?\.(jsonl|ids)")
    found = [path for path in sorted(folder.iterdir()) if pattern.fullmatch(path.name)]
    others = [path for path in found if path.suffix == ".jsonl" and path != own.path]
    own.known.take_in(path for path in found if path != own.path)
    return own, [journal for path in others if (journal := _claim(path)) is not None]


def _claim(path: Path) -> ObservationJournal | None:
    lock = NamedLock(path.with_suffix(".lock"), PRIVATE)
    try:
        lock.acquire(0)
    except Timeout:
        return None
    except OSError as error:
        problem = f"cannot be used: {error.strerror or error}"
        raise LibraryError(lock.path, "the lock file", problem, "Make room or give leave, and go on") from error
    try:
        return ObservationJournal(path, lock=lock)
    except BaseException:
        lock.release()
        raise


def _path(library: Path, number: int) -> Path:
    return beside(library, f"observed{f'.{number}' if number > 1 else ''}.jsonl")

"""What was observed and not learned from yet: a journal beside the library.

    <name>.observed.jsonl      a header that names the run, then a line for each observation
    <name>.observed.lock       held by the process that learns from it, as long as it lives

A process that finds the journal taken has one of its own, ``<name>.observed.2.jsonl`` and so on; one that starts takes
over whatever dead processes left. An observation is on the disk before ``append`` returns. A last line that a crash cut
short was never acknowledged, and is dropped. Any other damage is an error.

The journal holds what users asked and were answered, as text; it is emptied whenever all of it is learned from.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import ClassVar

from filelock import FileLock, Timeout
from pydantic import ConfigDict, TypeAdapter, ValidationError

from flex_dspy.errors import LibraryError, LibraryFormatError
from flex_dspy.libraries.library_file import sync_folder

FORMAT = "flex-dspy-observed/1"
_HEADER = re.compile(rb'\{"format":"' + FORMAT.encode() + rb'","run":"(observed [0-9a-f]{12})"\}\n')
_LINE = re.compile(rb'\{"step":(\d{1,18}),"sum":"([0-9a-f]{16})","observation":(.*)\}\n')
_MEND = "Delete this line to go on without that observation"


@dataclass(frozen=True, slots=True)
class Observation:
    """One answer of a deployed program, and what was said of it, all as text.

    Attributes:
        example_id: The problem's id.
        problem: The problem, as in a ``Precedent``.
        outputs: The program's outputs.
        reference: The right answer, "" where it is not known.
        score: The score; None where there was only a remark.
        feedback: The remark.
        failed: The score says nothing of the answer: it could not be judged.
        accepted: The metric's own word on success; None leaves it to the threshold.
        shown: Ids of the entries in the prompt, as far as they are known.
        relied: Ids of those that the program says it relied on.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    example_id: str
    problem: str
    outputs: Mapping[str, str] = field(default_factory=dict)
    reference: str = ""
    score: float | None = None
    feedback: str = ""
    failed: bool = False
    accepted: bool | None = None
    shown: tuple[str, ...] = ()
    relied: tuple[str, ...] = ()


_JSON: TypeAdapter[Observation] = TypeAdapter(Observation)


class ObservationJournal:
    """The observations of one process, on the disk. Any number of threads may append; one reads.

    Args:
        path: The file.
        durable: Whether each line is forced onto the disk; not for a file that nobody will look for.
        lock: Held until ``close``.

    Attributes:
        run: The run that commits made of these observations belong to.
        last: Step of the newest observation: its number in the run.

    Raises:
        LibraryFormatError: If the file is damaged.
        LibraryError: If it cannot be read or written.
    """

    def __init__(self, path: Path, *, durable: bool = True, lock: FileLock | None = None) -> None:
        self.path = path
        self.run = f"observed {secrets.token_hex(6)}"
        self.last = 0
        self._durable = durable
        self._lock = lock
        self._writing = threading.Lock()
        self._forcing = threading.Lock()
        self._end = self._forced = self._read_to = 0
        self._lines_read = 1
        with self._refusals():
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
            try:
                self._open()
            except BaseException:
                os.close(self._file)
                raise

    def _open(self) -> None:
        header = last = b""
        number = 0
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    number, header, last, self._end = number + 1, header or line, line, self._end + len(line)
        if header:
            self.run = self._header(header)
            self.last = self._parsed(last, number)[0] if number > 1 else 0
        else:
            header = self._begin()
        self._header_end = self._read_to = len(header)
        os.ftruncate(self._file, self._end)
        self._forced = self._end

    def _begin(self) -> bytes:
        header = f'{{"format":"{FORMAT}","run":"{self.run}"}}\n'.encode()
        os.ftruncate(self._file, 0)
        self._write(header, 0)
        self._end = len(header)
        if self._durable:
            os.fsync(self._file)
            sync_folder(self.path.parent)
        return header

    def append(self, observation: Observation) -> int:
        """Put an observation on the disk.

        Returns:
            Its step.

        Raises:
            LibraryError: If it cannot be written. It then does not count.
        """
        body = _JSON.dump_json(observation)
        with self._refusals():
            with self._writing:
                step = self.last + 1
                line = b'{"step":%d,"sum":"%b","observation":%b}\n' % (step, _sum(step, body), body)
                self._write(line, self._end)
                self._end, self.last = self._end + len(line), step
                end = self._end
            self._force(end)
        return step

    def _write(self, data: bytes, at: int) -> None:
        try:
            os.lseek(self._file, at, os.SEEK_SET)
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, at)
            raise

    def _force(self, end: int) -> None:
        """Wait until the disk holds the file up to here; threads that wait at once share one wait."""
        if not self._durable:
            return
        with self._forcing:
            if self._forced < end:
                written = self._end
                os.fsync(self._file)
                self._forced = written

    def read(self) -> tuple[int, Observation] | None:
        """The next observation, with its step; None where there is none yet.

        Raises:
            LibraryFormatError: If its line is damaged.
        """
        if self._read_to >= self._end:
            return None
        with self._refusals(), self.path.open("rb") as file:
            file.seek(self._read_to)
            line = file.readline()
        self._lines_read += 1
        self._read_to += len(line)
        return self._parsed(line, self._lines_read)

    def go_on_after(self, step: int) -> None:
        """Number what comes from here: the library holds all up to this step."""
        with self._writing:
            self.last = max(self.last, step)

    def forget(self, settled: int) -> None:
        """Empty the file, if nothing was observed after this step."""
        with self._refusals(), self._writing, self._forcing:
            if self.last == settled and self._read_to == self._end > self._header_end:
                os.ftruncate(self._file, self._header_end)
                self._end = self._read_to = self._forced = self._header_end
                self._lines_read = 1

    def close(self, *, remove: bool = False) -> None:
        """Let go of the file, and let another process take it.

        Args:
            remove: Delete it: all of it was learned from.
        """
        with self._writing, self._forcing:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
        if remove:
            self.path.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.release()

    def _header(self, line: bytes) -> str:
        found = _HEADER.fullmatch(line)
        if found is None:
            remedy = "Move the file away to go on without what it holds"
            raise LibraryFormatError(self.path, "line 1", "is no header of a journal of observations", remedy)
        return found[1].decode()

    def _parsed(self, line: bytes, number: int) -> tuple[int, Observation]:
        found = _LINE.fullmatch(line)
        if found is None or _sum(int(found[1]), found[3]) != found[2]:
            raise LibraryFormatError(self.path, f"line {number}", "does not match its checksum", _MEND)
        try:
            return int(found[1]), _JSON.validate_json(found[3])
        except ValidationError as error:
            raise LibraryFormatError(self.path, f"line {number}", "is no observation", _MEND) from error

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            problem = f"cannot be used: {error.strerror or error}"
            raise LibraryError(self.path, "the observations", problem, "Make room or give leave, and go on") from error


def _sum(step: int, body: bytes) -> bytes:
    return hashlib.sha256(b"%d %b" % (step, body)).hexdigest()[:16].encode()


def claim(library: Path) -> tuple[ObservationJournal, list[ObservationJournal]]:
    """The journals beside a library that no living process holds.

    Args:
        library: The library's file.

    Returns:
        The one to write to, and those that dead processes left, to be learned from and removed.

    Raises:
        LibraryError: As ``ObservationJournal``.
    """
    library.parent.mkdir(parents=True, exist_ok=True)
    own = next(journal for number in count(1) if (journal := _claimed(_path(library, number))) is not None)
    pattern = re.compile(re.escape(_stem(library)) + r"\.observed(\.\d+)?\.jsonl")
    others = (path for path in sorted(library.parent.iterdir()) if pattern.fullmatch(path.name) and path != own.path)
    return own, [journal for path in others if (journal := _claimed(path)) is not None]


def _claimed(path: Path) -> ObservationJournal | None:
    lock = FileLock(path.with_suffix(".lock"), thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    try:
        return ObservationJournal(path, lock=lock)
    except BaseException:
        lock.release()
        raise


def _stem(library: Path) -> str:
    return library.name.removesuffix(".json")


def _path(library: Path, number: int) -> Path:
    return library.with_name(f"{_stem(library)}.observed{f'.{number}' if number > 1 else ''}.jsonl")

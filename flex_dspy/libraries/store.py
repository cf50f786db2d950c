"""The durable library: one JSON file, a journal beside it while learning, and a lock that processes share.

    <name>.json            the snapshot of the last checkpoint
    <name>.journal.jsonl   a header that names the snapshot it continues, then a line for each commit since
    <name>.lock            held for each reading and writing of the two

A commit is one line, on the disk before ``commit`` returns. A checkpoint writes the snapshot and removes
the journal; a crash between the two leaves a journal that the snapshot already holds, which is then ignored.
A last line that a crash cut short was never acknowledged, and is dropped. Any other damage is an error, and
an error changes no file.

Example:
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from flex_dspy.libraries.experience import Commit, Experience, Insert
    >>> path = Path(mkdtemp()) / "dice.json"
    >>> lesson = Experience("golden", "Count the complement when 'at least one' is asked for.")
    >>> LibraryStore(path, task="dice").commit([Commit("run-1", 1, (Insert(lesson),))])
    ExperienceLibrary(dice: 1 golden; 0 precedents)
    >>> LibraryStore(path).library  # another process, or the same after a crash
    ExperienceLibrary(dice: 1 golden; 0 precedents)
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import logging
import os
import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from io import FileIO
from itertools import accumulate, chain, count
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from flex_dspy.errors import LibraryError, LibraryFormatError, LibraryVersionError
from flex_dspy.libraries.by_hand import ByHand
from flex_dspy.libraries.editing import EDITS, check_edits
from flex_dspy.libraries.experience import COMMIT_JSON, Commit, PersonEdit
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import load, sync_folder, write_atomically

JOURNAL_FORMAT = "flex-dspy-journal/1"

# A checkpoint of the largest libraries holds the lock for less than this.
LOCK_SECONDS = 300.0
# The default of 50 ms is as long as dozens of commits.
POLL_SECONDS = 0.005

logger = logging.getLogger(__name__)


class LibraryStore(ByHand):
    """A library on the disk, open for learning. Any number of processes may have one file open.

    ``pin``, ``unpin``, ``veto`` and ``revise`` make a person's edits, durably.

    Args:
        path: The library file. It need not exist: nothing is written before the first commit. A file of the
            FLEX release is read, and becomes one of this project's at the first checkpoint.
        task: Name of the task, for a library that has none yet.

    Attributes:
        path: The library file.
        replayed: The snapshots that opening went through: the last checkpoint, then the library after each
            commit of the journal. A resumed run needs them to show an example the library it would have seen.
            They share their structure; the first checkpoint drops them.

    Raises:
        LibraryFormatError: If the file or its journal is damaged, or one does not belong to the other.
        LibraryVersionError: If a newer flex-dspy wrote one of them.
        LibraryError: If the file is of another task, cannot be read, or is locked for minutes.
    """

    def __init__(self, path: str | Path, *, task: str = "") -> None:
        self.path = Path(path)
        self.replayed: tuple[ExperienceLibrary, ...] = ()
        self._files = _Files(self.path)
        self._journal = _Journal(self._files.journal)
        self._guard = threading.RLock()
        self._snapshot_identity: _Identity = None
        self._library = ExperienceLibrary(task=task)
        with self._locked():
            self._files.remove_leftovers()
            self.replayed = tuple(self._load())
        if task and self._library.task != task:
            problem = f"the library was learned on {self._library.task!r}, not on {task!r}"
            raise LibraryError(path, "task", problem, "Name another file for this task")

    @classmethod
    def fresh(cls, path: str | Path, *, task: str = "") -> LibraryStore:
        """Start an empty library, moving what is there aside as ``<name>.<n>.bak.json``.

        Raises:
            LibraryError: If a file cannot be moved, or is locked for minutes.
        """
        files = _Files(Path(path))
        with files.locked():
            files.move_aside()
        return cls(path, task=task)

    @property
    def library(self) -> ExperienceLibrary:
        """The newest snapshot that this process knows."""
        return self._library

    def refresh(self) -> ExperienceLibrary:
        """The newest snapshot, with the commits of other processes.

        Raises:
            LibraryError: If the files were damaged, or replaced by others, since they were opened.
        """
        with self._locked():
            self._catch_up()
            return self._library

    def commit(self, commits: Sequence[Commit]) -> ExperienceLibrary:
        """Apply commits on top of the newest library, durably: they are on the disk when this returns.

        A commit of a named run whose step the library has passed is skipped, so that after a crash the same
        commits can be made again. Commits of one run therefore come in the order of their steps.

        Args:
            commits: In order; they share one write to the disk.

        Returns:
            The library after them.

        Raises:
            LibraryFormatError: If a commit holds what could not be read back. None of them is made.
            LibraryError: If the files were damaged or replaced, or cannot be written. None of them is made.
        """
        with self._locked():
            self._catch_up()
            library, lines = self._library, []
            for commit in commits:
                if not _holds(library, commit):
                    body, kept = self._as_read_back(commit)
                    library = library.apply(kept)
                    lines.append(_line(library.seen, body))
            if lines:
                self._journal.append(lines, self._library)
            self._library = library
            return library

    def edit(self, edits: Sequence[PersonEdit]) -> ExperienceLibrary:
        """Make a person's edits, durably, as one commit of a run of their own: learning runs go on undisturbed.

        Args:
            edits: In order; they are made together or not at all.

        Returns:
            The library after them.

        Raises:
            ConfigurationError: If an edit cannot be made, see ``flex_dspy.libraries.editing.check_edits``. None is
                made.
            LibraryError: As ``commit``.
        """
        with self._locked():
            self._catch_up()
            check_edits(self._library, edits)
            return self.commit([Commit(EDITS, self._library.runs.get(EDITS, 0) + 1, tuple(edits))])

    def _newest(self) -> ExperienceLibrary:
        return self.refresh()

    def _repr_html_(self) -> str:
        return self.library._repr_html_()

    def checkpoint(self, parent: str | None = None) -> ExperienceLibrary:
        """Write the newest library as the library file, and end the journal.

        Args:
            parent: Hash of the version it was made from; None keeps the one that it has.

        Returns:
            The library written.

        Raises:
            LibraryError: If the files were damaged or replaced, or cannot be written. Nothing is lost then.
        """
        with self._locked():
            self._catch_up()
            library = self._library if parent is None else self._library.published(parent)
            write_atomically(self.path, library.to_json())
            self._journal.remove()
            self._library, self._snapshot_identity = library, self._files.snapshot_identity()
            self.replayed = ()
            return library

    # -- following the files -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._guard, self._files.locked():
            yield

    def _catch_up(self) -> None:
        """Take in what other processes wrote: only what is new, unless one of them made a checkpoint."""
        if self._snapshot_identity != self._files.snapshot_identity() or not self._journal.is_same():
            self._load()
            return
        commits, end = self._journal.read(self._library.seen)
        self._library = reduce(ExperienceLibrary.apply, commits, self._library)
        self._journal.position = end

    def _load(self) -> list[ExperienceLibrary]:
        """Read both files from the start; the snapshots on the way."""
        identity = self._files.snapshot_identity()
        journal = _Journal(self._files.journal)
        header = journal.open()
        base = ExperienceLibrary() if identity is None else load(self.path)
        base = base.for_task(header.task if header else self._library.task)
        snapshots = [base] if header is None else self._replay(base, header, journal)
        self._check_descent(snapshots[-1])
        self._library, self._journal, self._snapshot_identity = snapshots[-1], journal, identity
        return snapshots

    def _replay(self, base: ExperienceLibrary, header: _Header, journal: _Journal) -> list[ExperienceLibrary]:
        commits, journal.position = journal.read(header.seen)
        if (header.base, header.seen) == (base.hash, base.seen):
            return list(accumulate(commits, ExperienceLibrary.apply, initial=base))
        known = all(_holds(base, commit) for commit in commits if commit.run)
        if not known or header.seen + len(commits) > base.seen:
            problem = f"continues another library than {self.path.name}: one of {header.seen} commits"
            remedy = "Put that library file back, or move the journal away to go on without its commits"
            raise LibraryFormatError(journal.path, "line 1", problem, remedy)
        journal.is_stale = True  # a crash came between writing the snapshot and removing the journal
        return [base]

    def _check_descent(self, library: ExperienceLibrary) -> None:
        """Refuse to follow a file that lacks what this process was told is safe."""
        ours = self._library
        lost = [run for run, step in ours.runs.items() if library.runs.get(run, -1) < step]
        if lost or library.seen < ours.seen:
            problem = f"no longer holds the {ours.seen} commits that were made: another program replaced it"
            raise LibraryError(self.path, "the file", problem, "Put the file back, or open the library anew")

    def _as_read_back(self, commit: Commit) -> tuple[bytes, Commit]:
        """A commit as JSON, and as that JSON will be read: what cannot be read must not be written."""
        try:
            body = COMMIT_JSON.dump_json(commit, warnings="none")
            return body, COMMIT_JSON.validate_json(body, strict=True)
        except (ValidationError, PydanticSerializationError, UnicodeEncodeError) as error:
            place = f"step {commit.step} of run {commit.run!r}"
            why = _first_problem(error) if isinstance(error, ValidationError) else str(error)
            problem = f"the commit could not be read back: {why}"
            remedy = "Nothing of it was written; mend the program that made it"
            raise LibraryFormatError(self.path, place, problem, remedy) from error


def journal_of(path: Path) -> Path:
    """Where the commits are that a library file does not hold yet, if there are any."""
    return _Files(path).journal


def _holds(library: ExperienceLibrary, commit: Commit) -> bool:
    """Whether a commit is known to be in. One of no run never is."""
    return bool(commit.run) and commit.step <= library.runs.get(commit.run, -1)


# -- files -------------------------------------------------------------------------------------------------

_Identity = tuple[int, int, int] | None


class _Files:
    """The three files of a library, by name."""

    def __init__(self, path: Path) -> None:
        self.snapshot = path
        self.stem = path.name.removesuffix(".json")
        self.journal = path.with_name(f"{self.stem}.journal.jsonl")
        self._lock = FileLock(path.with_name(f"{self.stem}.lock"), thread_local=False)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock, and name the library in whatever the system refuses meanwhile."""
        try:
            self.snapshot.parent.mkdir(parents=True, exist_ok=True)
            with self._lock.acquire(timeout=LOCK_SECONDS, poll_interval=POLL_SECONDS):
                yield
        except Timeout as error:
            problem = "is held by another process"
            remedy = "Wait for that process, or end it"
            raise LibraryError(self.snapshot, "the lock file", problem, remedy) from error
        except OSError as error:
            remedy = "What was committed before is safe; correct the cause and resume"
            raise LibraryError(self.snapshot, "the files", f"cannot be used: {error}", remedy) from error

    def snapshot_identity(self) -> _Identity:
        """What changes whenever the snapshot is replaced; None without one."""
        try:
            stat = self.snapshot.stat()
        except FileNotFoundError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def remove_leftovers(self) -> None:
        """Remove what processes killed while writing left."""
        for path in (self.snapshot, self.journal):
            for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
                leftover.unlink()

    def move_aside(self) -> None:
        """Rename the files to the first free backup name: together they are a store of that name."""
        content = self.content()
        for n in count(1):
            names = (f"{self.stem}.{n}.bak{path.name.removeprefix(self.stem)}" for path in content)
            backups = [self.snapshot.with_name(name) for name in names]
            if not any(path.exists() for path in backups):
                break
        for path, backup in zip(content, backups, strict=True):
            if path.exists():
                path.rename(backup)
        sync_folder(self.snapshot.parent)

    def content(self) -> list[Path]:
        """All that belongs to the library: snapshot, journal, what was observed, and what is known of its versions."""
        kinds = ("versions.jsonl", "failures.jsonl", "outcomes.jsonl", "value.json")
        patterns = ("outcomes.*.jsonl", "observed*.jsonl", "version-*.kept")
        found = (self.snapshot.parent.glob(f"{glob.escape(self.stem)}.{pattern}") for pattern in patterns)
        beside = (self.snapshot.with_name(f"{self.stem}.{kind}") for kind in kinds)
        return [self.snapshot, self.journal, *beside, *sorted(chain(*found))]


# -- the journal -------------------------------------------------------------------------------------------

_PREFIX = re.compile(rb'\{"seq":(\d{1,18}),"size":(\d{1,18}),"sum":"[0-9a-f]{16}","commit":')
_LONGEST_PREFIX = 100
_MEND = "Restore it from a backup, or delete this line and those after it to go on from the commit before"


@dataclass(frozen=True, slots=True)
class _Header:
    """The journal's first line: the snapshot that it continues, and an id no other journal has."""

    format: str
    id: str
    task: str
    base: str
    seen: int


_HEADER_JSON: TypeAdapter[_Header] = TypeAdapter(_Header)


@dataclass(frozen=True, slots=True)
class _Position:
    """How far a journal has been read."""

    offset: int = 0
    lines: int = 0


class _Journal:
    """The lines of commits since the last checkpoint. The caller holds the lock.

    Attributes:
        position: How far it has been read.
        is_stale: Whether the snapshot holds all of it; the next commit starts another.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = _Position()
        self.is_stale = False
        self._first_line = b""

    def is_same(self) -> bool:
        """Whether it is still the file that was opened, or there is still none."""
        return self._read_first_line() == self._first_line

    def open(self) -> _Header | None:
        """The header; None where there is no journal."""
        self._first_line = self._read_first_line()
        if not self._first_line and not self.path.exists():
            return None
        header = self._parsed_header(self._first_line)
        self.position = _Position(len(self._first_line), 1)
        return header

    def read(self, seen: int) -> tuple[list[Commit], _Position]:
        """The commits from the position on, and the position after them.

        Args:
            seen: Number of the commit before the first of them.
        """
        if not self._first_line:
            return [], self.position
        with self.path.open("rb") as file:
            if file.seek(0, os.SEEK_END) < self.position.offset:
                raise LibraryFormatError(self.path, "the end", "was cut off since it was read", _MEND)
            file.seek(self.position.offset)
            lines = file.readlines()
        if lines and not lines[-1].endswith(b"\n"):
            self._check_torn(lines.pop(), self.position.lines + len(lines) + 1)
        commits = []
        for index, line in enumerate(lines, start=1):
            commits.append(self._parsed(line, seen + index, self.position.lines + index))
        end = self.position.offset + sum(map(len, lines))
        return commits, _Position(end, self.position.lines + len(lines))

    def append(self, lines: list[bytes], base: ExperienceLibrary) -> None:
        """Put lines on the disk, after ``base``. When this raises, none of them counts."""
        if not self._first_line or self.is_stale:
            self._start(base)
        data = b"".join(lines)
        with self.path.open("r+b", buffering=0) as file:
            try:
                self._cut_torn_line(file)
                _write_through(file, data)
            except BaseException:
                with contextlib.suppress(OSError):
                    file.truncate(self.position.offset)
                raise
        self.position = _Position(self.position.offset + len(data), self.position.lines + len(lines))

    def remove(self) -> None:
        """Delete it: the snapshot holds it all."""
        self.path.unlink(missing_ok=True)
        sync_folder(self.path.parent)
        self._first_line, self.position, self.is_stale = b"", _Position(), False

    def _start(self, base: ExperienceLibrary) -> None:
        header = _Header(JOURNAL_FORMAT, secrets.token_hex(8), base.task, base.hash, base.seen)
        line = _header_line(header)
        write_atomically(self.path, line.decode())
        self._first_line, self.position, self.is_stale = line, _Position(len(line), 1), False

    def _cut_torn_line(self, file: FileIO) -> None:
        excess = file.seek(0, os.SEEK_END) - self.position.offset
        if excess:
            logger.warning("%s: dropping %d bytes of a commit that a crash cut short", self.path, excess)
            file.truncate(self.position.offset)
        file.seek(self.position.offset)

    def _read_first_line(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                return file.readline()
        except FileNotFoundError:
            return b""

    def _parsed_header(self, line: bytes) -> _Header:
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

    def _parsed(self, line: bytes, seq: int, number: int) -> Commit:
        prefix = _PREFIX.match(line)
        body = line[prefix.end() : -2] if prefix else b""
        if prefix is None or _line(int(prefix[1]), body) != line:
            raise LibraryFormatError(self.path, f"line {number}", "does not match its checksum", _MEND)
        if int(prefix[1]) != seq:
            problem = f"is commit {int(prefix[1])} where {seq} should be"
            raise LibraryFormatError(self.path, f"line {number}", problem, _MEND)
        try:
            return COMMIT_JSON.validate_json(body, strict=True)
        except ValidationError as error:
            problem = f"is no commit: {_first_problem(error)}"
            raise LibraryFormatError(self.path, f"line {number}", problem, _MEND) from error

    def _check_torn(self, tail: bytes, number: int) -> None:
        """Tell a line that a crash cut short (it is shorter than it says) from one that was damaged later."""
        written = tail.rstrip(b"\0")  # some file systems lengthen a file before its content arrives
        prefix = _PREFIX.match(written)
        whole = prefix.end() + int(prefix[2]) + len(b"}\n") if prefix else _LONGEST_PREFIX
        if len(written) >= whole:
            raise LibraryFormatError(self.path, f"line {number}", "is damaged at its end", _MEND)


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _line(seq: int, body: bytes) -> bytes:
    digest = hashlib.sha256(b"%d %b" % (seq, body)).hexdigest()[:16].encode()
    return b'{"seq":%d,"size":%d,"sum":"%b","commit":%b}\n' % (seq, len(body), digest, body)


def _header_line(header: _Header) -> bytes:
    body = json.dumps(asdict(header), separators=(",", ":"))
    digest = hashlib.sha256(body.encode()).hexdigest()[:16]
    return f'{body[:-1]},"sum":"{digest}"}}\n'.encode()


def _write_through(file: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
    os.fsync(file.fileno())

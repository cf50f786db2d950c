"""Usage of a library: one line an example, in ``<library>.outcomes.jsonl`` beside the library.

A line says which version of the library was read, which entries were shown, which ones the actor relied on, and the
score. Any number of processes may append at once. A process that is killed loses no line that ``add`` returned from; a
line that was cut short is passed over at reading. Old records are folded into totals (``usage_rotation``).

Example:
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from flex_dspy.core.errors import LibraryError, LibraryFormatError
from flex_dspy.core.lines import read_lines
from flex_dspy.core.side_records import SideRecord
from flex_dspy.evaluation.settings import SOLVED
from flex_dspy.evaluation.usage_rotation import log_files, rotate
from flex_dspy.libraries.experience import Tally
from flex_dspy.libraries.paths import PRIVATE, beside, mode_beside

if TYPE_CHECKING:
    from flex_dspy.evaluation.records import Record

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """How the entries shown on one example fared.

    Attributes:
        version: Content hash of the version; in learning, of the last one published.
        example: The example's id.
        shown: Ids of the entries in the prompt.
        score: The metric's score.
        relied: Ids of those that the actor says it relied on.
        source: Origin of the record, such as ``learn RUN 17``: an example counts once for each source. A record without
            a source counts each time.
        count: How many such records this one stands for, where they were folded into one.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    version: str
    example: str
    shown: tuple[str, ...]
    score: float
    relied: tuple[str, ...] = ()
    source: str = ""
    count: int = 1


_JSON = TypeAdapter(UsageRecord)
_START = b'{"version":'


class UsageLog:
    """The usage records of one library, on the disk.

    Args:
        library_path: The library's file; it need not exist.
    """

    def __init__(self, library_path: str | Path) -> None:
        self.path = beside(library_path, "outcomes.jsonl")
        self._library = library_path
        self._record = SideRecord("the outcomes")

    def add(self, records: Iterable[UsageRecord]) -> None:
        """Append records, each in one write, so that processes do not mix their lines.

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
        """Append records as ``add`` does; a failure is only a warning, once."""
        with self._record.attempt():
            self.add(records)

    def _open(self) -> int:
        """The file, to append to; a new one with the permissions of the library."""
        flags, mode = os.O_RDWR | os.O_APPEND | os.O_CREAT, mode_beside(self._library)
        with contextlib.suppress(FileExistsError):
            file = os.open(self.path, flags | os.O_EXCL, 0o666 if mode is None else mode & PRIVATE)
            if mode is not None and os.name != "nt":
                os.fchmod(file, mode)
            return file
        return os.open(self.path, flags)

    def read(self) -> list[UsageRecord]:
        """All records, oldest first. Folded records stand for many, and come first.

        Raises:
            LibraryFormatError: If a line is damaged otherwise than by being cut short.
        """
        files = log_files(self.path)
        found = [record for path in files for record in self._at(path)._read_file()]
        return found if log_files(self.path) == files else self.read()  # another process has begun a new log

    def _at(self, path: Path) -> UsageLog:
        """This log with its file elsewhere."""
        other = copy.copy(self)
        other.path = path
        return other

    def _rotate(self) -> None:
        try:
            rotate(self.path, lambda path: self._at(path)._read_file(), lambda some: b"".join(map(_line, some)))
        except (OSError, LibraryError) as error:
            logger.warning("the outcomes in %s go on growing, they cannot be folded: %s", self.path, error)

    def _read_file(self) -> list[UsageRecord]:
        """All records of this file, oldest first; none where there is no file.

        Raises:
            LibraryFormatError: If a line is damaged otherwise than by being cut short.
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
    # Only folded records have a count in the file: earlier releases can read all others.
    return _JSON.dump_json(record, exclude={"count"} if record.count == 1 else None) + b"\n"


def _is_cut(file: int) -> bool:
    """Whether the last line of an open file has no end."""
    size = os.fstat(file).st_size
    return size > 0 and os.pread(file, 1, size - 1) != b"\n"


def usage_of_evaluation(version: str, records: Sequence[Record], source: str = "") -> Iterator[UsageRecord]:
    """The usage records of an evaluation. Examples on which the program failed are left out.

    Args:
        version: Content hash of the library that was measured.
        records: The evaluation's records.
        source: See ``UsageRecord``; samples after the first add their number.
    """
    for record in records:
        if not record.error or record.outputs:  # an answer that the metric fails on is a wrong one
            used = set(record.outputs.get("experiences_used") or ())
            relied = tuple(entry_id for entry_id in record.shown if entry_id in used)
            origin = f"{source} sample {record.sample}" if source and record.sample else source
            yield UsageRecord(version, record.example_id, record.shown, record.score, relied, origin)


def usage_of_step(version: str, example: str, tally: Tally, solved: bool | None, source: str = "") -> UsageRecord:
    """The usage record of one training example, from the entries that its attempts were shown and relied on."""
    relied = tuple(dict.fromkeys((*tally.helped, *tally.hurt)))
    return UsageRecord(version, example, tally.shown, float(bool(solved)), relied, source)


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """How an entry was used in one version.

    Attributes:
        shown: How many examples had it in their prompt.
        helped: How many of those that were solved relied on it.
        hurt: How many of the others relied on it.
        score: Sum of the scores of the examples that had it in their prompt.
    """

    shown: int = 0
    helped: int = 0
    hurt: int = 0
    score: float = 0.0

    def plus(self, record: UsageRecord, *, relied: bool, solved: bool) -> UsageTotal:
        """The total with one more record."""
        return UsageTotal(
            self.shown + record.count,
            self.helped + record.count * (relied and solved),
            self.hurt + record.count * (relied and not solved),
            self.score + record.count * record.score,
        )


def usage_totals(records: Iterable[UsageRecord], *, solved: float = SOLVED) -> dict[str, dict[str, UsageTotal]]:
    """The usage of each entry, by version.

    Args:
        records: Usage records.
        solved: The score from which an example counts as solved.

    Returns:
        By version hash, in the order of their first appearance, and entry id.
    """
    seen: set[tuple[str, str, str]] = set()
    by_version: dict[str, dict[str, UsageTotal]] = {}
    for record in records:
        key = (record.source, record.version, record.example)
        if record.source and key in seen:
            continue
        seen.add(key)
        totals, right = by_version.setdefault(record.version, {}), record.score >= solved
        for entry_id in record.shown:
            total = totals.get(entry_id, UsageTotal())
            totals[entry_id] = total.plus(record, relied=entry_id in record.relied, solved=right)
    return by_version

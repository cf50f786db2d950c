"""What came of each retrieval: one line an example, in ``<library>.outcomes.jsonl`` beside the library.

A line says which version of the library was read, what of it was shown, what the actor relied on, and the score. Any
number of processes may append at once. A process that is killed loses no line that ``add`` returned from; a line that
it was cut short in is passed over at reading. What is old is folded into totals (``outcome_rotation``).

Example:
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> log = OutcomeLog(Path(mkdtemp()) / "dice.json")
    >>> log.add([Outcome("3f2a", "e1", ("a", "b"), 1.0, relied=("a",)), Outcome("3f2a", "e2", ("b",), 0.0)])
    >>> uses(log.read())["3f2a"]["b"]
    Use(shown=2, helped=0, hurt=0, score=1.0)
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
from flex_dspy.evaluation.outcome_rotation import log_files, rotate
from flex_dspy.libraries.experience import Tally
from flex_dspy.libraries.paths import PRIVATE, beside, mode_beside

if TYPE_CHECKING:
    from flex_dspy.evaluation.records import Record

logger = logging.getLogger(__name__)

SOLVED = 1.0  # the score from which what was relied on has helped


@dataclass(frozen=True, slots=True)
class Outcome:
    """One example, answered with a version of a library.

    Attributes:
        version: Content hash of the version; in learning, of the last one published.
        example: The example's id.
        shown: Ids of the entries in the prompt.
        score: The metric's score.
        relied: Ids of those that the actor says it relied on.
        source: What made it, such as ``learn RUN 17``: an example is counted once for a source. Empty for what is
            counted each time.
        count: How many such outcomes this one stands for, where they were folded into one.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    version: str
    example: str
    shown: tuple[str, ...]
    score: float
    relied: tuple[str, ...] = ()
    source: str = ""
    count: int = 1


_JSON = TypeAdapter(Outcome)
_START = b'{"version":'


class OutcomeLog:
    """The outcomes of one library, on the disk.

    Args:
        library_path: The library's file; it need not exist.
    """

    def __init__(self, library_path: str | Path) -> None:
        self.path = beside(library_path, "outcomes.jsonl")
        self._library = library_path
        self._record = SideRecord("the outcomes")

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Append outcomes, each in one write, so that processes do not mix their lines.

        Raises:
            LibraryError: If the file cannot be written.
        """
        self._rotate()
        lines = [_line(outcome) for outcome in outcomes]
        if not lines:
            return
        try:
            file = self._open()
            try:
                lines[0] = b"\n" * _is_cut(file) + lines[0]
                written = sum(os.write(file, line) for line in lines)
            finally:
                os.close(file)
            if written < sum(map(len, lines)):
                raise OSError("the disk is full")
        except OSError as error:
            problem = f"cannot be written: {error.strerror or error}"
            raise LibraryError(self.path, "the outcomes", problem, "Make room or give leave, and go on") from error

    def note(self, outcomes: Iterable[Outcome]) -> None:
        """Append outcomes as ``add`` does; where that fails, a warning says so once, and nothing depends on it."""
        with self._record.attempt():
            self.add(outcomes)

    def _open(self) -> int:
        """The file, to append to; a new one with the permissions of the library."""
        flags, mode = os.O_RDWR | os.O_APPEND | os.O_CREAT, mode_beside(self._library)
        with contextlib.suppress(FileExistsError):
            file = os.open(self.path, flags | os.O_EXCL, 0o666 if mode is None else mode & PRIVATE)
            if mode is not None and os.name != "nt":
                os.fchmod(file, mode)
            return file
        return os.open(self.path, flags)

    def read(self) -> list[Outcome]:
        """All outcomes, oldest first; those that were folded stand for many, and come first.

        Raises:
            LibraryFormatError: If a line is damaged otherwise than by being cut short.
        """
        files = log_files(self.path)
        found = [outcome for path in files for outcome in self._at(path)._read_file()]
        return found if log_files(self.path) == files else self.read()  # another process has begun a new log

    def _at(self, path: Path) -> OutcomeLog:
        """This log with its file elsewhere."""
        other = copy.copy(self)
        other.path = path
        return other

    def _rotate(self) -> None:
        try:
            rotate(self.path, lambda path: self._at(path)._read_file(), lambda some: b"".join(map(_line, some)))
        except (OSError, LibraryError) as error:
            logger.warning("the outcomes in %s go on growing, they cannot be folded: %s", self.path, error)

    def _read_file(self) -> list[Outcome]:
        """All outcomes, oldest first; none where there is no file.

        Raises:
            LibraryFormatError: If a line is damaged otherwise than by being cut short.
            LibraryError: If the file cannot be read.
        """
        if not self.path.exists():
            return []
        try:
            with self.path.open("rb") as file:
                lines = ((number, line.rstrip(b"\r\n")) for number, line in read_lines(file, self.path))
                return [outcome for number, line in lines if (outcome := self._parsed(number, line)) is not None]
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
            raise LibraryError(self.path, "the outcomes", problem, "Move it away to go on without it") from error

    def _parsed(self, number: int, line: bytes) -> Outcome | None:
        # What another process wrote while one was killed may stand behind the piece that this one left.
        start = max(line.rfind(_START), 0)
        try:
            return _JSON.validate_json(line[start:])
        except ValidationError as error:
            if not line.endswith(b"}"):
                return None
            remedy = "Remove the line: that example's outcome is then not counted"
            raise LibraryFormatError(self.path, f"line {number}", "is no outcome", remedy) from error


def _line(outcome: Outcome) -> bytes:
    # A count is written where there is one, so that earlier releases read what was not folded.
    return _JSON.dump_json(outcome, exclude={"count"} if outcome.count == 1 else None) + b"\n"


def _is_cut(file: int) -> bool:
    """Whether the last line of an open file has no end."""
    size = os.fstat(file).st_size
    return size > 0 and os.pread(file, 1, size - 1) != b"\n"


def outcomes_of(version: str, records: Sequence[Record], source: str = "") -> Iterator[Outcome]:
    """The outcomes that an evaluation's records hold; those of examples on which the program failed are left out.

    Args:
        version: Content hash of the library that was measured.
        records: The records.
        source: See ``Outcome``; samples after the first add their number.
    """
    for record in records:
        if not record.error or record.outputs:  # an answer that the metric fails on is a wrong one
            used = set(record.outputs.get("experiences_used") or ())
            relied = tuple(entry_id for entry_id in record.shown if entry_id in used)
            made = f"{source} sample {record.sample}" if source and record.sample else source
            yield Outcome(version, record.example_id, record.shown, record.score, relied, made)


def outcome_of(version: str, example: str, tally: Tally, solved: bool | None, source: str = "") -> Outcome:
    """The outcome of one training example, from what its attempts were shown and relied on."""
    relied = tuple(dict.fromkeys((*tally.helped, *tally.hurt)))
    return Outcome(version, example, tally.shown, float(bool(solved)), relied, source)


@dataclass(frozen=True, slots=True)
class Use:
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


def uses(outcomes: Iterable[Outcome], *, solved: float = SOLVED) -> dict[str, dict[str, Use]]:
    """The use of each entry, by version.

    Args:
        outcomes: What came of retrievals.
        solved: The score from which an example counts as solved.

    Returns:
        By version hash, in the order of their first appearance, and entry id.
    """
    seen: set[tuple[str, str, str]] = set()
    by_version: dict[str, dict[str, Use]] = {}
    for outcome in outcomes:
        key = (outcome.source, outcome.version, outcome.example)
        if outcome.source and key in seen:
            continue
        seen.add(key)
        entries = by_version.setdefault(outcome.version, {})
        for entry_id in outcome.shown:
            use, relied, right = entries.get(entry_id, Use()), entry_id in outcome.relied, outcome.score >= solved
            entries[entry_id] = Use(
                use.shown + outcome.count,
                use.helped + outcome.count * (relied and right),
                use.hurt + outcome.count * (relied and not right),
                use.score + outcome.count * outcome.score,
            )
    return by_version

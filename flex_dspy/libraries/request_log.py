"""The order in which a library learns from rated requests; beside the library there is a file for each place.

    <name>.requests.<place>.jsonl    a header that names the run and the place, then the name of each request
    <name>.requests.<place>.lock     held by the process that learns from that place

The name of a request and its step are on the disk before learning from the request begins. A crash may cut the last
line short; it is then dropped, because its request was not begun. Any other damage is an error. The file does not hold
the requests themselves.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import Timeout

from flex_dspy.core.errors import LibraryError, LibraryFormatError
from flex_dspy.core.lines import read_lines
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import BINARY, make_folder, sync_folder, write_all
from flex_dspy.libraries.locking import NamedLock
from flex_dspy.libraries.paths import PRIVATE, beside, library_path

FORMAT = "flex-dspy-requests/1"
_MEND = "Restore the file from a backup; without it, requests may be learned from twice"


class RequestLog:
    """The order of the requests of one place.

    Args:
        path: The library's file; None keeps the order in memory.
        place: Name of the place.
        library: The library learned so far; its precedents name requests too.

    Attributes:
        run: The run of the commits that come from these requests.
        known: The requests of all places of this library that were or will be learned from.

    Raises:
        LibraryFormatError: If a file is damaged.
        LibraryError: If one cannot be used, or another process learns from this place.
    """

    def __init__(self, path: Path | None, place: str, library: ExperienceLibrary) -> None:
        self.run = f"requests {secrets.token_hex(6)}"
        self.known = _named_in(library)
        self._order: list[str] = []
        self._lock: NamedLock | None = None
        self._path: Path | None = None
        if path is not None:
            digest = hashlib.sha256(place.encode()).hexdigest()[:8]
            self._path = beside(path, f"requests.{digest}.jsonl")
            self._open(path, self._path, place)

    def _open(self, library: Path, path: Path, place: str) -> None:
        with _report_errors(path):
            make_folder(path.parent)
            self._lock = NamedLock(path.with_suffix(".lock"), PRIVATE)
            try:
                self._lock.acquire(0)
            except Timeout:
                problem = f"another process learns from {place}"
                raise LibraryError(path, "the lock", problem, "Let one process do it") from None
            try:
                self._read(path, place)
                for other in _logs_beside(library):
                    self.known.update(trace for line in _lines(other)[1:] if (trace := line.get("trace")))
            except BaseException:
                self.close()
                raise

    def _read(self, path: Path, place: str) -> None:
        lines = _lines(path, shorten=True)
        if lines:
            self.run = str(lines[0].get("run"))
            self._order = [str(line.get("trace")) for line in lines[1:]]
        else:
            _append(path, [{"format": FORMAT, "run": self.run, "place": place}])
            sync_folder(path.parent)

    def after(self, step: int) -> dict[str, int]:
        """The requests after a step, each with its own step."""
        return {trace: place for place, trace in enumerate(self._order[step:], start=step + 1)}

    def append(self, traces: Sequence[str]) -> range:
        """Give the next steps to requests, durably.

        Args:
            traces: Names of the requests.

        Raises:
            LibraryError: If the steps cannot be written. The requests then have no steps.
        """
        first = len(self._order) + 1
        if self._path is not None and traces:
            with _report_errors(self._path):
                _append(self._path, [{"step": first + n, "trace": trace} for n, trace in enumerate(traces)])
        self._order += traces
        self.known.update(traces)
        return range(first, first + len(traces))

    def close(self) -> None:
        """Release the lock, so that another process can learn from the place."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _named_in(library: ExperienceLibrary) -> set[str]:
    """The requests that a library names. They are needed because its file may have been copied without the logs."""
    return {case.trace for entry in (*library, *library.waiting) for case in entry.precedents if case.trace}


def _logs_beside(library: Path) -> Iterator[Path]:
    own = library_path(library)
    yield from sorted(own.parent.glob(f"{own.name.removesuffix('.json')}.requests.*.jsonl"))


def _lines(path: Path, *, shorten: bool = False) -> list[dict[str, Any]]:
    """The lines of a log without a last line that was cut short; ``shorten`` also cuts it off the file."""
    if not path.exists():
        return []
    found: list[dict[str, Any]] = []
    end = 0
    with path.open("rb") as file:
        for number, line in read_lines(file, path):
            if not line.endswith(b"\n"):
                break
            found.append(_read_line(line, path, number))
            end += len(line)
    if shorten and path.stat().st_size > end:
        os.truncate(path, end)
    return found


def _read_line(line: bytes, path: Path, number: int) -> dict[str, Any]:
    """Read a line, and check that its step matches its place in the file."""
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    is_header = isinstance(value, dict) and value.get("format") == FORMAT and isinstance(value.get("run"), str)
    is_request = isinstance(value, dict) and value.get("step") == number - 1 and isinstance(value.get("trace"), str)
    if not (is_header if number == 1 else is_request):
        raise LibraryFormatError(path, f"line {number}", "is damaged", _MEND)
    line_of_log: dict[str, Any] = value
    return line_of_log


def _append(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | BINARY, PRIVATE)
    try:
        size = os.fstat(file).st_size
        try:
            write_all(file, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines).encode())
            os.fsync(file)
        except OSError:
            os.ftruncate(file, size)
            raise
    finally:
        os.close(file)


@contextlib.contextmanager
def _report_errors(path: Path) -> Iterator[None]:
    """Re-raises OS errors as ``LibraryError`` with the path."""
    try:
        yield
    except OSError as error:
        problem = f"cannot be used: {error.strerror or error}"
        raise LibraryError(path, "the file", problem, "Make room or give leave, and go on") from error

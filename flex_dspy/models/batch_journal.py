"""The record of batches, with which a killed run resumes the batches that it began.

Each line is one fact. The facts of a batch come in this order: it is about to be sent, with the ids of its requests; it
was sent, with the provider's id; some of its requests have no answer; an answer was charged. The record holds neither
prompts nor answers.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from flex_dspy.core.errors import BudgetError, RunError
from flex_dspy.core.lines import read_lines


@dataclass(frozen=True, slots=True)
class _Line:
    """One fact about the batch ``label``.

    Attributes:
        label: Our name of the batch.
        requests: Ids of its requests, before it is sent.
        batch: The provider's id, after it was sent.
        unanswered: Ids of requests that have no answer.
        charged: Ids of requests whose answer was charged.
    """

    label: str
    requests: tuple[str, ...] = ()
    batch: str = ""
    unanswered: tuple[str, ...] = ()
    charged: tuple[str, ...] = ()


_JSON = TypeAdapter(_Line)


class BatchJournal:
    """The recorded facts about the batches of a run.

    Args:
        path: The file; None keeps the facts in memory only.

    Raises:
        RunError: If the file cannot be read, or is damaged.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._labels: dict[str, str] = {}  # by the id of a request
        self._requests: dict[str, tuple[str, ...]] = {}  # by label
        self._batches: dict[str, str] = {}  # by label
        self._charged: set[str] = set()
        self._unanswered: set[str] = set()
        self._is_cut = False  # whether the file's last line has no end
        if path is not None and path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        with path.open("rb") as file:
            for number, line in read_lines(file, path):
                self._is_cut = not line.endswith(b"\n")
                try:
                    self._take_in(_JSON.validate_json(line))
                except ValidationError as error:
                    if line.rstrip().endswith(b"}"):  # otherwise a process was killed during the write
                        problem = f"{path}: line {number} is no record of a batch: remove it to go on"
                        raise RunError(problem) from error

    def _take_in(self, line: _Line) -> None:
        if line.requests:
            self._requests[line.label] = line.requests
            self._labels.update(dict.fromkeys(line.requests, line.label))
        if line.batch:
            self._batches[line.label] = line.batch
        self._unanswered.update(line.unanswered)
        self._charged.update(line.charged)

    def _add(self, line: _Line, *, sync: bool = True) -> None:
        """Record a fact.

        Raises:
            BudgetError: If it cannot be written, because a resumed run would then pay again.
        """
        with self._lock:
            self._take_in(line)
            if self.path is None:
                return
            try:
                self._write(self.path, _JSON.dump_json(line, exclude_defaults=True) + b"\n", sync=sync)
            except OSError as error:
                problem = f"the record of batches cannot be written to {self.path}, so a resumed run would pay again"
                raise BudgetError(f"{problem}: {error}") from error

    def _write(self, path: Path, line: bytes, *, sync: bool) -> None:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, b"\n" * self._is_cut + line)
            self._is_cut = False
            if sync:
                os.fsync(file)
        finally:
            os.close(file)

    def label_of(self, request: str) -> str | None:
        """The label of the batch that holds a request; None if no batch holds it."""
        return self._labels.get(request)

    def requests_of(self, label: str) -> tuple[str, ...]:
        """The ids of a batch's requests."""
        return self._requests[label]

    def batch_of(self, label: str) -> str | None:
        """The provider's id of a batch; None if the process ended before it knew the id."""
        return self._batches.get(label)

    def is_unanswered(self, request: str) -> bool:
        """Whether a request was in a batch, but got no answer."""
        return request in self._unanswered

    def is_charged(self, request: str) -> bool:
        """Whether the answer to a request was charged."""
        return request in self._charged

    def begin(self, label: str, requests: Iterable[str]) -> None:
        """Record a batch before it is sent."""
        self._add(_Line(label, requests=tuple(requests)))

    def sent(self, label: str, batch: str) -> None:
        """Record the provider's id of a batch."""
        self._add(_Line(label, batch=batch))

    def give_up(self, label: str, requests: Iterable[str]) -> None:
        """Record requests that have no answer."""
        if ids := tuple(requests):
            self._add(_Line(label, unanswered=ids))

    def charge(self, request: str) -> None:
        """Record that the answer to a request was charged."""
        self._add(_Line(self._labels[request], charged=(request,)), sync=False)

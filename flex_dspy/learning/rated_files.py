"""Reads rated requests from a CSV or JSONL file, one request a row."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.learning.rated_requests import MOST_AT_ONCE, RatedRequest, scaled

_VERDICTS = ("score", "feedback", "reference", "id")


class RatedFile:
    """The rated requests of a CSV or JSONL file.

    The columns are ``input``, ``output``, and ``score`` or ``feedback`` or both. An input or output of several fields
    is an object in JSONL. In CSV it has one column ``input.NAME`` for each field. ``reference`` may hold the right
    answer. ``id`` names the request. A row without ``id`` is identified by its content, so equal rows count once.

    Args:
        path: The file. Rows may be appended while a learner follows the file.
        scale: The lowest and the highest rating; None stands for 0 and 1.

    Attributes:
        name: Permanent name of the file.
    """

    def __init__(self, path: str | Path, scale: tuple[float, float] | None = None) -> None:
        self.path = Path(path)
        self.scale = scale
        self.name = f"file:{self.path.name}"
        if self.path.suffix not in (".csv", ".jsonl"):
            raise ConfigurationError(f"{path}: rated requests are in a .csv or .jsonl file")

    def look(self, known: Container[str]) -> Iterator[Sequence[RatedRequest]]:
        """See ``RatedRequests``."""
        some: list[RatedRequest] = []
        for request in self._requests():
            if request.trace not in known:
                some.append(request)
            if len(some) >= MOST_AT_ONCE:
                yield some
                some = []
        yield some

    def fetch(self, traces: Sequence[str]) -> Iterator[RatedRequest]:
        """See ``RatedRequests``."""
        found = {request.trace: request for request in self._requests()} if traces else {}
        yield from (found[trace] for trace in traces if trace in found)

    def _requests(self) -> Iterator[RatedRequest]:
        """The rows that have a verdict."""
        for number, row in self._rows():
            request = self._request(number, row)
            if request.score is not None or request.feedback or request.reference is not None:
                yield request

    def _rows(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                if self.path.suffix == ".csv":
                    yield from enumerate(csv.DictReader(file), start=1)
                else:
                    yield from self._json_rows(file)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ConfigurationError(f"{self.path}: cannot be read: {error}") from error

    def _json_rows(self, file: Iterator[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n") and not _is_json(line):
                return  # the last line is still being written
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise ConfigurationError(f"{self.path}, line {number}: is not JSON: {error}") from error
                if not isinstance(row, dict):
                    raise ConfigurationError(f"{self.path}, line {number}: is no object")
                yield number, row

    def _request(self, number: int, row: Mapping[str, Any]) -> RatedRequest:
        place = f"{self.path}, row {number}"
        inputs, outputs = _fields(row, "input"), _fields(row, "output")
        if not inputs or not outputs:
            raise ConfigurationError(f"{place}: needs input and output; it has {', '.join(map(str, row)) or 'nothing'}")
        key = str(row.get("id") or "") or _digest([inputs, outputs, *(row.get(name) for name in _VERDICTS)])
        return RatedRequest(
            f"{self.name}#{key}",
            inputs,
            outputs,
            self._score(row.get("score"), place),
            str(row.get("feedback") or ""),
            row.get("reference") if row.get("reference") != "" else None,
        )

    def _score(self, value: Any, place: str) -> float | None:
        if value is None or value == "":
            return None
        try:
            return scaled(float(value), self.scale, f"{place}: the score")
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{place}: the score {value!r} is no number") from error


def _fields(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The fields of ``input`` or ``output``: an object, one value, or columns ``input.NAME``."""
    value = row.get(name)
    if isinstance(value, Mapping):
        return value
    if value not in (None, ""):
        return {name: value}
    start = f"{name}."
    return {key.removeprefix(start): each for key, each in row.items() if str(key).startswith(start)}


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]

"""One observation, and its line in a journal."""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from flex_dspy.core.errors import LibraryFormatError

FORMAT = "flex-dspy-observed/1"
_HEADER = re.compile(rb'\{"format":"' + FORMAT.encode() + rb'","run":"(observed [0-9a-f]{12})"\}\n')
_LINE = re.compile(rb'\{"step":(\d{1,18}),(?:"id":"([0-9a-f]{32})",)?"sum":"([0-9a-f]{16})","observation":(.*)\}\n')
_MEND = "Delete this line to go on without that observation"


@dataclass(frozen=True, slots=True)
class Observation:
    """One answer of a deployed program with its rating, all as text.

    Attributes:
        example_id: The problem's id.
        problem: The problem, as in a ``Precedent``.
        outputs: The program's outputs.
        reference: The right answer; "" if it is not known.
        score: The score; None if there was only a remark.
        feedback: The remark.
        failed: Whether the answer could not be judged; the score then means nothing.
        accepted: Whether the metric itself calls the answer a success; None leaves it to the threshold.
        shown: Ids of the entries in the prompt, as far as they are known.
        relied: Ids of the entries that the program says it relied on.
        steps: Inputs and outputs of each step of a program of several steps, a line each.
        trace: The record that it comes from, as in a ``Precedent``.
        scope: The scope of the future lesson; "" for all.
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
    steps: Annotated[tuple[str, ...], Field(exclude_if=operator.not_)] = ()
    trace: Annotated[str, Field(exclude_if=operator.not_)] = ""
    scope: Annotated[str, Field(exclude_if=operator.not_)] = ""


OBSERVATION_JSON: TypeAdapter[Observation] = TypeAdapter(Observation)


def header_line(run: str) -> bytes:
    """The first line of a journal."""
    return f'{{"format":"{FORMAT}","run":"{run}"}}\n'.encode()


def read_header(line: bytes, path: Path) -> str:
    """The run that a journal's first line names.

    Raises:
        LibraryFormatError: If it is not a valid first line.
    """
    found = _HEADER.fullmatch(line)
    if found is None:
        remedy = "Move the file away to go on without what it holds"
        raise LibraryFormatError(path, "line 1", "is no header of a journal of observations", remedy)
    return found[1].decode()


def read_line(line: bytes, path: Path, number: int) -> tuple[int, Observation]:
    """The observation in line ``number`` of a journal, with its step.

    Raises:
        LibraryFormatError: If the line is damaged.
    """
    found = _LINE.fullmatch(line)
    if found is None or _sum(int(found[1]), found[2] or b"", found[4]) != found[3]:
        raise LibraryFormatError(path, f"line {number}", "does not match its checksum", _MEND)
    try:
        return int(found[1]), OBSERVATION_JSON.validate_json(found[4])
    except ValidationError as error:
        raise LibraryFormatError(path, f"line {number}", "is no observation", _MEND) from error


def observation_line(step: int, known_as: str, body: bytes) -> bytes:
    """A line of a journal.

    Args:
        step: The observation's number in its run.
        known_as: The observation's id; "" for none.
        body: The observation as JSON.
    """
    named = b'"id":"%b",' % known_as.encode() if known_as else b""
    return b'{"step":%d,%b"sum":"%b","observation":%b}\n' % (step, named, _sum(step, known_as.encode(), body), body)


def _sum(step: int, known_as: bytes, body: bytes) -> bytes:
    return hashlib.sha256(b" ".join(filter(None, (b"%d" % step, known_as, body)))).hexdigest()[:16].encode()

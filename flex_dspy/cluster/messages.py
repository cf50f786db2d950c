"""The messages between the driver and its workers. Dask carries them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flex_dspy.core.errors import FlexError


@dataclass(frozen=True, slots=True)
class Place:
    """A snapshot: a line of snapshots, and how far along.

    Attributes:
        line: Id of the line.
        seen: Number of commits.
    """

    line: str
    seen: int


@dataclass(frozen=True, slots=True)
class Commits:
    """Consecutive commits of a line.

    Attributes:
        first: Number of the first.
        bodies: Each as JSON.
    """

    first: int = 1
    bodies: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        work: Digest of the function.
        place: The snapshot that it sees.
        oldest: Number of the oldest snapshot of the line that a call under way sees.
        commits: Those that replicas may lack.
        example: The example, pickled.
        spent: Tokens and US dollars spent so far, by key of the ledger.
    """

    work: str
    place: Place
    oldest: int
    commits: Commits
    example: bytes
    spent: Mapping[str, tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Feed:
    """Everything that a worker lacks for a call.

    Attributes:
        place: The snapshot that must be there afterwards.
        base: A library file's text to start a replica from; None goes on with the replica that is there.
        commits: Those after the base, or after the replica's newest snapshot.
        work: Digest of the function.
        packed: The function, pickled; None where the worker has it.
    """

    place: Place
    base: bytes | None
    commits: Commits
    work: str
    packed: bytes | None


@dataclass(frozen=True, slots=True)
class Gap:
    """The answer of a worker that lacks something for a call.

    Attributes:
        worker: Address of the worker.
        newest: Number of its replica's newest snapshot; None where it has no replica of the line.
        has_work: Whether it has the function.
    """

    worker: str
    newest: int | None
    has_work: bool


@dataclass(frozen=True, slots=True)
class Charge:
    """One answer of a model, to be charged by the driver.

    Attributes:
        ledger: Key of the ledger.
        role: Who asked.
        model: The model string.
        usage: Token counts, as DSPy reports them.
    """

    ledger: str
    role: str
    model: str
    usage: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a worker that made a call.

    Attributes:
        worker: Address of the worker.
        newest: Number of its replica's newest snapshot.
        result: The result.
        error: The error that no other example would survive either.
        charges: The answers of models that it took.
    """

    worker: str
    newest: int
    result: Any
    error: FlexError | None
    charges: tuple[Charge, ...]

"""The messages between the driver and its workers. Dask carries them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flex_dspy.core.errors import FlexError


@dataclass(frozen=True, slots=True)
class Place:
    """Names a snapshot by its line and its position in the line.

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
        first: Number of the first commit.
        bodies: The commits, each as JSON.
    """

    first: int = 1
    bodies: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        work: Digest of the function.
        place: The snapshot that it sees.
        oldest: Number of the oldest snapshot of the line that a running call sees.
        commits: The commits that replicas may lack.
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
        place: The snapshot that the worker must have afterwards.
        base: The text of a library file that a new replica starts from; None keeps the worker's replica.
        commits: The commits after the base, or after the replica's newest snapshot.
        work: Digest of the function.
        packed: The function, pickled; None if the worker has it.
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
        newest: Number of its replica's newest snapshot; None if it has no replica of the line.
        has_work: Whether the worker has the function.
    """

    worker: str
    newest: int | None
    has_work: bool


@dataclass(frozen=True, slots=True)
class Charge:
    """One answer of a model that the driver has to charge.

    Attributes:
        ledger: Key of the ledger.
        role: The role that asked the model.
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
        error: An error that every other example would raise too; it ends the run.
        charges: The model answers that the call used.
    """

    worker: str
    newest: int
    result: Any
    error: FlexError | None
    charges: tuple[Charge, ...]

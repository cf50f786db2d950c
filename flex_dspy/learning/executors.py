"""Where attempts run: a port, with this process as its default.

The contract of an executor:

- It runs ``attempt(example, library)``, here or elsewhere, and gives back the result. Nothing else crosses the port.
- It may run calls in any order, as late as it likes, and one call more than once: attempts change nothing.
- A call whose worker is lost raises ``AttemptLostError``; it is then made again.
- It never changes the result of a run: order, settling, commits and versions stay with the pipeline.

An executor that runs calls in another process sends the attempt there once, and gives it a ledger of that process
(``attempt.writer.ledger``), as a ledger does not travel.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.learning.attempts import AttemptFunction, AttemptResult
from flex_dspy.libraries.library import ExperienceLibrary

MAX_LOSSES = 3  # calls of one example that may be lost before it counts as failed


class AttemptLostError(Exception):
    """A call came to no end, through no fault of its example: its worker died or is out of reach."""


class Executor(Protocol):
    """Runs attempts. See the module for its contract."""

    async def run(self, attempt: AttemptFunction, example: Any, library: ExperienceLibrary) -> AttemptResult:
        """Run one attempt, and wait for its result.

        Args:
            attempt: A call without side effects.
            example: A ``dspy.Example`` or an observation.
            library: The snapshot that the attempt sees.

        Raises:
            AttemptLostError: If its worker is lost.
            FlexError: If no other example would survive the error either.
        """


class LocalExecutor:
    """Runs attempts on this process's event loop.

    Args:
        concurrency: Most attempts under way at once.
    """

    def __init__(self, concurrency: int) -> None:
        self._gate = asyncio.Semaphore(concurrency)

    async def run(self, attempt: AttemptFunction, example: Any, library: ExperienceLibrary) -> AttemptResult:
        """See ``Executor``."""
        async with self._gate:
            return await attempt(example, library)


async def run_until_kept(
    executor: Executor, attempt: AttemptFunction, example: Any, library: ExperienceLibrary
) -> AttemptResult:
    """Run an attempt, and run it again if it is lost.

    Returns:
        Its result; after ``MAX_LOSSES`` lost calls a failure, which counts as an outage.

    Raises:
        ConfigurationError: If the executor gives something else back.
    """
    for _ in range(MAX_LOSSES):
        try:
            result = await executor.run(attempt, example, library)
        except AttemptLostError as error:
            loss = error
            continue
        if not isinstance(result, AttemptResult):
            given = type(result).__name__
            raise ConfigurationError(f"{type(executor).__name__}.run must return the attempt's result, got {given}")
        return result
    return AttemptResult(error=f"the attempt was lost {MAX_LOSSES} times; the last loss: {loss}", outage=True)

"""Where calls of programs run: a port, with this process as its default.

The contract of an executor:

- It runs ``call(example, library)``, here or elsewhere, and gives back the result. Nothing else crosses the port.
- It may run calls in any order, as late as it likes, and one call more than once: calls change nothing.
- A call whose worker is lost raises ``AttemptLostError``; it is then made again.
- It never changes the result of a run: order, settling, commits and versions stay with the caller.

An executor that runs calls in another process sends the function there once. It gives it a ledger of that process, as a
ledger does not travel, and brings back what was charged to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from flex_dspy.libraries.library import ExperienceLibrary

MAX_LOSSES = 3  # calls of one example that may be lost before it counts as failed

Result = TypeVar("Result")


class AttemptLostError(Exception):
    """A call came to no end, through no fault of its example: its worker died or is out of reach."""


class Executor(Protocol):
    """Runs calls. See the module for its contract."""

    async def run(
        self, call: Callable[[Any, ExperienceLibrary], Awaitable[Result]], example: Any, library: ExperienceLibrary, /
    ) -> Result:
        """Run one call, and wait for its result.

        Args:
            call: A function without side effects, such as an attempt.
            example: A ``dspy.Example``, an observation, or another example of the call's.
            library: The snapshot that the call sees.

        Raises:
            AttemptLostError: If its worker is lost.
            FlexError: If no other example would survive the error either.
        """


class LocalExecutor:
    """Runs calls on this process's event loop.

    Args:
        concurrency: Most calls under way at once.
    """

    def __init__(self, concurrency: int) -> None:
        self._gate = asyncio.Semaphore(concurrency)

    async def run(
        self, call: Callable[[Any, ExperienceLibrary], Awaitable[Result]], example: Any, library: ExperienceLibrary, /
    ) -> Result:
        """See ``Executor``."""
        async with self._gate:
            return await call(example, library)


async def run_again_if_lost(
    executor: Executor,
    call: Callable[[Any, ExperienceLibrary], Awaitable[Result]],
    example: Any,
    library: ExperienceLibrary,
) -> Result:
    """Run a call, and run it again on the same snapshot if it is lost.

    Raises:
        AttemptLostError: After ``MAX_LOSSES`` lost calls.
    """
    for _ in range(MAX_LOSSES):
        try:
            return await executor.run(call, example, library)
        except AttemptLostError as error:
            loss = error
    raise AttemptLostError(f"the attempt was lost {MAX_LOSSES} times; the last loss: {loss}") from loss

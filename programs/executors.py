"""Executors run calls of programs. The default executor runs them in this process.

The contract of an executor:

- It runs ``call(example, library)``, here or in another process, and returns the result. It passes no other data.
- It may run calls in any order, at any time, and one call more than once, because calls have no side effects.
- A call whose worker is lost raises ``AttemptLostError``. The caller then makes the call again.
- It never changes the result of a run. The caller is responsible for order, settling, commits and versions.

An executor that runs calls in another process sends the function there once. A ledger cannot be sent, so the function
gets a ledger of that process. The executor returns the amounts that were charged to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from flex_dspy.libraries.library import ExperienceLibrary

MAX_LOSSES = 3  # calls of one example that may be lost before it counts as failed

Result = TypeVar("Result")


class AttemptLostError(Exception):
    """A call did not finish because its worker died or cannot be reached. The example is not at fault."""


class Executor(Protocol):
    """Runs calls. See the module for its contract."""

    async def run(
        self, call: Callable[[Any, ExperienceLibrary], Awaitable[Result]], example: Any, library: ExperienceLibrary, /
    ) -> Result:
        """Run one call, and wait for its result.

        Args:
            call: A function without side effects, such as an attempt.
            example: The argument of the call: a ``dspy.Example``, an observation, or the like.
            library: The snapshot that the call sees.

        Raises:
            AttemptLostError: If its worker is lost.
            FlexError: If the same error would end every other example too.
        """


class LocalExecutor:
    """Runs calls on this process's event loop.

    Args:
        concurrency: Largest number of calls that run at the same time.
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

"""Limits the calls of a server's clients: calls per minute, concurrent calls, and seconds for one call.

Each call runs on a thread, so that the server can answer other clients at the same time. A call that exceeds its time
gets an error as its answer. Its thread continues until it is done, because Python cannot stop a thread. The number of
threads is small, and one client can use at most half of them, so that the other clients are always served.

Example:
    >>> import asyncio
    >>> calls = Calls(CallLimits(outcomes_per_minute=1))
    >>> asyncio.run(calls.run("agent", lambda: "recorded", records=True))
    'recorded'
    >>> asyncio.run(calls.run("agent", lambda: "recorded", records=True))
    Traceback (most recent call last):
    ...
    flex_dspy.core.errors.LimitError: a client may record 1 outcome a minute: try again in 60 s
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass

from flex_dspy.core.errors import LimitError

THREADS = 4


@dataclass(frozen=True, slots=True)
class CallLimits:
    """The limits of one client.

    Attributes:
        calls_per_minute: Most tool calls and resource reads in a minute. All of them may come at once.
        outcomes_per_minute: Most calls in a minute that record an outcome.
        seconds: Longest time from a call to its answer.
    """

    calls_per_minute: int = 600
    outcomes_per_minute: int = 120
    seconds: float = 20.0


class TokenBucket:
    """Token bucket: allows a number of calls per minute, and the same number at once after a pause.

    Args:
        per_minute: Number of calls per minute.
        clock: Monotonic clock, in seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = per_minute, clock
        self._left, self._seen = float(per_minute), clock()

    def take(self) -> float:
        """Take a token for one call and return 0. If there is no token, return the seconds until there is one."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._seen) * self._most / 60)
        self._seen = now
        if self._left < 1:
            return (1 - self._left) * 60 / self._most
        self._left -= 1
        return 0.0


class Calls:
    """Runs the calls of all clients within their limits. Use an instance in only one event loop.

    Args:
        limits: The limits of each client.
    """

    def __init__(self, limits: CallLimits | None = None) -> None:
        self.limits = limits or CallLimits()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="flex-dspy-call")
        # Each client has its own buckets. Clients are named in the server's token file, so they are few.
        self._calls = functools.cache(lambda client: TokenBucket(self.limits.calls_per_minute))
        self._outcomes = functools.cache(lambda client: TokenBucket(self.limits.outcomes_per_minute))
        self._turns = functools.cache(lambda client: asyncio.Semaphore(THREADS // 2))

    async def run(self, client: str, function: Callable[[], str], *, records: bool = False) -> str:
        """Call a function on a thread and return its result.

        Args:
            client: Name of the client.
            function: The function to call.
            records: Whether the call records an outcome.

        Raises:
            LimitError: If the client makes too many calls, or the call takes too long.
        """
        if records:
            _refuse(self._outcomes(client).take(), self.limits.outcomes_per_minute, "record", "outcome")
        _refuse(self._calls(client).take(), self.limits.calls_per_minute, "make", "call")
        try:
            async with asyncio.timeout(self.limits.seconds) as limit:
                return await self._on_thread(self._turns(client), function)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise LimitError(
                f"the call took longer than {self.limits.seconds:g} s and was given up: ask for less, or try again "
                "later if the library has just changed and is being indexed"
            ) from error

    async def _on_thread(self, turn: asyncio.Semaphore, function: Callable[[], str]) -> str:
        loop = asyncio.get_running_loop()

        def give_turn_back(_: Future[str]) -> None:  # when the thread is done, even if the call timed out earlier
            with contextlib.suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(turn.release)

        await turn.acquire()
        running = self._pool.submit(copy_context().run, function)
        running.add_done_callback(give_turn_back)
        return await asyncio.wrap_future(running)


def _refuse(wait: float, per_minute: int, verb: str, what: str) -> None:
    if wait:
        plural = "" if per_minute == 1 else "s"
        raise LimitError(
            f"a client may {verb} {per_minute} {what}{plural} a minute: try again in {max(1, math.ceil(wait))} s"
        )

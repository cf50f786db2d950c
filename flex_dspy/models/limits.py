"""Waiting for a provider's limits: requests and tokens a minute, calls under way, and what it asks by Retry-After.

Of the kept libraries, aiolimiter belongs to one event loop, and warns on the second; pyrate-limiter sleeps in a worker
thread or polls, takes no correction of a weight, and knows no Retry-After. Learning asks from threads and from several
event loops in turn, with weights that are known only afterwards: hence a reservation clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from typing import Any

from flex_dspy.core.errors import ConfigurationError

FIRST_GUESS = 500  # tokens of an answer, before one was seen


class Pace:
    """A reservation clock: says when an amount may start, and books it at once.

    A call starts when what was booked before it is paid off, at ``per_minute``. In no minute does more than
    ``per_minute`` start, plus one second's worth or one call, whichever is more.

    Source: the generic cell rate algorithm (virtual scheduling), ITU-T I.371.

    Args:
        per_minute: The rate; None for no limit.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._seconds = 60 / per_minute if per_minute else 0.0  # that one unit takes
        self._slack = max(0.0, 1.0 - self._seconds)
        self._due = -math.inf

    def reserve(self, amount: float, now: float) -> float:
        """Book an amount.

        Args:
            amount: How many requests or tokens.
            now: Seconds on any clock that does not go back.

        Returns:
            When it may start, in seconds on the same clock.
        """
        start = max(now, self._due - self._slack)
        self.correct(amount, start)
        return start

    def correct(self, amount: float, now: float) -> None:
        """Book more, or with a negative amount less, than was reserved."""
        self._due = max(self._due, now) + amount * self._seconds


class Turn:
    """One call's turn.

    Attributes:
        ready: When it may start, on the clock of its ``Limits``.
        reserved: Tokens booked for it.
    """

    def __init__(self, limits: Limits, ready: float, reserved: int) -> None:
        self.ready = ready
        self.reserved = reserved
        self._limits = limits

    def settle(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Correct the booking to what the call took."""
        self._limits._settle(self, prompt_tokens, completion_tokens)


class Limits:
    """A provider's limits, for every model, thread and event loop that shares them. It waits, and never fails.

    Args:
        requests_per_minute: Most requests a minute.
        tokens_per_minute: Most tokens a minute, sent and received. They are booked by an estimate, which is
            corrected when the answer says what it took.
        concurrency: Most calls under way at once.

    Raises:
        ConfigurationError: If a limit is not positive.

    Example:
        >>> limits = Limits(requests_per_minute=600)
        >>> with limits.turn():
        ...     pass  # ask
    """

    def __init__(
        self,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        concurrency: int | None = None,
    ) -> None:
        bounds = {
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
            "concurrency": concurrency,
        }
        for name, value in bounds.items():
            if value is not None and not 0 < value < math.inf:
                raise ConfigurationError(f"{name} must be positive, got {value}; leave it out for no limit")
        self.bounds = {name: value for name, value in bounds.items() if value is not None}
        self._requests = Pace(requests_per_minute)
        self._tokens = Pace(tokens_per_minute)
        self._free: float = math.inf if concurrency is None else concurrency
        self._queue: deque[Future[None]] = deque()
        self._lock = threading.Lock()
        self._resume = 0.0  # on the monotonic clock
        self._stopped = 0.0  # seconds that our clock stood still so far
        self._answers = 0
        self._written = 0
        self._other: Limits | None = None

    def __copy__(self) -> Limits:
        """Itself: copies of a model share its limits."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Limits:
        """Itself, likewise."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """New limits with the same bounds: what was spent belongs to the process that spent it."""
        names = ("requests_per_minute", "tokens_per_minute", "concurrency")
        return Limits, tuple(self.bounds.get(name) for name in names)

    def __repr__(self) -> str:
        return f"Limits({', '.join(f'{name}={value}' for name, value in self.bounds.items())})"

    @property
    def active(self) -> bool:
        """Whether a call might have to wait."""
        if self._other is not None:
            return self._other.active
        return bool(self.bounds) or time.monotonic() < self._resume

    def follow(self, other: Limits | None) -> None:
        """Wait for other limits from now on, such as those of a whole cluster; None waits for its own again."""
        self._other = other

    @contextlib.contextmanager
    def turn(self, prompt_tokens: int = 0, max_tokens: int | None = None) -> Iterator[Turn]:
        """Wait on this thread for a turn, and hold it within the block.

        Args:
            prompt_tokens: An estimate of what is sent.
            max_tokens: Most tokens of the answer.

        Yields:
            The turn, to be told what the call took.
        """
        if self._other is not None:
            with self._other.turn(prompt_tokens, max_tokens) as turn:
                yield turn
            return
        place = self._join_queue()
        try:
            place.result()
            turn = self._reserve(prompt_tokens, max_tokens)
            while (delay := self._delay(turn)) > 0:
                time.sleep(delay)
            yield turn
        finally:
            self._leave(place)

    @contextlib.asynccontextmanager
    async def aturn(self, prompt_tokens: int = 0, max_tokens: int | None = None) -> AsyncIterator[Turn]:
        """Asynchronous version of ``turn``."""
        if self._other is not None:
            async with self._other.aturn(prompt_tokens, max_tokens) as turn:
                yield turn
            return
        place = self._join_queue()
        try:
            await asyncio.wrap_future(place)
            turn = self._reserve(prompt_tokens, max_tokens)
            while (delay := self._delay(turn)) > 0:
                await asyncio.sleep(delay)
            yield turn
        finally:
            self._leave(place)

    def pause(self, seconds: float) -> None:
        """Start no call for so many seconds. Queued calls keep their order and spacing."""
        if self._other is not None:
            self._other.pause(seconds)
            return
        with self._lock:
            now = time.monotonic()
            until = max(self._resume, now + seconds)
            self._stopped += until - max(self._resume, now)
            self._resume = until

    # -- the clock -----------------------------------------------------------------------------------------

    def _now(self) -> float:
        return max(time.monotonic(), self._resume) - self._stopped

    def _delay(self, turn: Turn) -> float:
        """Seconds until a turn may start; a pause meanwhile makes them more."""
        return turn.ready + self._stopped - time.monotonic()

    def _reserve(self, prompt_tokens: int, max_tokens: int | None) -> Turn:
        with self._lock:
            now = self._now()
            mean = self._written // self._answers if self._answers else FIRST_GUESS
            tokens = prompt_tokens + min(mean, max_tokens or mean)
            ready = max(self._requests.reserve(1, now), self._tokens.reserve(tokens, now))
            return Turn(self, ready, tokens)

    def _settle(self, turn: Turn, prompt_tokens: int, completion_tokens: int) -> None:
        with self._lock:
            self._answers += 1
            self._written += completion_tokens
            self._tokens.correct(prompt_tokens + completion_tokens - turn.reserved, self._now())
            turn.reserved = prompt_tokens + completion_tokens

    # -- places --------------------------------------------------------------------------------------------

    def _join_queue(self) -> Future[None]:
        """A place among the calls under way: a future of the standard library serves threads and loops alike."""
        place: Future[None] = Future()
        with self._lock:
            if self._free > 0:
                self._free -= 1
                place.set_result(None)
            else:
                self._queue.append(place)
        return place

    def _leave(self, place: Future[None]) -> None:
        """Pass a place on to the next who waits; one that was never reached is only given up."""
        if place.cancel() or place.cancelled():
            return
        with self._lock:
            while self._queue:
                following = self._queue.popleft()
                if following.set_running_or_notify_cancel():
                    following.set_result(None)
                    return
            self._free += 1

"""Rate limits of a provider: requests and tokens a minute, concurrent calls, and waits by Retry-After.

Of the maintained libraries, aiolimiter works with one event loop only, and warns on the second. pyrate-limiter sleeps
in a worker thread or polls, cannot correct a weight, and does not support Retry-After. Learning asks from threads and
from several event loops in turn, and the weights are known only afterwards. This module therefore uses a reservation
clock.
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

FIRST_GUESS = 500  # estimated tokens of an answer, before the first answer


class Pace:
    """A reservation clock: returns when an amount may start, and books it immediately.

    A call starts when everything booked before it has been worked off at the rate ``per_minute``. In any minute, at
    most ``per_minute`` starts, plus the amount of one second or one call, whichever is more.

    Source: the generic cell rate algorithm (virtual scheduling), ITU-T I.371.

    Args:
        per_minute: The rate; None for no limit.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._seconds = 60 / per_minute if per_minute else 0.0  # for one unit
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
    """The turn of one call.

    Attributes:
        ready: When the call may start, in seconds on the clock of its ``Limits``.
        reserved: Tokens booked for the call.
    """

    def __init__(self, limits: Limits, ready: float, reserved: int) -> None:
        self.ready = ready
        self.reserved = reserved
        self._limits = limits

    def settle(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Correct the booking to the tokens that the call used."""
        self._limits._settle(self, prompt_tokens, completion_tokens)


class Limits:
    """A provider's limits, shared by models, threads and event loops. Calls wait; they never fail because of limits.

    Args:
        requests_per_minute: Largest number of requests a minute.
        tokens_per_minute: Largest number of tokens a minute, sent and received. They are booked by an estimate, which
            is corrected when the answer reports its usage.
        concurrency: Largest number of concurrent calls.

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
        self._stopped = 0.0  # seconds of all pauses so far, during which the clock stood still
        self._answers = 0
        self._written = 0
        self._other: Limits | None = None

    def __copy__(self) -> Limits:
        """Return the object itself, so that copies of a model share its limits."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Limits:
        """Return the object itself, as for ``__copy__``."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the bounds only, because the bookings belong to this process."""
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
        """Use other limits from now on, such as those of a whole cluster; None returns to its own limits."""
        self._other = other

    @contextlib.contextmanager
    def turn(self, prompt_tokens: int = 0, max_tokens: int | None = None) -> Iterator[Turn]:
        """Wait on this thread for a turn, and hold it within the block.

        Args:
            prompt_tokens: An estimate of the tokens sent.
            max_tokens: Largest number of tokens of the answer.

        Yields:
            The turn; call its ``settle`` with the tokens that were used.
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
        """Start no call for this number of seconds. Queued calls keep their order and spacing."""
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
        """Seconds until a turn may start. A pause in the meantime makes the wait longer."""
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
        """Queue for a place among the concurrent calls. The future works for threads and for event loops."""
        place: Future[None] = Future()
        with self._lock:
            if self._free > 0:
                self._free -= 1
                place.set_result(None)
            else:
                self._queue.append(place)
        return place

    def _leave(self, place: Future[None]) -> None:
        """Pass a place on to the next call in the queue. If the place was never reached, only leave the queue."""
        if place.cancel() or place.cancelled():
            return
        with self._lock:
            while self._queue:
                following = self._queue.popleft()
                if following.set_running_or_notify_cancel():
                    following.set_result(None)
                    return
            self._free += 1

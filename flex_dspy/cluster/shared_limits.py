"""Limits that wait at the scheduler: the limits of a worker's models and of the driver's own models."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from flex_dspy.cluster.desk import Desk, desk
from flex_dspy.cluster.turns import END, PAUSE, TAKE
from flex_dspy.cluster.worker_ledger import learn_spent
from flex_dspy.models.limits import Limits, Turn


class SharedTurn(Turn):
    """A turn that was taken at the scheduler."""

    def __init__(self, limits: Limits, number: int) -> None:
        super().__init__(limits, 0.0, 0)
        self.number = number
        self.took = (0, 0)

    def settle(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Keep the token counts of the call. They are reported at its end."""
        self.took = (self.took[0] + prompt_tokens, self.took[1] + completion_tokens)


class SharedLimits(Limits):
    """Limits whose clock is the scheduler's.

    Args:
        key: Their key at the scheduler.
        bounds: See ``Limits``.
        at: The desk; None takes the desk of the process, which must then be a worker.
    """

    def __init__(self, key: str, bounds: Mapping[str, Any], at: Desk | None = None) -> None:
        super().__init__(**bounds)
        self.key = key
        self._desk = at

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedLimits, (self.key, self.bounds)

    @property
    def active(self) -> bool:
        """Always True, because only the scheduler knows whether a call has to wait."""
        return True

    @contextlib.contextmanager
    def turn(self, prompt_tokens: int = 0, max_tokens: int | None = None) -> Iterator[Turn]:
        """See ``Limits.turn``."""
        taken = self._taken(self._take(prompt_tokens, max_tokens).result())
        try:
            yield taken
        finally:
            self._end(taken)

    @contextlib.asynccontextmanager
    async def aturn(self, prompt_tokens: int = 0, max_tokens: int | None = None) -> AsyncIterator[Turn]:
        """See ``Limits.aturn``."""
        taken = self._taken(await asyncio.wrap_future(self._take(prompt_tokens, max_tokens)))
        try:
            yield taken
        finally:
            self._end(taken)

    def pause(self, seconds: float) -> None:
        """See ``Limits.pause``."""
        self._at.ask(PAUSE, key=self.key, bounds=self.bounds, seconds=seconds)

    @property
    def _at(self) -> Desk:
        found = self._desk or desk()
        assert found is not None  # noqa: S101 (a worker opens it before its first call)
        return found

    def _take(self, prompt_tokens: int, max_tokens: int | None) -> Future[Any]:
        return self._at.ask(
            TAKE,
            key=self.key,
            bounds=self.bounds,
            holder=self._at.holder,
            prompt_tokens=prompt_tokens,
            max_tokens=max_tokens,
        )

    def _taken(self, reply: Mapping[str, Any]) -> SharedTurn:
        learn_spent(reply["spent"])
        return SharedTurn(self, reply["turn"])

    def _end(self, taken: SharedTurn) -> None:
        prompt_tokens, completion_tokens = taken.took
        self._at.ask(END, number=taken.number, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)

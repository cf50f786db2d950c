"""The limits of all processes together, kept at the scheduler: one clock for each provider, and the spending so far.

A call of a language model takes a turn at the scheduler, and ends the turn when it is answered. If a worker or a driver
is lost, its turns end too. The scheduler therefore needs flex-dspy, as the workers do.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from distributed import Scheduler
from distributed.diagnostics.plugin import SchedulerPlugin

from flex_dspy.models.limits import Limits, Turn

TAKE, END, PAUSE, SPEND = "flex_dspy_take_turn", "flex_dspy_end_turn", "flex_dspy_pause", "flex_dspy_spend"


@dataclass(frozen=True)
class _Taken:
    """A turn that was taken and has not ended.

    Attributes:
        holder: Address of the worker, or id of the client.
        turn: The turn.
        context: Holds the place among the calls under way.
    """

    holder: str
    turn: Turn
    context: AbstractAsyncContextManager[Turn]


class TurnKeeper(SchedulerPlugin):
    """Keeps the limits. The key of a limit or a ledger begins with the id of the client that owns it."""

    name = "flex-dspy-turns"
    idempotent = True

    def __init__(self) -> None:
        self._limits: dict[str, Limits] = {}
        self._taken: dict[int, _Taken] = {}
        self._numbers = itertools.count(1)
        self._spent: dict[str, tuple[int, float]] = {}

    async def start(self, scheduler: Scheduler) -> None:
        """Offer the four operations to workers and clients."""
        self._scheduler = scheduler
        scheduler.handlers.update({TAKE: self.take, END: self.end, PAUSE: self.pause, SPEND: self.spend})

    async def take(
        self, key: str, bounds: Mapping[str, Any], holder: str, prompt_tokens: int, max_tokens: int | None
    ) -> dict[str, Any]:
        """Wait for a turn.

        Args:
            key: Key of the limits.
            bounds: Their bounds.
            holder: Address of the worker, or id of the client, that asks.
            prompt_tokens: An estimate of what is sent.
            max_tokens: Most tokens of the answer.

        Returns:
            The number of the turn, and the spending so far by key of the ledger.
        """
        context = self._limits_of(key, bounds).aturn(prompt_tokens, max_tokens)
        turn, number = await context.__aenter__(), next(self._numbers)
        self._taken[number] = _Taken(holder, turn, context)
        if holder not in self._scheduler.workers and holder not in self._scheduler.clients:  # lost while it waited
            await self.end(number)
        owner = key.partition("/")[0]
        return {"turn": number, "spent": {name: spent for name, spent in self._spent.items() if name.startswith(owner)}}

    async def end(self, number: int, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """End a turn. Replace its estimated token counts by the real ones if they are known."""
        taken = self._taken.pop(number, None)
        if taken is None:
            return
        if prompt_tokens or completion_tokens:
            taken.turn.settle(prompt_tokens, completion_tokens)
        await taken.context.__aexit__(None, None, None)

    async def pause(self, key: str, bounds: Mapping[str, Any], seconds: float) -> None:
        """Start no call under these limits for ``seconds`` seconds."""
        self._limits_of(key, bounds).pause(seconds)

    async def spend(self, key: str, tokens: int, usd: float) -> None:
        """Note the tokens and US dollars of an answer; ``key`` is the key of the ledger."""
        before = self._spent.get(key, (0, 0.0))
        self._spent[key] = (before[0] + tokens, before[1] + usd)

    async def remove_worker(self, scheduler: Scheduler, worker: str, **kwargs: Any) -> None:
        """End the turns of a worker that is gone."""
        await self._end_all(worker)

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        """Forget the limits of a driver that is gone, and all turns of these limits."""
        for known in (self._limits, self._spent):
            for key in [key for key in known if key.startswith(f"{client}/")]:
                del known[key]
        self._ending = asyncio.ensure_future(self._end_all(client))

    async def _end_all(self, holder: str) -> None:
        for number in [number for number, taken in self._taken.items() if taken.holder == holder]:
            await self.end(number)

    def _limits_of(self, key: str, bounds: Mapping[str, Any]) -> Limits:
        if key not in self._limits:
            self._limits[key] = Limits(**bounds)
        return self._limits[key]

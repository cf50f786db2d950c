"""Makes many calls at once, up to a limit. Calls under way can finish when a budget is spent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from flex_dspy.core.errors import BudgetError

T = TypeVar("T")


async def gather_calls(calls: Sequence[Callable[[], Awaitable[T]]], gate: asyncio.Semaphore) -> list[T]:
    """Make calls concurrently and return their results in order. The calls also start in order.

    Args:
        calls: Functions without parameters.
        gate: Limits how many calls are under way.

    Raises:
        BudgetError: If a call raised it. No new call starts then, and the calls under way finish first.
        Exception: The first other error of a call. The calls under way are cancelled.
    """
    results: dict[int, T] = {}
    refusals: list[BudgetError] = []

    async def make(place: int, call: Callable[[], Awaitable[T]]) -> None:
        async with gate:
            if refusals:
                return
            try:
                results[place] = await call()
            except BudgetError as error:
                refusals.append(error)

    try:
        async with asyncio.TaskGroup() as group:
            for place, call in enumerate(calls):
                group.create_task(make(place, call))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    if refusals:
        raise refusals[0]
    return [results[place] for place in range(len(calls))]

"""The connection to the scheduler that a process uses to take turns and to report its spending."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any

from distributed import Client, Worker

from flex_dspy.cluster.turns import SPEND


class Desk:
    """Takes turns at the scheduler for this process.

    Args:
        owner: The worker or the client whose connection to the scheduler is used.
    """

    def __init__(self, owner: Worker | Client) -> None:
        self._owner = owner
        self.holder: str = owner.address if isinstance(owner, Worker) else owner.id

    def ask(self, operation: str, **arguments: Any) -> Future[Any]:
        """Ask the scheduler, from any thread."""

        async def send() -> Any:
            return await getattr(self._owner.scheduler, operation)(**arguments)

        sending: Coroutine[Any, Any, Any] = send()
        return asyncio.run_coroutine_threadsafe(sending, self._owner.loop.asyncio_loop)

    def spend(self, key: str, tokens: int, usd: float) -> None:
        """Report the tokens and the cost of an answer to the scheduler, without waiting for a reply."""
        self.ask(SPEND, key=key, tokens=tokens, usd=usd)


class _Desks:
    """Holds the desk of this process as soon as there is a connection."""

    current: Desk | None = None


def open_desk(owner: Worker | Client) -> None:
    """Open the desk of this process: it takes turns over this connection from now on."""
    _Desks.current = Desk(owner)


def desk() -> Desk | None:
    """The desk of this process; None if the process is no worker."""
    return _Desks.current

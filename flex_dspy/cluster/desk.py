"""The connection over which a process takes turns at the scheduler, and tells it what was spent."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any

from distributed import Client, Worker

from flex_dspy.cluster.turns import SPEND


class Desk:
    """Where this process takes turns.

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
        """Tell the scheduler what an answer took, and do not wait."""
        self.ask(SPEND, key=key, tokens=tokens, usd=usd)


class _Desks:
    """The desk of this process, once there is a connection."""

    current: Desk | None = None


def open_desk(owner: Worker | Client) -> None:
    """Take turns over this connection from now on."""
    _Desks.current = Desk(owner)


def desk() -> Desk | None:
    """The desk of this process; None where it is no worker."""
    return _Desks.current

"""Messages to workers, carried by Dask. Everything here runs on the event loop of Dask's client."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from distributed import Client, Future
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker, NoValidWorkerError

from flex_dspy.cluster.messages import Answer, Call, Feed, Gap
from flex_dspy.cluster.worker import run_call, take_feed
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.programs.executors import AttemptLostError

_WAIT = 20.0  # seconds between two checks that the cluster has a worker
_MOST_LOOKS = 3  # checks without a worker, after which a call counts as lost


class DaskTransport:
    """See ``flex_dspy.cluster.dispatch.Transport``.

    Args:
        client: The client.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def submit(self, call: Call, preferred: str | None) -> Answer | Gap:
        """See ``Transport``. A call counts as lost after as many lost workers as the scheduler allows."""
        where: dict[str, Any] = {} if preferred is None else {"workers": [preferred], "allow_other_workers": True}
        try:
            future = self._client.submit(run_call, call, key=f"flex-dspy-{uuid.uuid4().hex}", pure=False, **where)
            try:
                return await self._wait(future)
            finally:
                future.release()
        except (KilledWorker, NoValidWorkerError, FutureCancelledError, OSError) as error:
            raise AttemptLostError(f"{type(error).__name__}: {error}") from error

    async def _wait(self, future: Future) -> Answer | Gap:
        """Wait for a result as long as the cluster has workers."""
        waiting = asyncio.ensure_future(future._result())
        looks = 0
        try:
            while not (await asyncio.wait({waiting}, timeout=_WAIT))[0]:
                looks = 0 if await self._client.nthreads() else looks + 1
                if looks == _MOST_LOOKS:
                    raise AttemptLostError("the cluster has no worker")
            reply: Answer | Gap = waiting.result()
            return reply
        finally:
            waiting.cancel()

    async def feed(self, worker: str, feed: Feed) -> None:
        """See ``Transport``."""
        try:
            replies = await self._client.run(take_feed, feed, workers=[worker])
        except (OSError, ValueError):  # the worker is gone
            return
        for problem in filter(None, replies.values()):
            raise ConfigurationError(
                f"worker {worker} cannot unpack the program or the metric: {problem}. Install the same packages there, "
                "and send modules of your own with Client.upload_file"
            )

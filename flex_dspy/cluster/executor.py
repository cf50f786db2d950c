"""The executor that runs calls on a Dask cluster."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self, TypeVar

import cloudpickle
from distributed import Client

from flex_dspy.cluster.connection import connect
from flex_dspy.cluster.dask_transport import DaskTransport
from flex_dspy.cluster.dispatch import Dispatcher
from flex_dspy.cluster.messages import Answer
from flex_dspy.cluster.packing import Keys, Packed, pack
from flex_dspy.cluster.preflight import check_models
from flex_dspy.cluster.sharing import Sharing
from flex_dspy.libraries.library import ExperienceLibrary

Result = TypeVar("Result")

_MOST_FUNCTIONS = 8  # number of packed functions that are kept


class DaskExecutor:
    """Runs calls on the workers of a Dask cluster. See ``flex_dspy.programs.executors.Executor``.

    Args:
        cluster: Address of a scheduler (``tcp://head:8786``, ``tls://head:8786``), ``local:N`` for N worker processes
            on this machine, or a ``distributed.Client``; None takes the scheduler of ``DASK_SCHEDULER_ADDRESS``.
        concurrency: With ``local:N``, the largest number of simultaneous calls of all processes together.

    Raises:
        ConfigurationError: If there is no such cluster, or a worker cannot do the work.

    Example:
        >>> with DaskExecutor("local:2") as cluster:  # doctest: +SKIP
        ...     ForwardLearning(metric, executor=cluster).compile(actor, trainset=train)
    """

    def __init__(self, cluster: str | Client | None = None, *, concurrency: int = 16) -> None:
        self._connection = connect(cluster, concurrency)
        self.client = self._connection.client
        self._keys = Keys(self.client.id)
        self._sharing = Sharing(self.client)
        self._dispatcher = Dispatcher(DaskTransport(self.client))
        self._guard = threading.Lock()
        self._packed: OrderedDict[int, tuple[Any, Packed]] = OrderedDict()  # by id; the function keeps its id taken

    async def run(
        self, call: Callable[[Any, ExperienceLibrary], Awaitable[Result]], example: Any, library: ExperienceLibrary, /
    ) -> Result:
        """See ``Executor``."""
        packed = self._pack(call)
        for ledger in packed.ledgers.values():
            ledger.check()
        with self._dispatcher.line(library) as line:
            answer = await self._on_loop(self._dispatcher.call(packed, line, library, cloudpickle.dumps(example)))
        for charge in answer.charges:
            packed.ledgers[charge.ledger].charge(charge.role, charge.model, charge.usage)
        if answer.error is not None:
            raise answer.error
        result: Result = answer.result
        return result

    def close(self) -> None:
        """Disconnect from the cluster. The worker processes of ``local:N`` end."""
        self._sharing.end()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _on_loop(self, coroutine: Coroutine[Any, Any, Answer]) -> asyncio.Future[Answer]:
        """Run a coroutine on the client's event loop. The caller may be on another loop."""
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.client.loop.asyncio_loop))

    def _pack(self, function: Any) -> Packed:
        with self._guard:
            if id(function) not in self._packed:
                packed = pack(function, self._keys)
                check_models(self.client, packed.models)
                self._sharing.share(packed.limits, packed.ledgers)
                self._packed[id(function)] = (function, packed)
                if len(self._packed) > _MOST_FUNCTIONS:
                    self._packed.popitem(last=False)
            return self._packed[id(function)][1]

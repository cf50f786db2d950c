"""The executor that runs calls on a Dask cluster."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self, TypeVar

import cloudpickle
from distributed import Client
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker, NoValidWorkerError

from flex_dspy.cluster.connection import connect
from flex_dspy.cluster.line import Line
from flex_dspy.cluster.messages import Answer, Call, Commits, Feed, Gap, Place
from flex_dspy.cluster.packing import Packed, pack
from flex_dspy.cluster.preflight import check_models
from flex_dspy.cluster.worker import run_call, take_feed
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.change_log import ChangeLog
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs.executors import AttemptLostError

Result = TypeVar("Result")

_MOST_COMMITS = 256  # that a call carries; a replica that lacks more is fed apart
_MOST_FEEDS = 10  # of one call, before it counts as lost
_MOST_KEPT = 8  # functions and lines
_WAIT = 20.0  # seconds between two looks whether there is a worker at all


class DaskExecutor:
    """Runs calls on the workers of a Dask cluster. See ``flex_dspy.programs.executors.Executor``.

    Args:
        cluster: Address of a scheduler (``tcp://head:8786``, ``tls://head:8786``), ``local:N`` for N worker processes
            on this machine, or a ``distributed.Client``; None takes the scheduler of ``DASK_SCHEDULER_ADDRESS``.
        concurrency: With ``local:N``, most calls at once of all its processes together.

    Raises:
        ConfigurationError: If there is no such cluster, or a worker cannot do the work.

    Example:
        >>> with DaskExecutor("local:2") as cluster:  # doctest: +SKIP
        ...     ForwardLearning(metric, executor=cluster).compile(actor, trainset=train)
    """

    def __init__(self, cluster: str | Client | None = None, *, concurrency: int = 16) -> None:
        self._connection = connect(cluster, concurrency)
        self.client = self._connection.client
        self._guard = threading.Lock()
        self._packed: OrderedDict[int, tuple[Any, Packed]] = OrderedDict()
        self._lines: OrderedDict[ChangeLog, Line] = OrderedDict()
        self._known: dict[str, dict[str, int]] = defaultdict(dict)  # by line and worker, number of the newest snapshot
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # a worker is fed by one call at a time

    async def run(
        self, call: Callable[[Any, ExperienceLibrary], Awaitable[Result]], example: Any, library: ExperienceLibrary, /
    ) -> Result:
        """See ``Executor``."""
        packed = self._pack(call)
        for ledger in packed.ledgers.values():
            ledger.check()
        with self._guard:
            line = self._line_of(library)
            line.begin(library.seen)
        try:
            answer = await self._on_loop(self._call(packed, line, library, cloudpickle.dumps(example)))
        finally:
            with self._guard:
                line.end(library.seen)
        for charge in answer.charges:
            packed.ledgers[charge.ledger].charge(charge.role, charge.model, charge.usage)
        if answer.error is not None:
            raise answer.error
        result: Result = answer.result
        return result

    def close(self) -> None:
        """Let go of the cluster; the worker processes of ``local:N`` end."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _on_loop(self, coroutine: Coroutine[Any, Any, Answer]) -> asyncio.Future[Answer]:
        """Run on the client's event loop, from whichever loop the caller is on."""
        loop = self.client.loop.asyncio_loop
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))

    # -- the driver's side of functions and replicas -------------------------------------------------------

    def _pack(self, function: Any) -> Packed:
        with self._guard:
            known = self._packed.get(id(function))
            if known is None:
                known = self._packed[id(function)] = (function, pack(function))
                check_models(self.client, known[1].models)
                if len(self._packed) > _MOST_KEPT:
                    self._packed.popitem(last=False)
            return known[1]

    def _line_of(self, library: ExperienceLibrary) -> Line:
        """The line of a snapshot; a new one where the commits to it are not known."""
        line = self._lines.get(library.log)
        if line is None or not line.advance(library):
            line = self._lines[library.log] = Line(library)
        self._lines.move_to_end(library.log)
        while len(self._lines) > _MOST_KEPT:
            self._known.pop(self._lines.popitem(last=False)[1].id, None)
        return line

    # -- on the client's event loop ------------------------------------------------------------------------

    async def _call(self, packed: Packed, line: Line, library: ExperienceLibrary, example: bytes) -> Answer:
        """Make a call, and feed the worker that lacks something for it."""
        preferred = None
        for _ in range(_MOST_FEEDS):
            reply = await self._submit(self._message(packed, line, library.seen, example), preferred)
            if isinstance(reply, Answer):
                self._known[line.id][reply.worker] = reply.newest
                return reply
            preferred = reply.worker
            async with self._turns[preferred]:
                await self._feed(packed, line, library, reply)
        raise AttemptLostError(f"worker {preferred} could not be brought up to date")

    def _message(self, packed: Packed, line: Line, seen: int, example: bytes) -> Call:
        spent = {key: (ledger.total.tokens, ledger.total.usd) for key, ledger in packed.ledgers.items()}
        with self._guard:
            furthest_behind = min(self._known[line.id].values(), default=line.newest)
            commits = line.after(max(furthest_behind, line.newest - _MOST_COMMITS)) or Commits()
            return Call(packed.digest, Place(line.id, seen), line.oldest, commits, example, spent)

    async def _submit(self, call: Call, preferred: str | None) -> Answer | Gap:
        """Have Dask make a call on a worker: if it can, the preferred one.

        Raises:
            AttemptLostError: If the worker is lost as often as the scheduler allows, or the scheduler is.
        """
        where = {} if preferred is None else {"workers": [preferred], "allow_other_workers": True}
        future = self.client.submit(run_call, call, key=f"flex-dspy-{uuid.uuid4().hex}", pure=False, **where)
        try:
            return await self._wait(future)
        except (KilledWorker, NoValidWorkerError, FutureCancelledError, OSError) as error:
            self._known[call.place.line].clear()
            raise AttemptLostError(f"{type(error).__name__}: {error}") from error
        finally:
            future.release()

    async def _wait(self, future: Any) -> Answer | Gap:
        """Wait for a result, as long as there are workers."""
        result = asyncio.ensure_future(future._result())
        try:
            without = 0
            while not (await asyncio.wait({result}, timeout=_WAIT))[0]:
                without = 0 if await self.client.nthreads() else without + 1
                if without > 2:
                    raise AttemptLostError("the cluster has no worker")
            reply: Answer | Gap = result.result()
            return reply
        finally:
            result.cancel()

    async def _feed(self, packed: Packed, line: Line, library: ExperienceLibrary, gap: Gap) -> None:
        """Give a worker what it lacks for a call.

        Raises:
            ConfigurationError: If the worker cannot unpack the function.
        """
        feed = await self._make_feed(packed, line, library, gap)
        try:
            replies = await self.client.run(take_feed, feed, workers=[gap.worker])
        except (OSError, ValueError):  # it is gone: the call goes to another
            return
        for worker, problem in replies.items():
            if problem:
                raise ConfigurationError(
                    f"worker {worker} cannot unpack the program or the metric: {problem}. Install the same packages "
                    "there, and send modules of your own with Client.upload_file"
                )

    async def _make_feed(self, packed: Packed, line: Line, library: ExperienceLibrary, gap: Gap) -> Feed:
        place, content = Place(line.id, library.seen), None if gap.has_work else packed.content
        is_behind = gap.newest is not None and gap.newest < library.seen
        with self._guard:
            commits = line.after(gap.newest) if is_behind and gap.newest is not None else None
        if commits is not None:
            return Feed(place, None, commits, packed.digest, content)
        if library.seen < line.base.seen:  # the replica has moved on, and the base too
            base, after = await asyncio.to_thread(lambda: library.to_json().encode()), library.seen
        else:
            base, after = await asyncio.to_thread(line.base_text), line.base.seen
        with self._guard:
            return Feed(place, base, line.after(after) or Commits(), packed.digest, content)

"""The work of a worker process. It keeps replicas and functions, and runs calls on one event loop.

Dask calls ``run_call`` on one of its threads, which only waits. The calls of a process share an event loop, so that
clients of language models keep their connections, and a process serves as many calls at once as it has threads.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import cloudpickle
import dspy
from distributed import Worker, get_worker

from flex_dspy.cluster.desk import desk, open_desk
from flex_dspy.cluster.messages import Answer, Call, Charge, Feed, Gap, Place
from flex_dspy.cluster.packing import unpack
from flex_dspy.cluster.replica import Replica
from flex_dspy.cluster.worker_ledger import CHARGES, learn_spent
from flex_dspy.core.errors import FlexError
from flex_dspy.libraries.library import ExperienceLibrary

_MOST = 8  # replicas and functions that a process keeps; the least recently used go first

Function = Callable[[Any, ExperienceLibrary], Awaitable[Any]]
Kept = TypeVar("Kept")


class Site:
    """Replicas, functions and the event loop of one worker process."""

    def __init__(self) -> None:
        self._guard = threading.RLock()
        self._replicas: OrderedDict[str, Replica] = OrderedDict()
        self._functions: OrderedDict[str, tuple[Function, Mapping[str, Any]]] = OrderedDict()

    @functools.cached_property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the calls. It runs on a thread of its own."""
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, name="flex-dspy-calls", daemon=True).start()
        return loop

    def feed(self, feed: Feed) -> None:
        """Take the content of a feed into this process."""
        with self._guard:
            if feed.packed is not None and feed.work not in self._functions:
                _keep(self._functions, feed.work, unpack(feed.packed))
            replica = self._replicas.get(feed.place.line)
            if replica is not None and replica.get(feed.place.seen) is not None:
                return
            if feed.base is not None:
                replica = Replica(ExperienceLibrary.from_json(feed.base, "the library of the driver"))
                _keep(self._replicas, feed.place.line, replica)
            if replica is not None:
                replica.apply(feed.commits)

    def find(self, call: Call) -> tuple[Function, Mapping[str, Any], ExperienceLibrary, int] | None:
        """The function, its settings, the snapshot and the replica's newest number; None if one of them is not here."""
        with self._guard:
            replica, found = self._replicas.get(call.place.line), self._functions.get(call.work)
            if replica is None or found is None:
                return None
            replica.apply(call.commits)
            replica.forget(call.oldest)
            snapshot = replica.get(call.place.seen)
            if snapshot is None:
                return None
            self._replicas.move_to_end(call.place.line)
            self._functions.move_to_end(call.work)
            return *found, snapshot, replica.newest

    def gap(self, place: Place, work: str, worker: str) -> Gap:
        """A report of which things that a call needs are here, and which are not."""
        with self._guard:
            replica = self._replicas.get(place.line)
            return Gap(worker, None if replica is None else replica.newest, work in self._functions)


def _keep(kept: OrderedDict[str, Kept], name: str, value: Kept) -> None:
    kept[name] = value
    while len(kept) > _MOST:
        kept.popitem(last=False)


SITE = Site()


def run_call(call: Call) -> Answer | Gap:
    """Run one call on a thread of a Dask worker."""
    worker = get_worker().address
    if desk() is None:
        open_desk(get_worker())
    learn_spent(call.spent)
    found = SITE.find(call)
    if found is None:
        return SITE.gap(call.place, call.work, worker)
    function, settings, snapshot, newest = found
    charges: list[Charge] = []
    making = _make(function, settings, snapshot, cloudpickle.loads(call.example), charges)
    result, error = asyncio.run_coroutine_threadsafe(making, SITE.loop).result()
    return Answer(worker, newest, result, error, tuple(charges))


async def _make(
    function: Function, settings: Mapping[str, Any], snapshot: ExperienceLibrary, example: Any, charges: list[Charge]
) -> tuple[Any, FlexError | None]:
    with dspy.context(**settings), CHARGES.within(charges):
        try:
            return await function(example, snapshot), None
        except FlexError as error:
            return None, error


async def take_feed(feed: Feed, dask_worker: Worker) -> str:
    """Take in a feed while calls of the worker continue. ``Client.run`` calls this function.

    Returns:
        The error message if the function could not be unpacked, otherwise "".
    """
    try:
        await asyncio.to_thread(SITE.feed, feed)
    except Exception as error:  # the driver reports it and names the worker
        return f"{type(error).__name__}: {error}"
    return ""

"""Sends calls to workers, and sends each replica the commits that it lacks. It does not depend on Dask."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from typing import Protocol

from flex_dspy.cluster.line import Line
from flex_dspy.cluster.messages import Answer, Call, Commits, Feed, Gap, Place
from flex_dspy.cluster.packing import Packed
from flex_dspy.libraries.change_log import ChangeLog
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs.executors import AttemptLostError

_MOST_COMMITS = 256  # carried by one call; a replica that lacks more gets a separate feed
_MOST_FEEDS = 10  # for one call, after which the call counts as lost
_MOST_LINES = 8


class Transport(Protocol):
    """Carries messages to workers."""

    async def submit(self, call: Call, preferred: str | None) -> Answer | Gap:
        """Run a call on a worker, on the preferred one if it is available.

        Raises:
            AttemptLostError: If the worker is lost.
        """

    async def feed(self, worker: str, feed: Feed) -> None:
        """Send a feed to a worker. Do nothing if the worker is gone.

        Raises:
            ConfigurationError: If the worker cannot take the feed.
        """


class Dispatcher:
    """Keeps the lines of snapshots, and which snapshots each worker has.

    Args:
        transport: Carries messages.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._guard = threading.Lock()
        self._lines: OrderedDict[ChangeLog, Line] = OrderedDict()
        self._known: dict[str, dict[str, int]] = defaultdict(dict)  # by line and worker: number of the newest snapshot
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # a worker is fed by one call at a time

    @contextlib.contextmanager
    def line(self, library: ExperienceLibrary) -> Iterator[Line]:
        """The line of a snapshot that a call within the block sees. Only the thread that commits may use it."""
        with self._guard:
            line = self._line_of(library)
            line.begin(library.seen)
        try:
            yield line
        finally:
            with self._guard:
                line.end(library.seen)

    def _line_of(self, library: ExperienceLibrary) -> Line:
        """The line of a snapshot; a new line if the commits up to the snapshot are not known."""
        line = self._lines.get(library.log)
        if line is None or not line.advance(library):
            line = self._lines[library.log] = Line(library)
        self._lines.move_to_end(library.log)
        while len(self._lines) > _MOST_LINES:
            self._known.pop(self._lines.popitem(last=False)[1].id, None)
        return line

    async def call(self, packed: Packed, line: Line, library: ExperienceLibrary, example: bytes) -> Answer:
        """Run a call on a worker. Feed the worker first if it lacks something for the call.

        Args:
            packed: The function.
            line: The line of the snapshot.
            library: The snapshot.
            example: The example, pickled.

        Raises:
            AttemptLostError: If the worker of the call is lost, or cannot be brought up to date.
            ConfigurationError: If a worker cannot take the function.
        """
        preferred = None
        for _ in range(_MOST_FEEDS):
            reply = await self._submit(self._message(packed, line, library.seen, example), preferred)
            if isinstance(reply, Answer):
                self._known[line.id][reply.worker] = reply.newest
                return reply
            preferred = reply.worker
            async with self._turns[preferred]:
                await self._transport.feed(preferred, await self._make_feed(packed, line, library, reply))
        raise AttemptLostError(f"worker {preferred} could not be brought up to date")

    async def _submit(self, call: Call, preferred: str | None) -> Answer | Gap:
        try:
            return await self._transport.submit(call, preferred)
        except AttemptLostError:
            self._known[call.place.line].clear()  # a worker is gone; the others report their state again
            raise

    def _message(self, packed: Packed, line: Line, seen: int, example: bytes) -> Call:
        spent = {key: (ledger.total.tokens, ledger.total.usd) for key, ledger in packed.ledgers.items()}
        with self._guard:
            furthest_behind = min(self._known[line.id].values(), default=line.newest)
            commits = line.after(max(furthest_behind, line.newest - _MOST_COMMITS)) or Commits()
            return Call(packed.digest, Place(line.id, seen), line.oldest, commits, example, spent)

    async def _make_feed(self, packed: Packed, line: Line, library: ExperienceLibrary, gap: Gap) -> Feed:
        place, content = Place(line.id, library.seen), None if gap.has_work else packed.content
        with self._guard:
            commits = line.after(gap.newest) if gap.newest is not None and gap.newest < library.seen else None
        if commits is not None:
            return Feed(place, None, commits, packed.digest, content)
        if library.seen < line.base.seen:  # the replica has moved on, and the base too
            base, after = await asyncio.to_thread(lambda: library.to_json().encode()), library.seen
        else:
            base, after = await asyncio.to_thread(line.base_text), line.base.seen
        with self._guard:
            return Feed(place, base, line.after(after) or Commits(), packed.digest, content)

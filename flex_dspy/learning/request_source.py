"""Rated requests as the examples of a run. Their order is kept beside the library."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from flex_dspy.core.errors import FlexError
from flex_dspy.learning.rated_requests import RatedRequest, RatedRequests
from flex_dspy.learning.sources import Item, Segment, endless_segments
from flex_dspy.libraries.request_log import RequestLog

logger = logging.getLogger(__name__)


class RequestSource:
    """The rated requests of one place, as a source. Each request is learned from once.

    A request gets its step when it is first seen. Its name is written to the log on the disk before it is learned from.
    So a run that was killed continues with the same requests in the same order, and no request comes twice.

    Args:
        requests: The place that holds the requests.
        log: The log with the order of the requests.
        done: The last step that the library holds.
        fields: Names of the program's inputs and of its outputs; empty for all.
        publish_every: Requests from one version to the next; None publishes none.
        poll_seconds: Seconds between two looks for new requests; None ends after the requests that exist now.
        clock: Returns the time in seconds, and never goes back.

    Attributes:
        settled: Step of the last request that is learned from, or failed.
    """

    def __init__(
        self,
        requests: RatedRequests,
        log: RequestLog,
        done: int,
        fields: tuple[Sequence[str], Sequence[str]] = ((), ()),
        publish_every: int | None = None,
        poll_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run = log.run
        self.poll_seconds = poll_seconds
        self.settled = done
        self._requests = requests
        self._log = log
        self._fields = fields
        self._publish_every = publish_every
        self._clock = clock
        self._ready: deque[tuple[int, RatedRequest]] = deque()
        self._search = self._look_again_and_again(done)

    def segments(self, done: int) -> Iterator[Segment]:
        """See ``ExampleSource``."""
        return endless_segments(done, self._publish_every)

    def read(self) -> Item | None:
        """See ``ExampleSource``. A look for new requests may take seconds."""
        while not self._ready and next(self._search, False):
            pass
        if not self._ready:
            return None
        step, request = self._ready.popleft()
        seen = request.observation(*self._fields)
        return Item(step, seen.example_id, seen)

    def acknowledge(self, step: int) -> None:
        """See ``ExampleSource``."""
        self.settled = max(self.settled, step)

    def rest(self, step: int) -> None:
        """Do nothing."""

    def _look_again_and_again(self, done: int) -> Iterator[bool]:
        """Move requests to ``_ready`` in groups. Yields False if there are no requests for now."""
        yield from self._take_left(done)
        yield from self._take_new()
        while self.poll_seconds is not None:
            next_look = self._clock() + self.poll_seconds
            while self._clock() < next_look:
                yield False
            try:
                yield from self._take_new()
            except FlexError as error:  # in a run of days the store may be restarted
                logger.warning("new requests cannot be read, and are looked for again later: %s", error)

    def _take_left(self, done: int) -> Iterator[bool]:
        """Take the requests that an earlier call has seen but not learned from."""
        steps = self._log.after(done)
        for request in self._requests.fetch(list(steps)):
            self._ready.append((steps[request.trace], request))
            yield True

    def _take_new(self) -> Iterator[bool]:
        for some in self._requests.look(self._log.known):
            fresh = {request.trace: request for request in some if request.trace not in self._log.known}
            self._ready.extend(zip(self._log.append(list(fresh)), fresh.values(), strict=True))
            yield True

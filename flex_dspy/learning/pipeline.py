"""The learning engine: attempts run at the same time, and commits follow the order of the examples.

    source -> executor (attempt, distil, propose) -> settle -> store.commit -> listeners

The executor runs the attempts, each against a pinned snapshot. Everything else happens here, in order. So the library
depends on the examples, the seed and the models. It does not depend on where attempts ran and which of them finished
first.

A version is written when its last example is settled. It is measured and logged while the next examples are learned
from.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flex_dspy.core.errors import BudgetError, ModelError
from flex_dspy.evaluation.evaluation import Evaluation
from flex_dspy.learning.attempts import AttemptFunction, AttemptResult
from flex_dspy.learning.events import EditCommitted, ExampleAttempted, ExampleFailed, ExampleStarted, LessonWritten
from flex_dspy.learning.executors import run_until_kept
from flex_dspy.learning.held_failures import HeldFailure, HeldFailures
from flex_dspy.learning.ports import Ports, Publisher, Retry
from flex_dspy.learning.snapshots import StalenessWindow
from flex_dspy.learning.sources import Item, Segment
from flex_dspy.libraries.experience import Commit, Edit
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs.lesson_writer import LessonWriter


@dataclass(frozen=True, slots=True)
class Begun:
    """An example under way.

    Attributes:
        item: The example.
        seen: The snapshot that it sees.
        task: Its attempt.
    """

    item: Item
    seen: ExperienceLibrary
    task: asyncio.Task[AttemptResult]


class Pipeline:
    """Learns from one source into one store.

    Args:
        ports: Source, executor, store and listeners.
        attempt: A function without side effects, from an example and a snapshot to a result.
        writer: Turns the proposals of attempts into edits of the newest library.
        publisher: Publishes versions.
        failures: The failures of the run.
        window: The staleness bound. It is also the largest number of examples under way.

    Attributes:
        settled: Step of the last example that is committed or is held as a failure.
        retry: Attempts again the examples that failed in an earlier call, before the last version; None retries
            nothing.
    """

    def __init__(
        self,
        ports: Ports,
        attempt: AttemptFunction,
        writer: LessonWriter,
        publisher: Publisher,
        failures: HeldFailures,
        window: int,
    ) -> None:
        self.source, self.executor, self.store = ports.source, ports.executor, ports.store
        self.listeners = ports.listeners
        self.attempt = attempt
        self.writer = writer
        self.publisher = publisher
        self.failures = failures
        self.window = window
        self.retry: Retry | None = None
        self.run_id = self.source.run
        self.settled = self.store.library.runs.get(self.run_id, 0)
        self.snapshots = StalenessWindow(self.store.replay(), self.run_id, window)
        self._waiting: deque[Item] = deque()  # read, but not begun
        self._begun: deque[Begun] = deque()
        self._publishing: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._is_stopped = False

    # -- from version to version ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Learn until the source ends or ``stop`` is called, then finish the examples under way.

        A run that ends early continues at the first example that is not committed.

        Raises:
            FlexError: If an error would end every other example too.
        """
        try:
            for segment in self.source.segments(self.settled):
                if not await self._learn(segment):
                    break
            await self._await_version()
        except ModelError:
            self.failures.show_held()
            raise
        except BudgetError:  # answers under way cost money: wait, so that they are counted and cached
            await asyncio.gather(*self._tasks(), return_exceptions=True)
            raise
        finally:
            await cancel(self._tasks())

    def _tasks(self) -> list[asyncio.Task[Any]]:
        """The attempts under way, and the version that is being published."""
        return [*(begun.task for begun in self._begun), *filter(None, [self._publishing])]

    async def _learn(self, segment: Segment) -> bool:
        """Learn from a segment's examples, and publish its version. Returns False if the run ends before."""
        if segment.is_due and not await self._reach(segment):
            return False
        is_due = segment.is_due and self.settled == segment.stop
        if segment.is_last and self.retry is not None:
            if self.is_stopped:  # the last version must hold the edits of the second attempts
                return False
            is_due |= await self.retry.run()
        if is_due:
            await self._publish(segment.stop)
        return not self.is_stopped

    async def _reach(self, segment: Segment) -> bool:
        """Learn up to the end of a segment. Returns False if the source or the run ends before.

        After the last examples of a segment, no later example shows whether the model works. So if these examples
        failed in an outage, they are attempted once more, as in a resumed run.
        """
        await self._advance(segment)
        if self.settled == segment.stop and self.failures.is_in_outage():
            items = self.failures.take_back()
            self._waiting.extendleft(reversed(items))
            self.settled = items[0].step - 1
            await self._advance(segment)
        if self.settled < segment.stop and (self.is_stopped or self._is_at_end(segment)):
            return False
        if segment.is_last:
            self.failures.check_worked()
        return True

    async def _publish(self, step: int) -> None:
        """Write a version, and begin to publish it. Versions are published one after the other.

        After an outage, first measure the version to find out whether the model works.
        """
        await self._await_version()
        evaluation = None
        if self.failures.is_in_outage():
            evaluation = await self.publisher.probe(self.store.library)
        if self.source.poll_seconds is None:
            self.pass_over()
        library = self.publisher.write()
        self.begin_publishing(step, library, evaluation)
        if self.publisher.is_waited_for:
            await self._await_version()
        self.snapshots.keep(step, self.store.library)

    def begin_publishing(self, step: int, library: ExperienceLibrary, evaluation: Evaluation | None = None) -> None:
        """Publish a version that is written, while learning goes on.

        Args:
            step: Number of examples learned from.
            library: The version's library.
            evaluation: Its measurement, if it was measured already.
        """
        self._publishing = asyncio.create_task(self._publish_written(step, library, evaluation))
        self._publishing.add_done_callback(lambda _: self._wake.set())

    async def _publish_written(self, step: int, library: ExperienceLibrary, evaluation: Evaluation | None) -> None:
        await self.publisher.publish(step, library, evaluation)
        self.source.acknowledge(step)

    async def _await_version(self) -> None:
        """Wait until the version that is being published, if any, is published. Its error reaches the caller."""
        if self._publishing is not None:
            await self._publishing
            self._publishing = None

    # -- many at once --------------------------------------------------------------------------------------

    async def _advance(self, segment: Segment) -> None:
        """Attempt a segment's examples and settle them in order, until no more examples can begin."""
        self.snapshots.keep(self.settled, self.store.library)
        while True:
            self._wake.clear()
            if self._publishing is not None and self._publishing.done():
                await self._await_version()  # an error ends the run now
            if not self.is_stopped:
                self._begin(segment)
            if await self._settle_finished(segment):
                continue
            if not self._begun:
                self._rest()
                if self.is_stopped or self._is_at_end(segment):
                    return
            await self._wait()

    def _begin(self, segment: Segment) -> None:
        """Begin as many examples as the window allows."""
        while (item := self._peek()) is not None and item.step <= segment.stop:
            if not self._begun:
                self.settled = max(self.settled, item.step - 1)  # steps may be missing
            if item.step > self.settled + self.window:
                return
            self._waiting.popleft()
            seen = self.snapshots.snapshot_for(item.step, segment.start)
            task = asyncio.create_task(self.explore(item, seen))
            task.add_done_callback(lambda _: self._wake.set())
            self._begun.append(Begun(item, seen, task))

    def _peek(self) -> Item | None:
        """The next example that the library does not hold yet."""
        while not self._waiting:
            item = self.source.read()
            if item is None:
                return None
            if item.step > self.settled:
                self._waiting.append(item)
        return self._waiting[0]

    async def explore(self, item: Item, seen: ExperienceLibrary) -> AttemptResult:
        """Run the attempt of an example on the executor."""
        place = (self.run_id, item.step, item.example_id)
        self.listeners.tell(ExampleStarted(*place))
        result = await run_until_kept(self.executor, self.attempt, item.example, seen)
        self.listeners.tell(ExampleAttempted(*place, result))
        for proposal in result.proposals:
            self.listeners.tell(LessonWritten(*place, proposal.lesson, proposal.edit))
        return result

    def _is_at_end(self, segment: Segment) -> bool:
        """Whether no more examples of a segment will come."""
        item = self._peek()
        return item.step > segment.stop if item else self.settled >= segment.stop or self.source.poll_seconds is None

    def _rest(self) -> None:
        """Read the commits of other processes, and let the source clean up.

        Called while no example is under way.
        """
        if not self.failures.held:
            self.source.rest(self.settled)
        self.store.refresh()

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.source.poll_seconds):  # wait_for may swallow a cancellation
                await self._wake.wait()

    # -- one at a time -------------------------------------------------------------------------------------

    async def _settle_finished(self, segment: Segment) -> bool:
        """Settle, in order, the examples whose attempts are finished. Returns whether there were any."""
        any_settled = False
        while self._begun and self._begun[0].task.done():
            begun = self._begun[0]
            await self._settle(begun.item, begun.task.result(), begun.seen)
            self._begun.popleft()
            any_settled = True
            if begun.item.step != segment.stop:
                self.source.acknowledge(begun.item.step)
        return any_settled

    async def _settle(self, item: Item, result: AttemptResult, seen: ExperienceLibrary) -> None:
        """Commit the edits of an example. A failure is held back until a later example succeeds."""
        result, edits = await self.edits(result, seen)
        if result.error:
            self.failures.held.append(HeldFailure(item, result))
            if not self.failures.retries:
                self.pass_over()
            self.tell_failure(item, result)
        else:
            self.pass_over()
            self.commit(item, Commit(self.run_id, item.step, edits, result.tally, result.solved), result.score)
            self.failures.streak.end()
        self.settled = item.step
        self.snapshots.keep(item.step, self.store.library)
        if result.error:
            self.failures.count(result)

    async def edits(self, result: AttemptResult, seen: ExperienceLibrary) -> tuple[AttemptResult, tuple[Edit, ...]]:
        """Turn an example's proposals into edits of the newest library. If the updater fails, the example fails."""
        if result.error:
            return result, ()
        try:
            return result, await self.writer.settle(result.proposals, self.store.refresh(), seen)
        except Exception as error:
            return AttemptResult.failure(error), ()

    def commit(self, item: Item, commit: Commit, score: float | None = None, *, is_retry: bool = False) -> None:
        """Commit the edits of an example to the disk, and tell the listeners."""
        with self.listeners.lock:
            library = self.store.commit([commit])
        place = (self.run_id, item.step, item.example_id)
        self.listeners.tell(EditCommitted(*place, commit, library, self.publisher.newest_hash, score, is_retry))

    def pass_over(self) -> None:
        """Commit the failures that are held back, as commits without edits."""
        commits = self.failures.pass_over(self.run_id)
        if commits:
            with self.listeners.lock:
                self.store.commit(commits)

    def tell_failure(self, item: Item, result: AttemptResult, *, is_retry: bool = False) -> None:
        """Tell the listeners that an example failed."""
        place = (self.run_id, item.step, item.example_id)
        self.listeners.tell(ExampleFailed(*place, result.error, result.outage, is_retry))

    # -- stopping ------------------------------------------------------------------------------------------

    @property
    def is_stopped(self) -> bool:
        """Whether no more examples will begin."""
        return self._is_stopped or bool(self.listeners.reason)

    def stop(self) -> None:
        """Begin no more examples. Call it on the event loop."""
        self._is_stopped = True
        self._wake.set()

    def wake(self) -> None:
        """Look whether the source has more examples. Call it on the event loop."""
        self._wake.set()


async def cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

"""The writer behind an online learner: lessons from many observations at once, committed one by one in their order.

Observation *i* is compared with the library after observations up to *i - window*, or up to the last version if that is
newer, whether it came alone or among a thousand: the library depends on what was observed, in which order, and not on
when answers came.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from flex_dspy.core.errors import BudgetError, ModelError
from flex_dspy.core.running import raise_if_systemic
from flex_dspy.core.secrets import error_text
from flex_dspy.core.trajectory import Trajectory
from flex_dspy.evaluation.settings import HOPELESS
from flex_dspy.evaluation.usage_log import UsageLog
from flex_dspy.evaluation.usage_records import UsageRecord as Use
from flex_dspy.learning.forward import Outcome
from flex_dspy.learning.observing import judged, precedent_of, tally_of
from flex_dspy.libraries.experience import Commit, Edit
from flex_dspy.libraries.failures import Failure
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.observation import Observation
from flex_dspy.libraries.observed import ObservationJournal
from flex_dspy.libraries.store import Store
from flex_dspy.programs.lesson_writer import LessonWriter
from flex_dspy.programs.task_description import describe_task
from flex_dspy.programs.verifier import Verifier

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How observations are learned from.

    Attributes:
        concurrency: Most of them under way at once.
        window: Staleness bound.
        publish_every: Observations from one version to the next; None publishes none.
    """

    concurrency: int
    window: int
    publish_every: int | None

    def barrier(self, step: int) -> int:
        """The step before this one at which a version is published."""
        return 0 if self.publish_every is None else (step - 1) // self.publish_every * self.publish_every


@dataclass(frozen=True, slots=True)
class _Begun:
    """An observation under way, with the snapshot that it is compared with."""

    step: int
    observation: Observation
    library: ExperienceLibrary
    task: asyncio.Task[Outcome]


class OnlineWriter:
    """Learns from one journal.

    Args:
        journal: The observations.
        store: The library.
        lessons: Critic and updater.
        verifier: Judges where there is only a remark.
        pace: How many at once.
        writing: Held for each change of the store.
        publish: Called with each step at which a version is due; gives its hash.
        report: Called with what each observation gave.
        passed: Called when it is done with, and the version published that was due.

    Attributes:
        settled: Step of the last observation that is done with: learned from, or failed.
        failed: Failed observations since the last that did not. They are tried again by the next process, unless one
            that is learned from follows: then it was their own fault.
    """

    def __init__(
        self,
        journal: ObservationJournal,
        store: Store,
        lessons: LessonWriter,
        verifier: Verifier,
        pace: Pace,
        *,
        writing: threading.Lock,
        publish: Callable[[int], str],
        report: Callable[[Outcome, Failure | None], None],
        passed: Callable[[], None],
    ) -> None:
        self.journal = journal
        self.store = store
        self.lessons = lessons
        self.verifier = verifier
        self.pace = pace
        self._writing = writing
        self._publish = publish
        self._report = report
        self._passed = passed
        self.settled = store.library.runs.get(journal.run, 0)
        journal.go_on_after(self.settled)
        self.failed: list[Commit] = []
        self._next: tuple[int, Observation] | None = None
        self._begun: deque[_Begun] = deque()
        self._gate = asyncio.Semaphore(pace.concurrency)
        known = {library.runs.get(journal.run, 0): library for library in store.replayed}
        known[self.settled] = store.library
        self._snapshots = {step: known[step] for step in sorted(known)[-pace.window - 1 :]}
        self._version = ""  # not known until one is published: hashing a library costs its size
        self._uses = UsageLog(store.path) if store.path else None

    async def run(self, wake: asyncio.Event, stopping: Callable[[], bool], every: float | None = None) -> None:
        """Learn until told to stop; then finish what was begun.

        Args:
            wake: Set when there is something to do.
            stopping: Whether to begin nothing more.
            every: While there is nothing to do, seconds between looks at what other processes committed. None returns
                where there is nothing more to do.

        Raises:
            FlexError: What no other observation would survive either. All that is not committed stays in the journal.
        """
        try:
            while True:
                wake.clear()
                if not stopping():
                    self._begin(wake)
                if await self._settle_finished():
                    continue
                if not self._begun:
                    if not self.failed:
                        self.journal.forget(self.settled)
                    if every is None or stopping():
                        return
                    self._newest()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(every):  # wait_for may swallow a cancellation
                        await wake.wait()
        except BudgetError:  # answers under way are paid for: wait, so that they are counted and cached
            await asyncio.gather(*(begun.task for begun in self._begun), return_exceptions=True)
            raise
        finally:
            for begun in self._begun:
                begun.task.cancel()
            await asyncio.gather(*(begun.task for begun in self._begun), return_exceptions=True)

    # -- many at once --------------------------------------------------------------------------------------

    def _begin(self, wake: asyncio.Event) -> None:
        """Begin with as many observations as the window allows."""
        while len(self._begun) < self.pace.window and (found := self._peek()) is not None:
            step, seen = found
            if not self._begun:
                self.settled = max(self.settled, step - 1)
            if self.settled < self.pace.barrier(step):
                return
            library = self._seen_by(step)
            task = asyncio.create_task(self._explore(seen, library))
            task.add_done_callback(lambda _: wake.set())
            self._begun.append(_Begun(step, seen, library, task))
            self._next = None

    def _peek(self) -> tuple[int, Observation] | None:
        """The next observation that the library does not hold yet."""
        while self._next is None:
            found = self.journal.read()
            if found is None:
                return None
            if found[0] > self.settled:
                self._next = found
        return self._next

    def _seen_by(self, step: int) -> ExperienceLibrary:
        wanted = max(step - self.pace.window, self.pace.barrier(step))
        known = [settled for settled in self._snapshots if settled <= wanted]
        return self._snapshots[max(known) if known else min(self._snapshots)]

    async def _explore(self, seen: Observation, library: ExperienceLibrary) -> Outcome:
        """Judge, distil and propose an edit, against one snapshot. A failure is an outcome."""
        async with self._gate:
            try:
                with self.lessons.ledger.role("verifier"):
                    round_ = await judged(seen, self.verifier, describe_task(self.lessons.program))
                precedent = precedent_of(seen, round_)
                proposal = await self.lessons.propose(precedent, Trajectory((round_,)), library, seen.shown)
            except Exception as error:
                return _failure(error)
            return Outcome((proposal,), tally_of(seen, round_), round_.accepted)

    # -- one writer ----------------------------------------------------------------------------------------

    async def _settle_finished(self) -> bool:
        """Settle, in order, those that are ready; whether there were any."""
        any_settled = False
        while self._begun and self._begun[0].task.done():
            await self._settle(self._begun[0])
            self._begun.popleft()
            any_settled = True
        return any_settled

    async def _settle(self, begun: _Begun) -> None:
        outcome = begun.task.result()
        edits: tuple[Edit, ...] = ()
        if not outcome.error:
            try:
                edits = await self.lessons.settle(outcome.proposals, self._newest(), begun.library)
            except Exception as error:
                outcome = _failure(error)
        commit = Commit(self.journal.run, begun.step, edits, outcome.tally, outcome.solved)
        failure = Failure(begun.observation.example_id, outcome.error) if outcome.error else None
        if failure is None:
            self._commit(commit, begun.observation)
        else:
            self.failed.append(commit)
        self._report(outcome, failure)
        self._pass(begun.step)
        if len(self.failed) >= HOPELESS:
            raise ModelError(f"the last {HOPELESS} observations all failed; the last one said: {outcome.error}")

    def _newest(self) -> ExperienceLibrary:
        """The library with the commits of other processes."""
        return self.store.refresh()

    def _commit(self, commit: Commit, seen: Observation) -> None:
        with self._writing:
            self.store.commit([*self.failed, commit])
        self.failed = []
        if self._uses is not None and commit.tally.shown:
            relied = (*commit.tally.helped, *commit.tally.hurt)
            score = float(bool(commit.solved)) if seen.score is None else seen.score
            source = f"{commit.run} {commit.step}"
            self._uses.note([Use(self._version, seen.example_id, commit.tally.shown, score, relied, source)])

    def _pass(self, step: int) -> None:
        if self.pace.publish_every is not None and step % self.pace.publish_every == 0:
            self._version = self._publish(step)
        self._snapshots[step] = self.store.library
        for old in [known for known in self._snapshots if known < step - self.pace.window]:
            del self._snapshots[old]
        self.settled = step
        self._passed()


def _failure(error: Exception) -> Outcome:
    raise_if_systemic(error)
    if isinstance(error, RuntimeError) and "shutdown" in str(error):  # the program ends: no fault of the observation
        raise asyncio.CancelledError from error
    logger.warning("an observation was passed over: %s", error_text(error))
    return Outcome(error=error_text(error))

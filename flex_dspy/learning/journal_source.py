"""Observations as the examples of a run: their journal as a source, and the attempt for one observation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import dspy

from flex_dspy.core.trajectory import Trajectory
from flex_dspy.learning.attempts import AttemptResult
from flex_dspy.learning.sources import Item, Segment, endless_segments
from flex_dspy.learning.verdicts import judge, precedent_of, tally_of
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.observation import Observation
from flex_dspy.libraries.observed import ObservationJournal
from flex_dspy.programs.lesson_writer import LessonWriter
from flex_dspy.programs.task_description import describe_task
from flex_dspy.programs.verifier import Verifier


class JournalSource:
    """The observations of one journal, as a source.

    Args:
        journal: The journal.
        done: The last step that the library holds.
        publish_every: Observations from one version to the next; None publishes none.
        poll_seconds: Seconds between two looks for new observations; None ends after the observations that exist now.
        notify: Called when an observation was settled.

    Attributes:
        settled: Step of the last observation that is learned from, or failed, with the version published that was due.
    """

    def __init__(
        self,
        journal: ObservationJournal,
        done: int,
        publish_every: int | None,
        poll_seconds: float | None,
        notify: Callable[[], None],
    ) -> None:
        self.journal = journal
        self.run = journal.run
        self.poll_seconds = poll_seconds
        self.publish_every = publish_every
        self.settled = done
        self._notify = notify
        journal.go_on_after(done)

    def segments(self, done: int) -> Iterator[Segment]:
        """See ``ExampleSource``."""
        return endless_segments(done, self.publish_every)

    def read(self) -> Item | None:
        """See ``ExampleSource``."""
        found = self.journal.read()
        return None if found is None else Item(found[0], found[1].example_id, found[1])

    def acknowledge(self, step: int) -> None:
        """See ``ExampleSource``."""
        self.settled = max(self.settled, step)
        self._notify()

    def rest(self, step: int) -> None:
        """Empty the journal, because all its observations are learned from."""
        self.journal.forget(step)


@dataclass(frozen=True)
class ObservationAttempt:
    """Judges an observation, and distils a lesson from it. The deployed program has made the attempt already.

    Attributes:
        verifier: Judges observations with only a remark.
        writer: Critic and updater.
        program: The deployed program, which defines the task.
        scope: Scope of the lessons from observations without a scope.
    """

    verifier: Verifier
    writer: LessonWriter
    program: dspy.Module
    scope: str = ""

    async def __call__(self, example: Observation, library: ExperienceLibrary) -> AttemptResult:
        """See ``AttemptFunction``."""
        example = replace(example, scope=example.scope or self.scope)
        try:
            with self.writer.ledger.role("verifier"):
                round_ = await judge(example, self.verifier, describe_task(self.program))
            precedent = precedent_of(example, round_)
            proposal = await self.writer.propose(
                precedent, Trajectory((round_,)), library, example.shown, example.scope
            )
        except Exception as error:
            return AttemptResult.failure(error)
        readable = library.scoped(example.scope)  # a model may name an id that it cannot read
        tally = tally_of(example, round_).without(lambda entry_id: entry_id in library and entry_id not in readable)
        return AttemptResult((proposal,), tally, round_.accepted, example.score)

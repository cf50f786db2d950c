"""One attempt: from an example and a snapshot of the library to lessons with their edits.

An attempt changes nothing and reads only its two arguments. So it can run in this process or on another machine (see
``flex_dspy.learning.executors``). Its result is plain data.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import dspy

from flex_dspy.core.examples import example_id, problem_of, reference_of
from flex_dspy.core.running import raise_if_systemic
from flex_dspy.core.secrets import error_text
from flex_dspy.core.trajectory import Trajectory
from flex_dspy.libraries.experience import Precedent, Tally
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.failures import is_outage
from flex_dspy.programs.lesson_writer import LessonWriter, Proposal
from flex_dspy.programs.rejection_sampling import RejectionSampling
from flex_dspy.search.reading import pinned

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The result of one example's attempts.

    Attributes:
        proposals: Lessons with their edits; none if the example failed.
        tally: Use of the library by the attempts.
        solved: Whether an attempt was accepted; None if there was none.
        score: The score of an observed answer; None otherwise.
        error: The error that ended the example early; "" if there was none.
        outage: Whether that error means that a model could not be reached.
    """

    proposals: tuple[Proposal, ...] = ()
    tally: Tally = field(default_factory=Tally)
    solved: bool | None = None
    score: float | None = None
    error: str = ""
    outage: bool = False

    @classmethod
    def failure(cls, error: Exception) -> AttemptResult:
        """The result of an example that an error ended early.

        Raises:
            FlexError: If the same error would end every other example too.
            CancelledError: If the program ends. The example is not at fault then.
        """
        raise_if_systemic(error)
        if isinstance(error, RuntimeError) and "shutdown" in str(error):
            raise asyncio.CancelledError from error
        logger.warning("an example was passed over: %s", error_text(error))
        return cls(error=error_text(error), outage=is_outage(error))


class AttemptFunction(Protocol):
    """Attempts one example, distils lessons and proposes edits, all against one snapshot."""

    async def __call__(self, example: Any, library: ExperienceLibrary) -> AttemptResult:
        """Attempt an example. If only this example fails, the failure is returned as a result.

        Raises:
            FlexError: If the same error would end every other example too.
        """


@dataclass(frozen=True)
class TrainingAttempt:
    """Attempts a training example by rejection sampling, and distils each finished rollout.

    Attributes:
        sampling: Makes the attempts and judges them.
        writer: Critic and updater.
        outputs: Names of the actor's outputs. They show which fields of an example are the reference answer.
        study: Skip the attempts, and learn from the reference answer alone.
        scope: The scope that the lessons will belong to; "" for all.
    """

    sampling: RejectionSampling
    writer: LessonWriter
    outputs: frozenset[str]
    study: bool = False
    scope: str = ""

    async def __call__(self, example: dspy.Example, library: ExperienceLibrary) -> AttemptResult:
        """See ``AttemptFunction``."""
        try:
            return await (self._study(example, library) if self.study else self._learn(example, library))
        except Exception as error:
            return AttemptResult.failure(error)

    async def _study(self, example: dspy.Example, library: ExperienceLibrary) -> AttemptResult:
        precedent = Precedent(example_id(example), problem_of(example), reference_of(example, self.outputs))
        return AttemptResult((await self.writer.propose(precedent, None, library, scope=self.scope),))

    async def _learn(self, example: dspy.Example, library: ExperienceLibrary) -> AttemptResult:
        with pinned(library, problem=problem_of(example)) as reading, self.writer.ledger.role("actor"):
            found = await self.sampling.acall(example=example)
        answer = reference_of(example, self.outputs) or found.answer
        precedent = Precedent(example_id(example), problem_of(example), answer)
        finished = [trajectory for trajectory in found.trajectories if not trajectory.error]
        proposals = [
            await self.writer.propose(precedent, each, library, reading.shown, self.scope) for each in finished
        ]
        if not finished:
            last = found.trajectories[-1]
            return AttemptResult(error=last.error, outage=last.outage)
        return AttemptResult(tuple(proposals), usage_tally(reading.shown, finished, self.scope), found.accepted)


def usage_tally(shown: Sequence[str], trajectories: Sequence[Trajectory], scope: str = "") -> Tally:
    """Count the use of entries. Each actor names the entries in its prompt that it relied on.

    Args:
        shown: Ids of the entries in the prompts.
        trajectories: The rollouts.
        scope: The scope whose entries are counted.
    """
    known = tuple(dict.fromkeys(shown))
    rounds = [round_ for trajectory in trajectories for round_ in trajectory.rounds]
    relied = [(round_.accepted, set(round_.outputs.get("experiences_used") or ())) for round_ in rounds]
    helped = set().union(*(used for accepted, used in relied if accepted))
    hurt = set().union(*(used for accepted, used in relied if not accepted))
    return Tally(
        known,
        tuple(entry_id for entry_id in known if entry_id in helped),
        tuple(entry_id for entry_id in known if entry_id in hurt),
        scope,
    )

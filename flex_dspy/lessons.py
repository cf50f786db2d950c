"""From a finished rollout to an edit of the library: the critic's lesson, the updater's decision.

Lessons are written many at once, each against the snapshot that its rollout saw. They are settled one by one, in order,
against the newest library: what was written meanwhile may teach the same.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from flex_dspy.libraries.experience import Edit, Experience, Insert, Merge, Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.spending import Ledger
from flex_dspy.programs.critic import Critic
from flex_dspy.programs.updater import Updater
from flex_dspy.running import call
from flex_dspy.search.indexes import words_of
from flex_dspy.search.retrieval import nearest_lessons
from flex_dspy.trajectory import Trajectory

NEAREST = 5  # entries that the updater compares a lesson with
NEAR_DUPLICATE = 0.6  # share of common words from which two lessons are compared by the updater


@dataclass(frozen=True, slots=True)
class Proposal:
    """A lesson with the updater's edit, made against the snapshot that the example saw."""

    lesson: Experience
    edit: Edit


class LessonWriter:
    """Turns rollouts into edits.

    Args:
        critic: Distils.
        updater: Decides.
        ledger: What their tokens are charged to.
    """

    def __init__(self, critic: Critic, updater: Updater, ledger: Ledger) -> None:
        self.critic = critic
        self.updater = updater
        self.ledger = ledger

    async def propose(
        self, precedent: Precedent, trajectory: Trajectory | None, library: ExperienceLibrary
    ) -> Proposal:
        """A lesson, and what should become of it.

        Args:
            precedent: The example.
            trajectory: The rollout; None to study the reference answer alone.
            library: The snapshot that it is compared with.
        """
        with self.ledger.role("critic"):
            distilled = await call(self.critic, precedent=precedent, trajectory=trajectory)
        lesson: Experience = distilled.experience
        return Proposal(lesson, await self._decided(lesson, nearest_lessons(library, lesson, NEAREST)))

    async def _decided(self, lesson: Experience, nearest: Sequence[Experience]) -> Edit:
        with self.ledger.role("updater"):
            edit: Edit = (await call(self.updater, lesson=lesson, nearest=nearest)).edit
        return edit

    async def settle(
        self, proposals: Sequence[Proposal], newest: ExperienceLibrary, seen: ExperienceLibrary
    ) -> tuple[Edit, ...]:
        """One example's proposals as edits of the newest library.

        Args:
            proposals: What was proposed, in order.
            newest: The library that is edited.
            seen: The snapshot that the proposals were made against.
        """
        fresh = _written_since(newest, seen)
        edits: list[Edit] = []
        for proposal in proposals:
            edit = await self._settled(proposal, fresh)
            edits.append(edit)
            if isinstance(edit, Insert):  # the next rollout of the same example may teach the same
                fresh.append(edit.experience)
        return tuple(edits)

    async def _settled(self, proposal: Proposal, fresh: Sequence[Experience]) -> Edit:
        """The proposed edit, unless an entry written meanwhile teaches the same: then the updater is asked again."""
        rivals = [entry for entry in fresh if _alike(entry, proposal.lesson)]
        if not rivals or not isinstance(proposal.edit, Insert):
            return proposal.edit
        if _says_all(rivals[0], proposal.lesson):  # commits wait for each other, so each question here costs all
            return Merge(rivals[0].id, proposal.lesson, reason="the entry says the same, word for word")
        return await self._decided(proposal.lesson, rivals[:NEAREST])


def _written_since(newest: ExperienceLibrary, seen: ExperienceLibrary) -> list[Experience]:
    """Entries written or rewritten after a snapshot: at most a window's worth, however large the library."""
    if newest.log is not seen.log:  # another process made a checkpoint, and the library was read anew
        return [entry for entry in newest if entry.updated_at > seen.seen]
    changes = newest.log.changes[seen.tip : newest.tip]
    ids = dict.fromkeys(change.entry_id for change in changes if change.rewritten is not None)
    return [newest[entry_id] for entry_id in ids if entry_id in newest]


def _says_all(entry: Experience, lesson: Experience) -> bool:
    """Whether an entry holds every rule of a lesson, word for word."""
    return bool(lesson.rules) and {rule.text for rule in lesson.rules} <= {rule.text for rule in entry.rules}


def _alike(entry: Experience, lesson: Experience) -> bool:
    """Whether two lessons may be the same: a rule word for word, or most words in common."""
    if entry.zone != lesson.zone:
        return False
    if {rule.text for rule in entry.rules} & {rule.text for rule in lesson.rules}:
        return True
    ours, theirs = _words(entry.text()), _words(lesson.text())
    return len(ours & theirs) >= NEAR_DUPLICATE * len(ours | theirs)


@functools.lru_cache(maxsize=4096)
def _words(text: str) -> frozenset[str]:
    return frozenset(words_of(text))

"""Turns a finished rollout into an edit of the library, by the critic's lesson and the updater's decision.

Many lessons are written at the same time, each against the snapshot that its rollout saw. They are settled one by one,
in order, against the newest library, because a lesson that was written meanwhile may teach the same.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import dspy

from flex_dspy.core.running import call, select_inputs
from flex_dspy.core.trajectory import Trajectory
from flex_dspy.libraries.experience import Edit, Experience, Insert, Merge, Precedent, Propose
from flex_dspy.libraries.gathering import name_rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.batch_calls import at_once
from flex_dspy.models.lm import is_offline
from flex_dspy.models.spending import Ledger
from flex_dspy.programs.critic import Critic
from flex_dspy.programs.task_description import describe_task
from flex_dspy.programs.updater import Updater, says_all
from flex_dspy.search.nearest import entry_of_kind, nearest_lessons
from flex_dspy.search.words import words_of

NEAREST = 5  # entries that the updater compares a lesson with
NEAR_DUPLICATE = 0.6  # least share of common words at which the updater compares two lessons


LessonsFrom = Literal["all", "failures"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A lesson with the updater's edit, made against the snapshot that the example saw.

    Attributes:
        lesson: The lesson.
        edit: The edit.
        gathers: Whether the updater gathers lessons of one kind in one entry; None if it was not asked. An updater that
            does not gather is not asked once more about an entry of the lesson's kind.
    """

    lesson: Experience
    edit: Edit
    gathers: bool | None = False


class LessonWriter:
    """Turns rollouts into edits.

    Args:
        critic: Distils lessons.
        updater: Decides what happens to a lesson.
        ledger: Counts the tokens of critic and updater.
        program: The program that makes the attempts. Critic and updater get a description of its task.
        lessons_from: ``all`` rollouts, or only rollouts with a failure (``failures``). The other rollouts are then kept
            as precedents without a lesson, and need no model call.
        review: Let every lesson wait for a person's approval. Actors are not shown lessons that wait.
    """

    def __init__(
        self,
        critic: Critic,
        updater: Updater,
        ledger: Ledger,
        program: dspy.Module,
        lessons_from: LessonsFrom = "all",
        *,
        review: bool = False,
    ) -> None:
        self.critic = critic
        self.updater = updater
        self.ledger = ledger
        self.program = program
        self.lessons_from = lessons_from
        self.review = review
        self.steps = [name for name, _ in program.named_predictors()]

    async def propose(
        self,
        precedent: Precedent,
        trajectory: Trajectory | None,
        library: ExperienceLibrary,
        shown: Sequence[str] = (),
        scope: str = "",
    ) -> Proposal:
        """Write a lesson, and propose an edit for it.

        Args:
            precedent: The example.
            trajectory: The rollout; None to study only the reference answer.
            library: The snapshot that the lesson is compared with.
            shown: Ids of the entries that the actor had in its prompt.
            scope: The scope that the lesson will belong to. The critic reads the entries of this scope and the entries
                that all scopes share. The updater reads only the entries of this scope, so a lesson is never merged
                into an entry of another scope.
        """
        if self.lessons_from == "failures" and trajectory is not None and trajectory.zone == "golden":
            precedent_only = Experience("golden", "", precedents=(precedent,), scope=scope)
            return Proposal(precedent_only, Insert(precedent_only, reason="solved at the first attempt"))
        readable, library = library.scoped(scope), library.scoped(scope, shared=not scope)
        entries = [readable[entry_id] for entry_id in dict.fromkeys(shown) if entry_id in readable]
        with self.ledger.role("critic"):
            told = select_inputs(self.critic, task=describe_task(self.program), shown=entries, steps=self.steps)
            distilled = await call(self.critic, precedent=precedent, trajectory=trajectory, **told)
        lesson: Experience = distilled.experience.of_scope(scope)
        named: str = distilled.get("corrects") or ""
        corrects = named if named in library else ""
        nearest = nearest_lessons(library, lesson, NEAREST)
        if corrects:  # the updater must see the entry that the lesson corrects
            nearest = [library[corrects], *(entry for entry in nearest if entry.id != corrects)][:NEAREST]
        proposal = await self._decide(lesson, nearest, corrects)
        return await self._gather(proposal, entry_of_kind(library, lesson))

    async def _decide(self, lesson: Experience, nearest: Sequence[Experience], corrects: str = "") -> Proposal:
        with self.ledger.role("updater"):
            told = select_inputs(self.updater, task=describe_task(self.program), corrects=corrects)
            decided = await call(self.updater, lesson=lesson, nearest=nearest, **told)
        return Proposal(lesson, decided.edit, decided.get("gathers", False))

    async def settle(
        self, proposals: Sequence[Proposal], newest: ExperienceLibrary, seen: ExperienceLibrary
    ) -> tuple[Edit, ...]:
        """Turn one example's proposals into edits of the newest library.

        Args:
            proposals: The proposals, in order.
            newest: The newest library, which is edited.
            seen: The snapshot that the proposals were made against.
        """
        fresh = _entries_since(newest, seen)
        edits: list[Edit] = []
        for proposal in proposals:
            edit = await self._settle_one(proposal, fresh, newest)
            if self.review and isinstance(edit, Insert | Merge):
                edit = await self._propose_edit(proposal, edit)
            edits.append(edit)
            if isinstance(edit, Insert):  # the next rollout of the same example may teach the same
                fresh.append(edit.experience)
        return tuple(edits)

    async def _propose_edit(self, proposal: Proposal, edit: Insert | Merge) -> Propose:
        """Let a lesson wait for approval. If the updater gathers, the lesson says so, and its approval gathers it."""
        gathers = await self._gathers(proposal.lesson) if proposal.gathers is None else proposal.gathers
        return Propose(name_rule(edit.experience) if gathers else edit.experience, edit.reason)

    async def _gathers(self, lesson: Experience) -> bool:
        """Whether the updater gathers. No language model does. An offline expert is asked about the lesson itself."""
        models = [predictor.lm or dspy.settings.lm for predictor in self.updater.predictors()]
        if not all(model is not None and is_offline(model) for model in models):
            return False
        return bool((await self._decide(lesson, [lesson])).gathers)

    async def _settle_one(self, proposal: Proposal, fresh: Sequence[Experience], newest: ExperienceLibrary) -> Edit:
        """The proposed edit. If an entry written meanwhile may teach the same, the updater decides again."""
        if not proposal.lesson.teaches:
            return proposal.edit
        if isinstance(proposal.edit, Merge) and proposal.edit.case_of:
            return (await self._settle_gathering(proposal, newest)).edit
        rivals = [entry for entry in fresh if entry.teaches and _alike(entry, proposal.lesson)]
        if rivals and isinstance(proposal.edit, Insert):
            if says_all(rivals[0], proposal.lesson):  # a model call here delays all later commits
                return Merge(rivals[0].id, proposal.lesson, reason="the entry says the same, word for word")
            with at_once():
                proposal = await self._decide(proposal.lesson, rivals[:NEAREST])
        return (await self._gather(proposal, _of_one_kind(fresh, proposal.lesson))).edit

    async def _gather(self, proposal: Proposal, alike: Experience | None) -> Proposal:
        """The proposal, or the merge into an entry of the same kind, if the updater gathers lessons there."""
        if alike is None or proposal.gathers is False or not isinstance(proposal.edit, Insert):
            return proposal
        with at_once():
            other = await self._decide(proposal.lesson, [alike])
        return other if isinstance(other.edit, Merge) and other.edit.case_of else proposal

    async def _settle_gathering(self, proposal: Proposal, newest: ExperienceLibrary) -> Proposal:
        """The proposed merge. If the entry was filled meanwhile, the updater chooses another one."""
        edit = proposal.edit
        if isinstance(edit, Merge) and (target := newest.get(edit.target)) and not target.has_room(edit.case_of):
            own = newest.scoped(proposal.lesson.scope, shared=not proposal.lesson.scope)
            return await self._decide(proposal.lesson, nearest_lessons(own, proposal.lesson, NEAREST))
        return proposal


def _entries_since(newest: ExperienceLibrary, seen: ExperienceLibrary) -> list[Experience]:
    """The entries written or rewritten after a snapshot.

    The window limits their number, so it does not grow with the library.
    """
    if newest.log is not seen.log:  # another process made a checkpoint, so the library was read again
        return [entry for entry in newest if entry.updated_at > seen.seen]
    changes = newest.log.changes[seen.tip : newest.tip]
    ids = dict.fromkeys(change.entry_id for change in changes if change.rewritten is not None)
    return [newest[entry_id] for entry_id in ids if entry_id in newest]


def _alike(entry: Experience, lesson: Experience) -> bool:
    """Whether two lessons may be the same, because they share a rule word for word, or most of their words."""
    if (entry.scope, entry.zone, entry.step) != (lesson.scope, lesson.zone, lesson.step):
        return False
    if {rule.text for rule in entry.rules} & {rule.text for rule in lesson.rules}:
        return True
    ours, theirs = _words(entry.text()), _words(lesson.text())
    return len(ours & theirs) >= NEAR_DUPLICATE * len(ours | theirs)


def _of_one_kind(entries: Sequence[Experience], lesson: Experience) -> Experience | None:
    """The first entry with the lesson's category and method, word for word."""
    kind = (lesson.category, lesson.method, lesson.scope, lesson.step)
    alike = (entry for entry in entries if (entry.category, entry.method, entry.scope, entry.step) == kind)
    return next(alike, None) if lesson.category and lesson.method else None


@functools.lru_cache(maxsize=4096)
def _words(text: str) -> frozenset[str]:
    return frozenset(words_of(text))

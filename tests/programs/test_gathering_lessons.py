"""Lessons of one kind that were written at the same time: an updater that gathers puts them into one entry."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import dspy
import pytest

from flex_dspy.libraries.experience import Commit, Edit, Experience, Insert, Merge, Precedent, Propose, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.lm import language_model
from flex_dspy.models.spending import Ledger
from flex_dspy.programs import Critic, Updater
from flex_dspy.programs.lesson_writer import LessonWriter, Proposal


class CategoryUpdater(dspy.Module):
    """Merges a lesson into the first entry of its category.

    Args:
        gathers: Whether its merges gather.
    """

    def __init__(self, *, gathers: bool) -> None:
        super().__init__()
        self.gathers = gathers

    def forward(self, lesson: Experience, nearest: Sequence[Experience]) -> dspy.Prediction:
        """Decide on one lesson."""
        edit: Edit = Insert(lesson)
        for entry in nearest:
            if entry.category == lesson.category:
                edit = Merge(entry.id, lesson, lesson.rules, case_of=lesson.rules[0].text if self.gathers else "")
        return dspy.Prediction(edit=edit)


def lesson(number: int, category: str, zone: str) -> Experience:
    case = Precedent(f"e{number}", f"p{number}", "a")
    return Experience(zone, "Cut.", (Rule(f"rule {number}"),), category=category, precedents=(case,))  # type: ignore[arg-type]


class CountingUpdater(CategoryUpdater):
    """Inserts everything; counts how often it was asked."""

    asked = 0

    def forward(self, lesson: Experience, nearest: Sequence[Experience]) -> dspy.Prediction:
        """Insert one lesson."""
        self.asked += 1
        return dspy.Prediction(edit=Insert(lesson), gathers=self.gathers)


@pytest.mark.parametrize(("gathers", "asked"), [(True, 2), (False, 1)])
def test_an_updater_that_does_not_gather_is_not_asked_about_entries_of_the_same_kind(gathers: bool, asked: int) -> None:
    updater = CountingUpdater(gathers=gathers)
    writer = LessonWriter(Critic(), updater, Ledger(), dspy.Predict("q -> a"))
    first, second = lesson(1, "amide", "golden"), lesson(2, "amide", "warning")
    proposal = asyncio.run(writer._gather(asyncio.run(writer._decide(second, [first])), first))
    assert proposal.edit == Insert(second)
    assert updater.asked == asked


@pytest.mark.parametrize("gathers", [True, False])
def test_only_an_updater_that_gathers_merges_across_zones(gathers: bool) -> None:
    writer = LessonWriter(Critic(), CategoryUpdater(gathers=gathers), Ledger(), dspy.Predict("q -> a"))
    empty = library = ExperienceLibrary(task="t")
    lessons = [lesson(0, "ester", "golden"), lesson(1, "amide", "golden"), lesson(2, "amide", "warning")]
    for step, each in enumerate(lessons, 1):
        edits = asyncio.run(writer.settle([Proposal(each, Insert(each), gathers=True)], library, empty))
        library = library.apply(Commit("run", step, edits))
    zones = [(entry.category, entry.zone) for entry in library]
    if gathers:
        assert zones == [("ester", "golden"), ("amide", "mixed")]
    else:
        assert zones == [("ester", "golden"), ("amide", "golden"), ("amide", "warning")]


@pytest.mark.parametrize("gathers", [True, False])
def test_a_waiting_lesson_says_whether_its_updater_gathers(gathers: bool) -> None:
    writer = LessonWriter(Critic(), CategoryUpdater(gathers=gathers), Ledger(), dspy.Predict("q -> a"), review=True)
    empty, new = ExperienceLibrary(task="t"), lesson(1, "amide", "golden")
    (edit,) = asyncio.run(writer.settle([Proposal(new, Insert(new), gathers)], empty, empty))
    assert isinstance(edit, Propose)
    assert edit.experience.gathers is gathers
    assert replace(edit.experience, precedents=new.precedents) == new


@pytest.mark.parametrize(
    ("model", "gathers"), [("offline/chemist", True), ("offline/mathematician", False), ("openai/none", False)]
)
def test_an_offline_expert_that_was_not_asked_yet_is_asked_and_a_language_model_is_not(
    model: str, gathers: bool
) -> None:
    writer = LessonWriter(Critic(), Updater(), Ledger(), dspy.Predict("q -> a"), review=True)
    empty, new = ExperienceLibrary(task="t"), lesson(1, "amide", "golden")
    with dspy.context(lm=language_model(model) if model.startswith("offline") else dspy.LM(model)):
        proposal = asyncio.run(writer._decide(new, []))
        (edit,) = asyncio.run(writer.settle([proposal], empty, empty))
    assert proposal.gathers is None
    assert isinstance(edit, Propose)
    assert edit.experience.gathers is gathers

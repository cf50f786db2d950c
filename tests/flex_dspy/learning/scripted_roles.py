"""A critic and an updater that need no model: what they write depends on what they are shown."""

from __future__ import annotations

import re

import dspy

from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.libraries.experience import Experience, Insert, Merge, Rule
from flex_dspy.programs import Critic, Updater

FAMILIES = 5


class FamilyCritic(Critic):
    """One lesson a case, each of a family. Some numbers are too much for it."""

    def __init__(self, fails_on: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.fails_on = fails_on

    async def aforward(self, precedent, trajectory=None):
        number = int(re.search(r"\d+", precedent.problem)[0])
        if number in self.fails_on:
            raise ValueError(f"case {number} is too much")
        family = number % FAMILIES
        rules = (Rule(f"case {number}"),)
        method = " ".join([f"family{family}", *(f"word{number}x{place}" for place in range(8))])  # no near duplicates
        entry = Experience("golden", method, rules, category=f"family {family}", precedents=(precedent,))
        return dspy.Prediction(experience=entry)


class FamilyUpdater(Updater):
    """Merges with the nearest entry of the family, so that the library depends on what each example saw."""

    async def aforward(self, lesson, nearest):
        same = [entry for entry in nearest if entry.category == lesson.category]
        return dspy.Prediction(edit=Merge(same[0].id, lesson) if same else Insert(lesson))


def cases(count: int) -> list[dspy.Example]:
    numbers = range(count)
    return [dspy.Example(problem=f"Case {n}", answer=str(n)).with_inputs("problem") for n in numbers]


def study(count: int = 40, **options) -> ForwardLearning:
    """Learn from the reference answers of so many cases."""
    given = {"study": True, "progress": False, "window": 6, "checkpoint_every": 15, "critic": FamilyCritic()}
    optimizer = ForwardLearning(lambda example, prediction: 1.0, **{**given, "updater": FamilyUpdater(), **options})
    optimizer.compile(dspy.Predict("problem -> answer"), trainset=cases(count))
    return optimizer

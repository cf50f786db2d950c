"""AIME: competition problems of mathematics whose answers are integers from 0 to 999."""

from __future__ import annotations

import dspy

from flex_dspy.data.aime import load
from flex_dspy.evaluation.problem_text import TEXT_KEY
from flex_dspy.metrics.aime import aime
from flex_dspy.metrics.integers import canonical_integer
from flex_dspy.programs.tools import calculate
from flex_dspy.tasks.task import SHIPPED_SPLITS, Task


class SolveCompetitionProblem(dspy.Signature):
    """Solve a competition mathematics problem whose answer is an integer from 0 to 999.

    Work it out step by step: restate what is asked, choose a method, carry it through with exact arithmetic,
    and check the result against the problem's conditions (a small case, a second method, a parity or size
    argument) before you answer. If the problem asks for a sum such as m + n, answer that sum.
    """

    problem: str = dspy.InputField(desc="the problem, possibly with LaTeX")
    answer: int = dspy.OutputField(desc="the integer answer, 0 to 999")


TASK = Task(
    name="aime",
    aliases=("math",),
    signature=SolveCompetitionProblem,
    metric=aime,
    load=load,
    splits={
        "train": "aime-1983-2023",
        "val": "HuggingFaceH4/aime_2024@train",
        "test": "math-ai/aime25@test",
    },
    offline_splits=SHIPPED_SPLITS,
    expert="mathematician",
    normalize=canonical_integer,
    key=TEXT_KEY,
    tools=(calculate,),
)

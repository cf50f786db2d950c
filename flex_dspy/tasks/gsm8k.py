"""GSM8K: word problems of everyday arithmetic whose answers are integers."""

from __future__ import annotations

import dspy

from flex_dspy.data.gsm8k import load
from flex_dspy.evaluation.problem_text import TEXT_KEY
from flex_dspy.metrics.gsm8k import gsm8k
from flex_dspy.metrics.integers import canonical_integer
from flex_dspy.programs.tools import calculate
from flex_dspy.tasks.task import Task


class SolveWordProblem(dspy.Signature):
    """Solve a word problem of everyday arithmetic whose answer is an integer.

    Write down what is given, with units, and what is asked. Take one step at a time, each a single operation whose
    result you name, and keep to the units. Read the question once more before you answer: it may ask for a
    difference, a remainder or another unit than the one you computed.
    """

    problem: str = dspy.InputField(desc="the problem in words")
    answer: int = dspy.OutputField(desc="the number alone, without unit")


TASK = Task(
    name="gsm8k",
    signature=SolveWordProblem,
    metric=gsm8k,
    load=load,
    splits={
        "train": "openai/gsm8k:main@train[:90%]",
        "val": "openai/gsm8k:main@train[90%:]",
        "test": "openai/gsm8k:main@test",
    },
    normalize=canonical_integer,
    key=TEXT_KEY,
    tools=(calculate,),
)

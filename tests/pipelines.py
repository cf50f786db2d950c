"""Programs of the shapes that DSPy users have, all about one made-up operation, and a model for all of them.

The operation ``a # b`` is the product plus one. The model forgets the one until a lesson or feedback tells it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import dspy
import pydantic
from dspy.primitives.code_interpreter import FinalOutput

FACTS = ["Case files are kept by number.", "The sign # stands for an operation on two numbers."]
THEME = re.compile(r"Case (\d+): what is (\d+) # (\d+)\?")


def search(query: str) -> list[str]:
    """Find passages."""
    return [fact for fact in FACTS if set(fact.split()) & set(query.split())] or FACTS[:1]


class Rag(dspy.Module):
    """Looks something up, then answers."""

    def __init__(self) -> None:
        super().__init__()
        self.respond = dspy.ChainOfThought("context: list[str], question -> answer: int")

    def forward(self, question: str) -> dspy.Prediction:
        return self.respond(context=search(question), question=question)


class MultiHop(dspy.Module):
    """Writes a query for each hop, and answers from what all of them found."""

    def __init__(self, hops: int = 2) -> None:
        super().__init__()
        self.write_query = [dspy.ChainOfThought("notes: list[str], question -> query") for _ in range(hops)]
        self.answer = dspy.Predict("notes: list[str], question -> answer: int")

    def forward(self, question: str) -> dspy.Prediction:
        notes: list[str] = []
        for write in self.write_query:
            notes += search(write(notes=notes, question=question).query)
        return self.answer(notes=notes, question=question)


class Parity(dspy.Signature):
    """Say whether the result is even or odd."""

    question: str = dspy.InputField()
    label: Literal["even", "odd"] = dspy.OutputField()


class Record(pydantic.BaseModel):
    """What is to be extracted."""

    number: int
    result: int


class Extract(dspy.Signature):
    """Fill in the record of a case."""

    text: str = dspy.InputField()
    record: Record = dspy.OutputField()


class Both(dspy.Module):
    """Asks two predictors at once, by an ``aforward`` of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("question -> answer: int")
        self.label = dspy.Predict(Parity)

    async def aforward(self, question: str) -> dspy.Prediction:
        answer, label = await asyncio.gather(self.answer.acall(question=question), self.label.acall(question=question))
        return dspy.Prediction(answer=answer.answer, label=label.label)


class Router(dspy.Module):
    """Chooses one of its experts, which it keeps in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.route = dspy.Predict("question -> desk: Literal['small', 'large']")
        self.desks = {"small": dspy.Predict("question -> answer: int"), "large": Rag()}

    def forward(self, question: str) -> dspy.Prediction:
        return self.desks[self.route(question=question).desk](question=question)


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


def _react() -> dspy.Module:
    return dspy.ReAct("question -> answer: int", tools=[multiply], max_iters=3)


class Sandbox:
    """Runs one line of code: ``SUBMIT(a number)``."""

    def __init__(self) -> None:
        self.tools: dict[str, Callable[..., Any]] = {}

    def start(self) -> None:
        """Nothing to start."""

    def execute(self, code: str, variables: dict[str, Any] | None = None) -> Any:
        """The number, or nothing where something else is to be run."""
        found = re.fullmatch(r"SUBMIT\((\d+)\)", code.strip())
        return FinalOutput({"answer": int(found[1])}) if found else ""

    def shutdown(self) -> None:
        """Nothing to stop."""


def _rlm() -> dspy.Module:
    return dspy.RLM("question -> answer: int", max_iters=2, interpreter_factory=Sandbox)


def _best_of() -> dspy.Module:
    return dspy.BestOfN(dspy.ChainOfThought("question -> answer: int"), N=2, reward_fn=lambda _, p: 1.0, threshold=0.5)


def _refine() -> dspy.Module:
    return dspy.Refine(dspy.Predict("question -> answer: int"), N=1, reward_fn=lambda _, p: 1.0, threshold=0.5)


@dataclass(frozen=True)
class Pipeline:
    """A shape of program.

    Attributes:
        make: Makes the program.
        outputs: What of the truth its examples are labelled with.
        input: Name of its input.
    """

    make: Callable[[], dspy.Module]
    outputs: tuple[str, ...] = ("answer",)
    input: str = "question"

    def examples(self, count: int, start: int = 0) -> list[dspy.Example]:
        """Cases with the right answers."""
        return [self._example(number) for number in range(start, start + count)]

    def _example(self, number: int) -> dspy.Example:
        a, b = 3 + number % 7, 2 + number % 5
        given = {self.input: f"Case {number}: what is {a} # {b}?"}
        truth = truth_of(number, a * b + 1)
        return dspy.Example(**given, **{name: truth[name] for name in self.outputs}).with_inputs(self.input)

    def metric(self, example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> float:
        """The share of outputs that are right."""
        return sum(_plain(prediction[name]) == example[name] for name in self.outputs) / len(self.outputs)


PIPELINES = {
    "retrieval-augmented answer": Pipeline(Rag),
    "multi-hop search": Pipeline(MultiHop),
    "classifier": Pipeline(lambda: dspy.Predict(Parity), ("label",)),
    "typed extractor": Pipeline(lambda: dspy.ChainOfThought(Extract), ("record",), "text"),
    "ReAct agent": Pipeline(_react),
    "recursive language model": Pipeline(_rlm),
    "best of n": Pipeline(_best_of),
    "dspy.Refine as it is": Pipeline(_refine),
    "own aforward": Pipeline(Both, ("answer", "label")),
    "experts in a dict": Pipeline(Router),
}


def truth_of(number: int, result: int) -> dict[str, Any]:
    """All that can be asked about a case."""
    record = {"number": number, "result": result}
    return {"answer": result, "label": ("even", "odd")[result % 2], "record": record}


def model(role: str, inputs: dict[str, str], messages: list[dict[str, str]]) -> dict[str, Any]:
    """What the model says: every field that any of the programs asks for."""
    if role == "verifier":
        return {"accepted": False, "feedback": "Something was forgotten in the last step."}
    if role == "updater":
        entry = re.search(r"^## (\w+) \| (\w+)", inputs["nearest"], re.MULTILINE)
        return {"decision": {"action": "merge" if entry else "insert", "target": entry[1] if entry else None}}
    if role == "critic":
        rules = [{"text": "a # b is the product plus one", "examples": ["2 # 3 = 7"]}]
        lesson = {"category": "operations", "method": "What is a Case with # about: multiply, add one.", "rules": rules}
        return {"lesson": {**lesson, "trajectory": "2 * 3 = 6, and one is 7"}}
    number, a, b = map(int, THEME.search("\n".join(inputs.values())).groups())
    knows = "plus one" in inputs.get("experiences", "") or "rejected" in inputs.get("earlier_attempts", "")
    agent = {"next_thought": "That is all.", "next_tool_name": "finish", "next_tool_args": {}}
    code = {"code": f"SUBMIT({a * b + knows})"}
    other = {**code, "reasoning": "Step by step.", "query": f"Case {number}", "desk": ("small", "large")[number % 2]}
    return {**truth_of(number, a * b + knows), **agent, **other}


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, pydantic.BaseModel) else value

"""The tasks: a signature, a metric, and where the examples lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dspy

from flex_dspy.core.errors import ConfigurationError, DataError
from flex_dspy.core.scoring import Metric
from flex_dspy.data.files import read_rows
from flex_dspy.data.gsm8k import to_example as word_problem
from flex_dspy.metrics.gsm8k import gsm8k
from tests.benchmarks.language_model.labels import BANKING10, CLINC20
from tests.benchmarks.language_model.program import Program

TO_A_BANK = "Name the intent of a customer's message to a bank."
TO_AN_ASSISTANT = "Name the intent of a message to a voice assistant."


@dataclass(frozen=True)
class BenchTask:
    """A task of the benchmark.

    Attributes:
        name: Its name on the command line.
        program: Makes the bare program.
        metric: Score and feedback.
        example: Makes an example of a row's cells; None for a row that the task leaves out.
        train: File of the training examples, within the data folder.
        val: File of the validation examples.
        label: The field that examples are balanced over; "" for none.
    """

    name: str
    program: Callable[[], Program]
    metric: Metric
    example: Callable[[Mapping[str, Any]], dspy.Example | None]
    train: str
    val: str
    label: str = ""

    def read(self, path: Path) -> list[dspy.Example]:
        """The task's examples in a file.

        Raises:
            DataError: If the file cannot be read, or holds none.
        """
        made = (self._made(row.cells) for row in read_rows(path) if row.problem is None)
        examples = [example for example in made if example is not None]
        if not examples:
            raise DataError(f"{path} holds no example of {self.name}")
        return examples

    def _made(self, cells: Mapping[str, Any]) -> dspy.Example | None:
        try:
            return self.example(cells)
        except ValueError:  # a row without question or answer
            return None


def names() -> list[str]:
    """The tasks that there are."""
    return list(_TASKS)


def bench_task(name: str, data: Path) -> BenchTask:
    """The task with this name.

    Args:
        name: One of ``names()``.
        data: The data folder: some tasks take their labels from the training file.

    Raises:
        ConfigurationError: If there is none.
        DataError: If the data cannot be read.
    """
    if name not in _TASKS:
        raise ConfigurationError(f"there is no task {name!r}: tasks are {', '.join(_TASKS)}")
    return _TASKS[name](name, data)


def _all_labels(path: Path) -> list[str]:
    return sorted({str(row.cells["intent"]) for row in read_rows(path) if "intent" in row.cells})


def _banking10(name: str, data: Path) -> BenchTask:
    return _intents(name, "banking77", BANKING10, TO_A_BANK)


def _banking77(name: str, data: Path) -> BenchTask:
    return _intents(name, "banking77", _all_labels(data / "banking77" / "train.csv.gz"), TO_A_BANK)


def _clinc20(name: str, data: Path) -> BenchTask:
    return _intents(name, "clinc150", CLINC20, TO_AN_ASSISTANT)


def _intents(name: str, folder: str, labels: Sequence[str], instructions: str) -> BenchTask:
    fields = {
        "message": (str, dspy.InputField()),
        "intent": (Literal[tuple(labels)], dspy.OutputField()),
    }
    signature = dspy.Signature(fields, instructions)

    def example(cells: Mapping[str, Any]) -> dspy.Example | None:
        if cells.get("intent") not in labels or not cells.get("message"):
            return None
        return dspy.Example(message=str(cells["message"]).strip(), intent=cells["intent"]).with_inputs("message")

    files = f"{folder}/train.csv.gz", f"{folder}/valid.csv.gz"
    return BenchTask(name, lambda: Program(dspy.Predict(signature)), right_intent, example, *files, label="intent")


def right_intent(
    gold: Any, pred: Any, trace: Any = None, pred_name: str | None = None, pred_trace: Any = None
) -> dspy.Prediction:
    """Score 1 for the right label, with the right label as feedback: GEPA learns from what it is told."""
    said = None if pred is None else pred.get("intent")
    if said == gold.intent:
        return dspy.Prediction(score=1.0, feedback="Right.")
    return dspy.Prediction(score=0.0, feedback=f"The intent is {gold.intent}, not {said}.")


def _gsm8k(name: str, data: Path) -> BenchTask:
    signature = dspy.Signature("problem -> answer: int", "Solve the word problem.")
    files = "gsm8k/train.jsonl.gz", "gsm8k/valid.jsonl.gz"
    return BenchTask(name, lambda: Program(dspy.ChainOfThought(signature)), gsm8k, word_problem, *files)


_TASKS: Mapping[str, Callable[[str, Path], BenchTask]] = {
    "banking10": _banking10,
    "banking77": _banking77,
    "clinc20": _clinc20,
    "gsm8k": _gsm8k,
}

"""Measuring a program on examples: records, accuracy, and how sure one can be of it."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy
from tqdm.auto import tqdm

from flex_dspy.errors import ModelError, OverlapError
from flex_dspy.examples import example_id, problem_of, reference_of
from flex_dspy.library import ExperienceLibrary
from flex_dspy.retrieval import pinned, retrievers
from flex_dspy.running import call, lean, raise_if_systemic, run_sync
from flex_dspy.scoring import Metric, score

# A further measure of a prediction, beside the metric: takes the example and the prediction.
Measure = Callable[[dspy.Example, dspy.Prediction], float]

HOPELESS = 10  # so many failures in a row without one success are not the examples' fault


@dataclass(frozen=True, slots=True)
class Record:
    """What happened on one example.

    Attributes:
        example_id: Identity of the problem.
        problem: Its text.
        reference: The reference answer.
        outputs: The program's output fields.
        score: The metric's score; 0 where the program failed.
        feedback: The metric's feedback.
        measures: Further measures.
        shown: Ids of the experiences in the prompt.
        seconds: Wall time.
        error: What went wrong, if something did.
    """

    example_id: str
    problem: str
    reference: str
    outputs: Mapping[str, Any]
    score: float
    feedback: str = ""
    measures: Mapping[str, float] = field(default_factory=dict)
    shown: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A program's records on a set of examples, in the order of the examples."""

    records: tuple[Record, ...]

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(self.records)

    @property
    def accuracy(self) -> float:
        """Mean score."""
        return sum(record.score for record in self.records) / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the accuracy: Wilson's for right or wrong, the normal one for graded scores."""
        scores = [record.score for record in self.records]
        if self.n == 1 or set(scores) <= {0.0, 1.0}:
            return wilson(sum(scores), self.n)
        deviation = statistics.stdev(scores) / math.sqrt(self.n)
        return self.accuracy - 1.96 * deviation, self.accuracy + 1.96 * deviation

    def metrics(self) -> dict[str, float]:
        """Everything measured, as numbers by name."""
        low, high = self.interval
        numbers = {"accuracy": self.accuracy, "accuracy_low": low, "accuracy_high": high, "n": float(self.n)}
        for name in dict.fromkeys(name for record in self.records for name in record.measures):
            numbers[name] = sum(record.measures.get(name, 0.0) for record in self.records) / self.n
        numbers["errors"] = float(sum(bool(record.error) for record in self.records))
        return numbers


def wilson(successes: float, n: int) -> tuple[float, float]:
    """The 95% interval of a proportion.

    Source: Wilson, J. Am. Stat. Assoc. 1927, 22, 209.

    Example:
        >>> [round(bound, 3) for bound in wilson(45, 100)]
        [0.356, 0.548]
    """
    if n == 0:
        return 0.0, 1.0
    z = 1.959963984540054
    share = successes / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (centre - spread) / (1 + z * z / n)), min(1.0, (centre + spread) / (1 + z * z / n))


def evaluate(
    program: dspy.Module,
    examples: Sequence[dspy.Example],
    metric: Metric,
    *,
    library: ExperienceLibrary | None = None,
    measures: Mapping[str, Measure] | None = None,
    concurrency: int = 16,
    label: str = "evaluating",
    progress: bool = True,
    allow_overlap: bool = False,
) -> Evaluation:
    """Measure a program.

    Args:
        program: Any program.
        examples: What to measure it on; at least one.
        metric: See ``flex_dspy.scoring.score``.
        library: The snapshot that the program's retrievers read; None leaves them their own.
        measures: Further measures by name.
        concurrency: Most examples under way at once.
        label: What the progress bar says.
        progress: Whether to show one.
        allow_overlap: Measure even on examples that the library was learned from.

    Returns:
        One record an example. A program that fails on an example scores 0 there, with the error on record.

    Raises:
        OverlapError: If the library was learned from some of the examples.
        ModelError: If nothing works at all.
        ValueError: If there is no example.
    """
    return run_sync(
        aevaluate(
            program,
            examples,
            metric,
            library=library,
            measures=measures,
            concurrency=concurrency,
            label=label,
            progress=progress,
            allow_overlap=allow_overlap,
        )
    )


async def aevaluate(
    program: dspy.Module,
    examples: Sequence[dspy.Example],
    metric: Metric,
    *,
    library: ExperienceLibrary | None = None,
    measures: Mapping[str, Measure] | None = None,
    concurrency: int = 16,
    label: str = "evaluating",
    progress: bool = True,
    allow_overlap: bool = False,
) -> Evaluation:
    """The same as ``evaluate``, asynchronously."""
    if not examples:
        raise ValueError("there is no example to evaluate on")
    own = retrievers(program)
    if library is None:
        library = own[0].library if own else ExperienceLibrary()
    if not allow_overlap:
        refuse_overlap(library, examples)
    gate = asyncio.Semaphore(concurrency)
    with tqdm(total=len(examples), desc=label, unit="ex", disable=not progress, leave=False) as bar:
        watch = _Watch(bar)

        async def measured(example: dspy.Example) -> Record:
            async with gate:
                record = await _measure(program, example, metric, library, measures or {})
                watch.saw(record)
                return record

        with lean():
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(measured(example)) for example in examples]
            except ExceptionGroup as group_of_errors:
                raise group_of_errors.exceptions[0] from None
    return Evaluation(tuple(task.result() for task in tasks))


class _Watch:
    """Keeps the bar's numbers, and gives up when nothing works."""

    def __init__(self, bar: tqdm[Any]) -> None:
        self.bar = bar
        self.seen = 0
        self.total = 0.0
        self.failed_from_start = 0

    def saw(self, record: Record) -> None:
        self.seen += 1
        self.total += record.score
        self.bar.set_postfix_str(f"accuracy {self.total / self.seen:.1%}", refresh=False)
        self.bar.update()
        if record.error and self.failed_from_start == self.seen - 1:
            self.failed_from_start = self.seen
        if self.failed_from_start >= HOPELESS:
            raise ModelError(f"the first {HOPELESS} examples all failed; the last one said: {record.error}")


async def _measure(
    program: dspy.Module,
    example: dspy.Example,
    metric: Metric,
    library: ExperienceLibrary,
    measures: Mapping[str, Measure],
) -> Record:
    start = time.perf_counter()
    with pinned(library) as reading:
        try:
            prediction = await call(program, **example.inputs())
        except Exception as error:  # one example's failure: on record, with a score of 0
            raise_if_systemic(error)
            return _record(example, dspy.Prediction(), 0.0, start, error=f"{type(error).__name__}: {error}")
    verdict = score(metric, example, prediction)
    return _record(
        example,
        prediction,
        verdict.score,
        start,
        feedback=verdict.text,
        measures={name: float(measure(example, prediction)) for name, measure in measures.items()},
        shown=tuple(dict.fromkeys(reading.shown)),
    )


def _record(example: dspy.Example, prediction: dspy.Prediction, points: float, start: float, **details: Any) -> Record:
    seconds = time.perf_counter() - start
    reference = reference_of(example, prediction.keys() or example.labels().keys())
    outputs = dict(prediction.items())
    return Record(example_id(example), problem_of(example), reference, outputs, points, seconds=seconds, **details)


def learned_ids(library: ExperienceLibrary) -> set[str]:
    """Ids of all examples that the library was learned from."""
    return {precedent.example_id for entry in library for precedent in entry.precedents}


def without_overlap(
    examples: Sequence[dspy.Example], learned: Iterable[str]
) -> tuple[list[dspy.Example], list[dspy.Example]]:
    """Split examples into those that were not learned from, and those that were."""
    known = set(learned)
    clean: list[dspy.Example] = []
    shared: list[dspy.Example] = []
    for example in examples:
        (shared if example_id(example) in known else clean).append(example)
    return clean, shared


def refuse_overlap(library: ExperienceLibrary, examples: Sequence[dspy.Example]) -> None:
    """Refuse examples that the library was learned from.

    Raises:
        OverlapError: If there are any.
    """
    _, shared = without_overlap(examples, learned_ids(library))
    if shared:
        raise OverlapError(
            f"{len(shared)} of {len(examples)} examples were learned from, e.g. {problem_of(shared[0])[:120]!r}: "
            "leave them out, or allow the overlap if you want to measure memory rather than learning"
        )

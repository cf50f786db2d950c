"""Measuring a program on examples: records, accuracy, and how sure one can be of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dspy
import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from flex_dspy.core import representations
from flex_dspy.core.errors import BudgetError, ConfigurationError, ModelError
from flex_dspy.core.examples import example_id, problem_of
from flex_dspy.core.running import call, lean, raise_if_systemic, run_sync
from flex_dspy.core.scoring import Metric, Normalize, ascore, failed, lacks_reference
from flex_dspy.core.secrets import error_text
from flex_dspy.core.trajectory import Feedback
from flex_dspy.evaluation.intervals import clustered, student, wilson, written
from flex_dspy.evaluation.overlap import Key, learned_ids, refuse_overlap, without_overlap
from flex_dspy.evaluation.records import Record, by_example, vote_of
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.metrics.pass_at_k import majority_score, pass_at_k, sizes
from flex_dspy.models.rollouts import variant
from flex_dspy.models.spending import Account, Ledger
from flex_dspy.search.reading import pinned
from flex_dspy.search.retrieval import retrievers

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "HOPELESS",
    "Evaluation",
    "Measure",
    "Record",
    "aevaluate",
    "evaluate",
    "learned_ids",
    "refuse_overlap",
    "wilson",
    "without_overlap",
]

logger = logging.getLogger(__name__)

# A further measure of a prediction, beside the metric: takes the example and the prediction.
Measure = Callable[[dspy.Example, dspy.Prediction], float]

HOPELESS = 10  # so many failures in a row without one success are not the examples' fault
SOLVED = 1.0  # the score from which a sample counts as right for pass@k


@dataclass(frozen=True, slots=True)
class Evaluation(representations.Representable):
    """A program's records on a set of examples, in the order of the examples; all samples of one together.

    Raises:
        ValueError: If the samples are not numbered 0, 1, 2, ..., or one example has more than another.
    """

    records: tuple[Record, ...]

    def __post_init__(self) -> None:
        by_example(self.records)

    @property
    def n(self) -> int:
        """Number of examples."""
        return sum(record.sample == 0 for record in self.records)

    @property
    def samples(self) -> int:
        """Number of independent samples of each example."""
        return len(self.records) // self.n

    @property
    def accuracy(self) -> float:
        """Mean score, over all samples of all examples."""
        return sum(record.score for record in self.records) / len(self.records)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the accuracy; examples are independent, samples of one example are not."""
        scores = self._scores()
        return _interval(scores.mean(axis=1), self.samples, graded=not _right_or_wrong(scores))

    @property
    def tokens(self) -> int:
        """Tokens that the models took, sent and received."""
        return sum(record.tokens for record in self.records)

    @property
    def usd(self) -> float:
        """Their price, as far as it is known."""
        return sum(record.usd for record in self.records)

    def metrics(self, *, solved: float = SOLVED) -> dict[str, float]:
        """Everything measured, as numbers by name.

        With several samples also ``pass_at_k`` (the chance that one of k samples is right) and ``maj_at_n`` (the
        score of the answer that most of the n samples give), each with its 95% interval.

        Args:
            solved: The score from which a sample counts as right for ``pass_at_k``.
        """
        numbers = _bounded("accuracy", self.accuracy, self.interval)
        numbers |= {"n": float(self.n), "samples": float(self.samples)}
        if self.samples > 1:
            numbers |= self._sampled(solved)
        for name in dict.fromkeys(name for record in self.records for name in record.measures):
            numbers[name] = sum(record.measures.get(name, 0.0) for record in self.records) / len(self.records)
        numbers["errors"] = float(sum(bool(record.error) for record in self.records))
        return numbers

    def to_pandas(self) -> pd.DataFrame:
        """One row a record. See ``flex_dspy.display.frames.evaluation_frame``."""
        return representations.frame(self)

    def _scores(self) -> npt.NDArray[np.float64]:
        """Shape ``(examples, samples)``."""
        return np.array([record.score for record in self.records], dtype=float).reshape(self.n, self.samples)

    def _sampled(self, solved: float) -> dict[str, float]:
        right = (self._scores() >= solved).sum(axis=1)
        numbers: dict[str, float] = {}
        for k in sizes(self.samples):
            shares = pass_at_k(right, samples=self.samples, k=k)
            numbers |= _bounded(f"pass_at_{k}", float(shares.mean()), clustered(shares, self.samples // k))
        groups = by_example(self.records)
        votes = np.array([majority_score([r.vote for r in group], [r.score for r in group]) for group in groups])
        interval = _interval(votes, 1, graded=not _right_or_wrong(votes))
        return numbers | _bounded(f"maj_at_{self.samples}", float(votes.mean()), interval)


def _bounded(name: str, value: float, interval: tuple[float, float]) -> dict[str, float]:
    return {name: value, f"{name}_low": interval[0], f"{name}_high": interval[1]}


def _interval(means: npt.NDArray[np.float64], samples: int, *, graded: bool) -> tuple[float, float]:
    """Of the mean of the examples' means: what is known of right and wrong answers is not true of graded ones."""
    return student(means) if graded else clustered(means, samples)


def _right_or_wrong(scores: npt.NDArray[np.float64]) -> bool:
    return bool(np.isin(scores, (0.0, 1.0)).all())


def evaluate(
    program: dspy.Module,
    examples: Sequence[dspy.Example],
    metric: Metric,
    *,
    samples: int = 1,
    library: ExperienceLibrary | None = None,
    measures: Mapping[str, Measure] | None = None,
    normalize: Normalize | None = None,
    ledger: Ledger | None = None,
    role: str = "actor",
    begun: Evaluation | None = None,
    key: Key | None = None,
    concurrency: int = 16,
    label: str = "evaluating",
    progress: bool | None = True,
    allow_overlap: bool = False,
) -> Evaluation:
    """Measure a program.

    Args:
        program: Any program.
        examples: What to measure it on; at least one.
        metric: See ``flex_dspy.core.scoring.score``.
        samples: Independent samples of each example.
        library: The snapshot that the program's retrievers read; None leaves them their own.
        measures: Further measures by name.
        normalize: One form for all ways of writing an answer, so that samples can vote; None compares them as text.
        ledger: What tokens are charged to; None counts them in the records alone.
        role: As whom.
        begun: An evaluation of the same examples: its samples are kept, and only those after them are made.
        key: One form for all ways of writing a problem, to find those that were learned from.
        concurrency: Most samples under way at once.
        label: What the progress bar says.
        progress: Whether to show one; None shows it in a terminal alone.
        allow_overlap: Measure even on examples that the library was learned from.

    Returns:
        One record an example and sample. Where the program fails, or the metric fails on what it answered, the score is
        0 and the error on record.

    Raises:
        OverlapError: If the library was learned from some of the examples.
        BudgetError: If the ledger's budget is spent; what was under way is finished and charged first.
        ConfigurationError: If the metric cannot work, or an example lacks the reference that it asks for.
        ModelError: If nothing works at all.
        ValueError: If there is no example, or fewer than one sample, or ``begun`` is of other examples.
    """
    return run_sync(
        aevaluate(
            program,
            examples,
            metric,
            samples=samples,
            library=library,
            measures=measures,
            normalize=normalize,
            ledger=ledger,
            role=role,
            begun=begun,
            key=key,
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
    samples: int = 1,
    library: ExperienceLibrary | None = None,
    measures: Mapping[str, Measure] | None = None,
    normalize: Normalize | None = None,
    ledger: Ledger | None = None,
    role: str = "actor",
    begun: Evaluation | None = None,
    key: Key | None = None,
    concurrency: int = 16,
    label: str = "evaluating",
    progress: bool | None = True,
    allow_overlap: bool = False,
) -> Evaluation:
    """The same as ``evaluate``, asynchronously."""
    if not examples:
        raise ValueError("there is no example to evaluate on")
    if samples < 1:
        raise ValueError(f"an example needs at least one sample, got {samples}")
    done = _done(begun, examples)
    own = retrievers(program)
    if library is None:
        library = own[0].library if own else ExperienceLibrary()
    if not allow_overlap:
        refuse_overlap(library, examples, key=key)
    gate = asyncio.Semaphore(concurrency)
    sampler = _Sampler(metric, library, measures or {}, normalize, ledger or Ledger(), role, gate)
    missing = range(len(done[0]), samples)
    total = len(examples) * len(missing)
    hidden = None if progress is None else not progress
    with lean(), tqdm(total=total, desc=label, unit="ex", disable=hidden, leave=False) as bar:
        rows = await sampler.run(program, examples, missing, _Watch(bar, sampler.ledger))
    return Evaluation(tuple(r for had, row in zip(done, rows, strict=True) for r in [*had[:samples], *row]))


def _done(begun: Evaluation | None, examples: Sequence[dspy.Example]) -> list[tuple[Record, ...]]:
    """The samples that each example has already."""
    if begun is None:
        return [()] * len(examples)
    groups = by_example(begun.records)
    if [group[0].example_id for group in groups] != [example_id(example) for example in examples]:
        raise ValueError("the evaluation to go on from is of other examples, or in another order")
    return groups


@dataclass(frozen=True, slots=True)
class _Sampler:
    """Makes and judges samples; what they have in common."""

    metric: Metric
    library: ExperienceLibrary
    measures: Mapping[str, Measure]
    normalize: Normalize | None
    ledger: Ledger
    role: str
    gate: asyncio.Semaphore

    async def run(
        self, program: dspy.Module, examples: Sequence[dspy.Example], numbers: range, watch: _Watch
    ) -> list[list[Record]]:
        """These samples of each example. All examples get their first sample before one gets its second."""
        programs = {number: variant(program, number) if number else program for number in numbers}
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    [group.create_task(self._gated(programs[number], example, number, watch)) for example in examples]
                    for number in numbers
                ]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        if watch.spent is not None:
            raise watch.spent
        results = [[task.result() for task in row] for row in tasks]
        return [[record for row in results if (record := row[place])] for place in range(len(examples))]

    async def _gated(self, program: dspy.Module, example: dspy.Example, sample: int, watch: _Watch) -> Record | None:
        """A sample; None once the budget is spent, so that those under way can end in peace."""
        async with self.gate:
            if watch.spent is not None:
                return None
            try:
                record = await self._measured(program, example, sample)
            except BudgetError as error:
                watch.spent = error
                return None
            watch.saw(record)
            return record

    async def _measured(self, program: dspy.Module, example: dspy.Example, sample: int) -> Record:
        start = time.perf_counter()
        account = Account()
        with pinned(self.library, problem=problem_of(example)) as reading:
            try:
                with self.ledger.role(self.role) as account:
                    prediction = await call(program, **example.inputs())
                    spent = account.total  # a metric that asks a model is charged too, but is no part of the answer
                    verdict = await self._verdict(example, prediction)
            except BudgetError:
                raise
            except Exception as error:  # one example's failure: on record, with a score of 0
                raise_if_systemic(error)
                said, seconds = error_text(error), time.perf_counter() - start
                return Record.of(
                    example, dspy.Prediction(), 0.0, account.total, sample=sample, seconds=seconds, error=said
                )
        return Record.of(
            example,
            prediction,
            verdict.score,
            spent,
            sample=sample,
            seconds=time.perf_counter() - start,
            feedback=verdict.text,
            error=verdict.text if verdict.failed else "",
            measures=self._further(example, prediction),
            shown=tuple(dict.fromkeys(reading.shown)),
            vote=vote_of(example, prediction, self.normalize),
        )

    async def _verdict(self, example: dspy.Example, prediction: dspy.Prediction) -> Feedback:
        """The metric's verdict; its failure is one too.

        Raises:
            ConfigurationError: If the example does not hold what the metric asks it for.
        """
        try:
            return await ascore(self.metric, example, prediction)
        except Exception as error:
            raise_if_systemic(error)
            if lacks_reference(error, example):
                raise ConfigurationError(
                    f"the metric cannot judge example {example_id(example)}: {error} (its fields are "
                    f"{', '.join(example.keys())})"
                ) from error
            return failed(self.metric, error)

    def _further(self, example: dspy.Example, prediction: dspy.Prediction) -> dict[str, float]:
        """The further measures; one that fails is left out, which counts as 0."""
        measured = {}
        for name, measure in self.measures.items():
            try:
                measured[name] = float(measure(example, prediction))
            except Exception as error:
                raise_if_systemic(error)
                logger.warning("%s of example %s: %s", name, example_id(example), error_text(error))
        return measured


class _Watch:
    """Keeps the bar's numbers, and gives up when nothing works."""

    def __init__(self, bar: tqdm[Any], ledger: Ledger) -> None:
        self.bar = bar
        self.ledger = ledger
        self.seen = 0
        self.total = 0.0
        self.failed_from_start = 0
        self.unjudged = 0
        self.spent: BudgetError | None = None

    def saw(self, record: Record) -> None:
        self.seen += 1
        self.total += record.score
        spent = self.ledger.total
        cost = f", {spent}" if spent.tokens else ""
        self.bar.set_postfix_str(f"accuracy {written(self.total / self.seen)}{cost}", refresh=False)
        self.bar.update()
        if record.error and record.outputs:
            logger.log(logging.INFO if self.unjudged else logging.WARNING, "%s", record.error)
            self.unjudged += 1
        elif record.error and self.failed_from_start == self.seen - 1:
            self.failed_from_start = self.seen
        if self.failed_from_start >= HOPELESS:
            raise ModelError(f"the first {HOPELESS} examples all failed; the last one said: {record.error}")

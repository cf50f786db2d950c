"""Makes one sample of one example: runs the program, judges the answer and returns a record."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dspy
from tqdm.auto import tqdm

from flex_dspy.core.errors import BudgetError, ConfigurationError, ModelError
from flex_dspy.core.examples import example_id, problem_of
from flex_dspy.core.running import call, raise_if_systemic
from flex_dspy.core.scoring import ACCURACY, Metric, Normalize, ascore, failure_feedback, lacks_reference
from flex_dspy.core.secrets import error_text
from flex_dspy.core.trajectory import Feedback
from flex_dspy.evaluation.intervals import named_score_text
from flex_dspy.evaluation.records import Record, vote_of
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.spending import Account, Ledger, Usage
from flex_dspy.programs.executors import AttemptLostError
from flex_dspy.search.reading import pinned

logger = logging.getLogger(__name__)

# A further measure of a prediction besides the metric: a function of the example and the prediction.
Measure = Callable[[dspy.Example, dspy.Prediction], float]


@dataclass(frozen=True, slots=True)
class Sampler:
    """Makes and judges samples.

    Attributes:
        metric: Judges a prediction.
        measures: Further measures by name.
        normalize: Normal form of an answer.
        ledger: Counts tokens.
        role: The role that tokens are charged to.
    """

    metric: Metric
    measures: Mapping[str, Measure] = field(default_factory=dict)
    normalize: Normalize | None = None
    ledger: Ledger = field(default_factory=Ledger)
    role: str = "actor"

    async def sample(
        self, program: dspy.Module, example: dspy.Example, number: int, library: ExperienceLibrary
    ) -> Record:
        """Make one sample.

        Args:
            program: The program, or a variant of it that gives different samples.
            example: The example.
            number: Number of the sample, from 0.
            library: The snapshot that the program's retrievers read.

        Raises:
            BudgetError: If the ledger's budget is spent.
            ConfigurationError: If the metric cannot work, or the example lacks a reference field of the metric.
            ModelError: If the error would affect every other example too.
        """
        start = time.perf_counter()
        account = Account()
        with pinned(library, problem=problem_of(example)) as reading:
            try:
                with self.ledger.role(self.role) as account:
                    prediction = await call(program, **example.inputs())
                    usage = account.total  # without the tokens of a metric that calls a model, which are charged too
                    verdict = await self._judge(example, prediction)
            except BudgetError:
                raise
            except Exception as error:  # an example's failure is recorded with a score of 0
                raise_if_systemic(error)
                failure = {"error": error_text(error), "seconds": time.perf_counter() - start, "sample": number}
                return Record.of(example, dspy.Prediction(), 0.0, account.total, **failure)
        return Record.of(
            example,
            prediction,
            verdict.score,
            usage,
            sample=number,
            seconds=time.perf_counter() - start,
            feedback=verdict.text,
            error=verdict.text if verdict.failed else "",
            measures=self._measure(example, prediction),
            shown=tuple(dict.fromkeys(reading.shown)),
            vote=vote_of(example, prediction, self.normalize),
        )

    async def _judge(self, example: dspy.Example, prediction: dspy.Prediction) -> Feedback:
        """Return the metric's verdict. If the metric fails, its error becomes the verdict.

        Raises:
            ConfigurationError: If the example lacks a field that the metric needs.
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
            return failure_feedback(self.metric, error)

    def _measure(self, example: dspy.Example, prediction: dspy.Prediction) -> dict[str, float]:
        """Compute the further measures. A measure that fails is left out and counts as 0."""
        numbers = {}
        for name, measure in self.measures.items():
            try:
                numbers[name] = float(measure(example, prediction))
            except Exception as error:
                raise_if_systemic(error)
                logger.warning("%s of example %s: %s", name, example_id(example), error_text(error))
        return numbers


class SampleCall:
    """Makes one sample in an executor: a call takes an example and a snapshot and returns a record.

    Args:
        sampler: Makes and judges the sample.
        program: The program, or a variant of it that gives different samples.
        number: Number of the sample, from 0.
    """

    def __init__(self, sampler: Sampler, program: dspy.Module, number: int) -> None:
        self.sampler = sampler
        self.program = program
        self.number = number

    async def __call__(self, example: dspy.Example, library: ExperienceLibrary) -> Record:
        """Make the sample of an example."""
        return await self.sampler.sample(self.program, example, self.number, library)

    def lost(self, example: dspy.Example, error: AttemptLostError) -> Record:
        """Record of a sample whose worker was lost on every try: a failure with a score of 0."""
        return Record.of(example, dspy.Prediction(), 0.0, Usage(), error=error_text(error), sample=self.number)


class RunningAccuracy:
    """Shows the running accuracy on a progress bar, and raises an error if the first samples all fail.

    Args:
        bar: The progress bar.
        ledger: The bar shows its total.
        max_failures: Number of failures, without a success before them, after which the evaluation stops.
        score: Name of the mean score.
    """

    def __init__(self, bar: tqdm[Any], ledger: Ledger, max_failures: int, score: str = ACCURACY) -> None:
        self.bar = bar
        self.ledger = ledger
        self.max_failures = max_failures
        self.score = score
        self.count = 0
        self.total = 0.0
        self.failures_from_start = 0
        self.metric_failures = 0

    def note(self, record: Record) -> None:
        """Count one record.

        Raises:
            ModelError: If the first ``max_failures`` samples all failed.
        """
        self.count += 1
        self.total += record.score
        self._show()
        if record.error and record.outputs:
            logger.log(logging.INFO if self.metric_failures else logging.WARNING, "%s", record.error)
            self.metric_failures += 1
        elif record.error and self.failures_from_start == self.count - 1:
            self.failures_from_start = self.count
        if self.failures_from_start >= self.max_failures:
            raise ModelError(f"the first {self.max_failures} examples all failed; the last one said: {record.error}")

    def _show(self) -> None:
        spent = self.ledger.total
        cost = f", {spent}" if spent.tokens else ""
        mean = named_score_text(self.score, self.total / self.count)
        self.bar.set_postfix_str(f"{self.score} {mean}{cost}", refresh=False)
        self.bar.update()

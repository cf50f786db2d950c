"""Measures a program on examples."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import dspy
from tqdm.auto import tqdm

from flex_dspy.core.examples import example_id
from flex_dspy.core.running import synchronous
from flex_dspy.core.scoring import Metric, Normalize, name_of_score
from flex_dspy.core.settings import accepts
from flex_dspy.evaluation.concurrent_calls import gather_calls
from flex_dspy.evaluation.evaluation import Evaluation
from flex_dspy.evaluation.overlap import ProblemKey, refuse_overlap
from flex_dspy.evaluation.records import Record, by_example
from flex_dspy.evaluation.sampling import Measure, RunningAccuracy, SampleCall, Sampler
from flex_dspy.evaluation.settings import EvaluationSettings
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.adapter import lean
from flex_dspy.models.rollouts import variant
from flex_dspy.models.spending import Ledger
from flex_dspy.programs.executors import AttemptLostError, Executor, LocalExecutor, run_again_if_lost
from flex_dspy.search.retrieval import retrievers

__all__ = ["Evaluation", "Measure", "aevaluate", "evaluate"]


@accepts(EvaluationSettings)
async def aevaluate(
    program: dspy.Module,
    examples: Sequence[dspy.Example],
    metric: Metric,
    *,
    library: ExperienceLibrary | None = None,
    measures: Mapping[str, Measure] | None = None,
    normalize: Normalize | None = None,
    ledger: Ledger | None = None,
    begun: Evaluation | None = None,
    key: ProblemKey | None = None,
    executor: Executor | None = None,
    settings: EvaluationSettings | None = None,
    **options: Any,
) -> Evaluation:
    """Measure a program on examples. ``evaluate`` is the synchronous form of ``aevaluate``.

    Args:
        program: Any program.
        examples: The examples to measure it on; at least one.
        metric: See ``flex_dspy.core.scoring.score``.
        library: The snapshot that the program's retrievers read; None keeps each retriever's own library.
        measures: Further measures by name.
        normalize: Normal form of an answer, so that samples can vote; None compares answers as text.
        ledger: Tokens are charged to it; None counts them only in the records.
        begun: An earlier evaluation of the same examples. Its samples are kept, and only the missing ones are made.
        key: Normal form of a problem, to find examples that the library was learned from.
        executor: Where the program runs; None runs it in this process.
        settings: How to measure.
        **options: Fields of ``EvaluationSettings`` to change, such as ``samples`` or ``concurrency``.

    Returns:
        One record for each sample of each example. If the program or the metric fails, the score is 0 and the record
        holds the error.

    Raises:
        OverlapError: If the library was learned from some of the examples.
        BudgetError: If the ledger's budget is spent. Samples under way are finished and charged first.
        ConfigurationError: If a setting or the metric cannot work, or an example lacks a reference field.
        ModelError: If the first samples all fail (``max_failures``), or no call can succeed.
        ValueError: If there is no example, ``samples`` is less than 1, or ``begun`` has other examples.
    """
    settings = EvaluationSettings.resolve(settings, options)
    if not examples:
        raise ValueError("there is no example to evaluate on")
    if settings.samples < 1:
        raise ValueError(f"an example needs at least one sample, got {settings.samples}")
    earlier = _earlier_samples(begun, examples)
    if library is None:
        own = retrievers(program)
        library = own[0].library if own else ExperienceLibrary()
    if not settings.allow_overlap:
        refuse_overlap(library, examples, key=key)
    sampler = Sampler(metric, measures or {}, normalize, ledger or Ledger(), settings.role)
    numbers = range(len(earlier[0]), settings.samples)
    calls = [SampleCall(sampler, variant(program, number) if number else program, number) for number in numbers]
    samples = [(call, example) for call in calls for example in examples]
    executor = executor or LocalExecutor(settings.concurrency)
    made = await _make_samples(samples, library, executor, settings, sampler)
    later = [made[place :: len(examples)] for place in range(len(examples))]
    rows = zip(earlier, later, strict=True)
    records = tuple(record for old, new in rows for record in [*old[: settings.samples], *new])
    return Evaluation(records, name_of_score(metric))


evaluate = synchronous(aevaluate)


def _earlier_samples(begun: Evaluation | None, examples: Sequence[dspy.Example]) -> list[tuple[Record, ...]]:
    """Samples that an earlier evaluation made of each example."""
    if begun is None:
        return [()] * len(examples)
    groups = by_example(begun.records)
    if [group[0].example_id for group in groups] != [example_id(example) for example in examples]:
        raise ValueError("the evaluation to go on from is of other examples, or in another order")
    return groups


async def _make_samples(
    samples: Sequence[tuple[SampleCall, dspy.Example]],
    library: ExperienceLibrary,
    executor: Executor,
    settings: EvaluationSettings,
    sampler: Sampler,
) -> list[Record]:
    """Make samples, started in the given order: first one sample of every example, then the second samples."""
    hide = None if settings.progress is None else not settings.progress
    with lean(), tqdm(total=len(samples), desc=settings.label, unit="ex", disable=hide, leave=False) as bar:
        progress = RunningAccuracy(bar, sampler.ledger, settings.max_failures, name_of_score(sampler.metric))

        async def make(call: SampleCall, example: dspy.Example) -> Record:
            try:
                record = await run_again_if_lost(executor, call, example, library)
            except AttemptLostError as error:
                record = call.lost(example, error)
            progress.note(record)
            return record

        calls = [functools.partial(make, *sample) for sample in samples]
        return await gather_calls(calls, asyncio.Semaphore(settings.concurrency))

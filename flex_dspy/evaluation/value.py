"""Measures the value of each entry of a library: its effect on the score, from trials with it and without it.

    examples --reference pass--> entries shown --coins--> pairs of trials --contrasts--> values

No model is asked for an opinion. Each pair of trials runs one example twice, with complementary random halves of its
entries. So one pair gives information about all of them (see ``flex_dspy.evaluation.contrasts``). Leaving out one entry
at a time would need one call for each entry. The place of a hidden entry stays empty: the next entry in the ranking
does not replace it, so that the contrast measures only this entry. If the prompt's token budget is the limit, other
entries use the free tokens, because these tokens are part of the cost of showing the entry.

The calls are divided into a few looks. After each look, entries whose effect is clearly on one side of the threshold no
longer count when examples are chosen. Their share of the calls goes to the other entries (as in successive rejects,
Audibert and Bubeck, COLT 2010). "Clearly" uses a tenth of the error probability, shared among all entries and looks
(Bonferroni). The intervals at the end use the other nine tenths. So the final intervals account for the early looks and
are only slightly wider.

The coins depend only on the seed, and a look begins when the previous look has ended. So the result does not depend on
the order in which answers arrive.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dspy
import numpy as np
from tqdm.auto import tqdm

from flex_dspy.core.errors import BudgetError, ConfigurationError
from flex_dspy.core.examples import problem_of
from flex_dspy.core.running import call, raise_if_systemic, synchronous
from flex_dspy.core.scoring import Metric, score
from flex_dspy.core.settings import accepts
from flex_dspy.evaluation.concurrent_calls import gather_calls
from flex_dspy.evaluation.contrasts import Contrasts, half_width
from flex_dspy.evaluation.entry_values import EARLY, EntryValue
from flex_dspy.evaluation.evaluate import Evaluation, aevaluate
from flex_dspy.evaluation.overlap import ProblemKey
from flex_dspy.evaluation.settings import EvaluationSettings, ValuationSettings
from flex_dspy.evaluation.trial_design import LOOKS, Pair, TrialDesign
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.adapter import lean
from flex_dspy.models.rollouts import variant
from flex_dspy.models.spending import Ledger
from flex_dspy.programs.executors import AttemptLostError, Executor, LocalExecutor, run_again_if_lost
from flex_dspy.search.reading import pinned
from flex_dspy.search.retrieval import retrievers

# Largest share of the budget for the reference pass, which finds the entries that each example is shown.
REFERENCE_SHARE = 0.25


@accepts(ValuationSettings)
async def avalue(
    program: dspy.Module,
    examples: Sequence[dspy.Example],
    metric: Metric,
    library: ExperienceLibrary,
    *,
    ledger: Ledger | None = None,
    begun: Evaluation | None = None,
    key: ProblemKey | None = None,
    executor: Executor | None = None,
    settings: ValuationSettings | None = None,
    **options: Any,
) -> dict[str, EntryValue]:
    """Measure each entry's effect on the score of the examples that it is shown on.

    ``value`` is the synchronous form of ``avalue``.

    Args:
        program: Any program that holds an experience retriever.
        examples: Examples to try entries on. With a small budget a random part of them is used.
        metric: See ``flex_dspy.core.scoring.score``.
        library: The snapshot whose entries are measured.
        ledger: Tokens are charged to it, in the role ``actor``.
        begun: An evaluation of the same program, examples and library. It says which entries are shown, without calls.
        key: Normal form of a problem, to find examples that the library was learned from.
        executor: Where the program runs; None runs it in this process.
        settings: How to measure; ``budget`` has no default.
        **options: Fields of ``ValuationSettings`` to change, such as ``budget``.

    Returns:
        The effect of each entry by id, in the library's order, oldest first. The effect is None for an entry that no
        trial showed. An entry that only one example showed has an effect without an interval.

    Raises:
        BudgetError: If the ledger's budget is spent. Calls under way are finished and charged first.
        ConfigurationError: If the program holds no retriever, or a setting is out of its range.
        OverlapError: If the library was learned from some of the examples.
        ModelError: If the first samples all fail, or no call can succeed.
        ValueError: If there is no example, or ``begun`` has other examples.
    """
    settings = ValuationSettings.resolve(settings, options)
    if not retrievers(program):
        raise ConfigurationError("the program holds no ExperienceRetriever, so no entry can be shown to it")
    coins = np.random.default_rng(settings.seed)
    ledger = ledger or Ledger()
    if begun is None:
        examples = _sample(examples, int(settings.budget * REFERENCE_SHARE), coins)
    reference = await aevaluate(
        program,
        examples,
        metric,
        library=library,
        ledger=ledger,
        begun=begun,
        key=key,
        executor=executor,
        settings=_reference_settings(settings),
    )
    design = TrialDesign.of(reference, library, coins)
    executor = executor or LocalExecutor(settings.concurrency)
    gate = asyncio.Semaphore(settings.concurrency)
    trials = _Trials(TrialCall(program, metric, ledger), examples, library, executor, gate)
    pairs = (settings.budget - (len(examples) if begun is None else 0)) // 2
    found = await _look(design, trials, pairs, settings)
    return _effects(library, design.entries, found, 1 - settings.confidence)


value = synchronous(avalue)


def _sample(examples: Sequence[dspy.Example], most: int, coins: np.random.Generator) -> list[dspy.Example]:
    """All examples, or a random sample of ``most`` examples in their original order."""
    places = sorted(coins.permutation(len(examples))[:most].tolist())
    return [examples[place] for place in places]


def _reference_settings(settings: ValuationSettings) -> EvaluationSettings:
    return EvaluationSettings(
        concurrency=settings.concurrency,
        progress=settings.progress,
        allow_overlap=settings.allow_overlap,
        label="what is shown",
    )


async def _look(design: TrialDesign, trials: _Trials, pairs: int, settings: ValuationSettings) -> Contrasts:
    """Run the pairs of trials in a few looks, and return the final contrasts."""
    hide = None if settings.progress is None else not settings.progress
    with lean(), tqdm(total=2 * pairs, desc="valuing entries", unit="call", disable=hide, leave=False) as bar:
        for look in range(LOOKS):
            number = pairs * (look + 1) // LOOKS - pairs * look // LOOKS
            chosen = [pair for _ in range(number) if (pair := design.next()) is not None]
            await trials.run(chosen, bar)
            found = design.contrasts()
            design.let_go(found, settings.threshold, 1 - settings.confidence)
    return found


def _effects(
    library: ExperienceLibrary, entries: Sequence[str], found: Contrasts, error_chance: float
) -> dict[str, EntryValue]:
    effects = dict.fromkeys((entry.id for entry in library), EntryValue())
    for place, entry_id in enumerate(entries):
        examples, pairs = int(found.examples[place]), int(found.pairs[place])
        centre, error, effect = (float(column[place]) for column in (found.centre, found.error, found.effect))
        if examples > 1:
            half = half_width(error, examples, error_chance * (1 - EARLY))
            effects[entry_id] = EntryValue(effect, centre - half, centre + half, examples, pairs, error)
        elif pairs:
            effects[entry_id] = EntryValue(effect, examples=examples, pairs=pairs)
    return effects


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial of an example.

    Attributes:
        example: The example.
        hidden: Ids of the entries that are not shown.
        repeat: Number of earlier pairs of the example with the same halves.
    """

    example: dspy.Example
    hidden: frozenset[str]
    repeat: int


class TrialCall:
    """Runs one trial in an executor: a call takes a trial and a snapshot and returns a score.

    Args:
        program: The program. Its variant for each repeat is made once.
        metric: See ``flex_dspy.core.scoring.score``.
        ledger: Tokens are charged to it.
    """

    def __init__(self, program: dspy.Module, metric: Metric, ledger: Ledger) -> None:
        self.program = program
        self.metric = metric
        self.ledger = ledger
        self._variants: dict[int, dspy.Module] = {}

    async def __call__(self, trial: Trial, library: ExperienceLibrary) -> float:
        """Run one trial and return its score: 0 if the program fails, as in an evaluation."""
        example = trial.example
        with pinned(library, trial.hidden, replace=False, problem=problem_of(example)):
            try:
                with self.ledger.role("actor"):
                    prediction = await call(self._variant(trial.repeat), **example.inputs())
            except BudgetError:
                raise
            except Exception as error:
                raise_if_systemic(error)
                return 0.0
        return score(self.metric, example, prediction).score

    def _variant(self, repeat: int) -> dspy.Module:
        if repeat not in self._variants:
            self._variants[repeat] = variant(self.program, repeat)
        return self._variants[repeat]


@dataclass(frozen=True, slots=True)
class _Trials:
    """Makes pairs of trials. Its attributes are the same for all pairs."""

    call: TrialCall
    examples: Sequence[dspy.Example]
    library: ExperienceLibrary
    executor: Executor
    gate: asyncio.Semaphore

    async def run(self, pairs: Sequence[Pair], bar: tqdm[Any]) -> None:
        """Run all pairs of trials and store their differences.

        Raises:
            BudgetError: If the budget is spent. Trials under way are finished first.
        """
        trials = [Trial(self.examples[pair.example], hidden, pair.repeat) for pair in pairs for hidden in pair.hidden]
        scores = await gather_calls([functools.partial(self._try, trial, bar) for trial in trials], self.gate)
        for pair, first, second in zip(pairs, scores[::2], scores[1::2], strict=True):
            pair.difference = first - second

    async def _try(self, trial: Trial, bar: tqdm[Any]) -> float:
        """Run one trial and return its score: 0 if its worker was lost on every try."""
        try:
            return await run_again_if_lost(self.executor, self.call, trial, self.library)
        except AttemptLostError:
            return 0.0
        finally:
            bar.update()

"""What each entry of a library is worth: its effect on the score, from trials with it and without it.

    examples --reference pass--> what is shown --coins--> pairs of trials --contrasts--> estimates

No model is asked for an opinion. Each pair of trials asks one example twice, with complementary random halves of the
entries that it is shown, so that one pair serves all of them (see ``flex_dspy.evaluation.contrasts``); leaving out one
entry at a time would take a call an entry. A hidden entry leaves its place empty: the next in the ranking does not
take it, so that the contrast is the entry's own. Where the token budget binds, its room goes to its neighbours; that
is part of what showing it costs.

The calls are spent in a few looks. After each, entries whose effect is clearly on one side of the threshold no longer
count when examples are chosen, and what they leave goes to the others (as in successive rejects, Audibert and Bubeck,
COLT 2010). Clear is what a tenth of the chance of error allows, shared among all entries and looks (Bonferroni); the
intervals at the end use the other nine tenths, so that looking on the way costs next to nothing and is accounted for.

The coins depend on the seed alone, and a look begins when the one before has ended: the result does not depend on the
order in which answers come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import dspy
import numpy as np
from tqdm.auto import tqdm

from flex_dspy.core.errors import BudgetError, ConfigurationError
from flex_dspy.core.examples import problem_of
from flex_dspy.core.running import call, lean, raise_if_systemic, run_sync
from flex_dspy.core.scoring import Metric, score
from flex_dspy.evaluation.contrasts import Contrasts, half_width
from flex_dspy.evaluation.estimates import EARLY, Estimate
from flex_dspy.evaluation.evaluate import Evaluation, aevaluate
from flex_dspy.evaluation.overlap import Key
from flex_dspy.evaluation.trial_design import LOOKS, Design, Pair
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.rollouts import variant
from flex_dspy.models.spending import Ledger
from flex_dspy.search.reading import pinned
from flex_dspy.search.retrieval import retrievers

# At most so much of the budget goes to finding out what is shown on which example.
REFERENCE_SHARE = 0.25


def value(
    program: dspy.Module,
    examples: Sequence[dspy.Example],
    metric: Metric,
    library: ExperienceLibrary,
    *,
    budget: int,
    seed: int = 0,
    ledger: Ledger | None = None,
    concurrency: int = 16,
    confidence: float = 0.95,
    threshold: float = 0.0,
    begun: Evaluation | None = None,
    key: Key | None = None,
    progress: bool = True,
    allow_overlap: bool = False,
) -> dict[str, Estimate]:
    """Measure what each entry adds to the score of the examples that it is shown on.

    Args:
        program: Any program that holds an experience retriever.
        examples: What to try entries on. With a small budget a random part of them is used.
        metric: See ``flex_dspy.core.scoring.score``.
        library: The snapshot whose entries are measured.
        budget: Most calls of the program. A call may ask models several times, and DSPy's cache answers for nothing
            what was asked before: a call that was cut short by an error is made again at no cost.
        seed: Fixes the coins and the choice of examples.
        ledger: What tokens are charged to, as role ``actor``.
        concurrency: Most calls under way at once. It changes speed, never the result.
        confidence: That of each interval.
        threshold: The effect that matters: calls go to the entries of which it is unclear on which side they are.
        begun: An evaluation of the same program, examples and library: what is shown is known from it, for no call.
        key: One form for all ways of writing a problem, to find those that were learned from.
        progress: Whether to show progress bars.
        allow_overlap: Use even examples that the library was learned from.

    Returns:
        An estimate for each entry, by id, the library's oldest first. Entries that no trial showed have none, and say
        so; those shown on one example alone have an effect and no interval.

    Raises:
        BudgetError: If the ledger's budget is spent; what was under way is finished and charged first.
        ConfigurationError: If the program holds no retriever, or a number is out of its range.
        OverlapError: If the library was learned from some of the examples.
        ModelError: If nothing works at all.
        ValueError: If there is no example, or ``begun`` is of other examples.
    """
    return run_sync(
        avalue(
            program,
            examples,
            metric,
            library,
            budget=budget,
            seed=seed,
            ledger=ledger,
            concurrency=concurrency,
            confidence=confidence,
            threshold=threshold,
            begun=begun,
            key=key,
            progress=progress,
            allow_overlap=allow_overlap,
        )
    )


async def avalue(
    program: dspy.Module,
    examples: Sequence[dspy.Example],
    metric: Metric,
    library: ExperienceLibrary,
    *,
    budget: int,
    seed: int = 0,
    ledger: Ledger | None = None,
    concurrency: int = 16,
    confidence: float = 0.95,
    threshold: float = 0.0,
    begun: Evaluation | None = None,
    key: Key | None = None,
    progress: bool = True,
    allow_overlap: bool = False,
) -> dict[str, Estimate]:
    """The same as ``value``, asynchronously."""
    if budget < 4 or not 0 < confidence < 1:
        raise ConfigurationError(f"a budget of 4 calls is the least, got {budget}; confidence is between 0 and 1")
    if not retrievers(program):
        raise ConfigurationError("the program holds no ExperienceRetriever, so no entry can be shown to it")
    coins = np.random.default_rng(seed)
    ledger = ledger or Ledger()
    if begun is None:
        examples = _part(examples, int(budget * REFERENCE_SHARE), coins)
    reference = await aevaluate(
        program,
        examples,
        metric,
        library=library,
        ledger=ledger,
        begun=begun,
        key=key,
        concurrency=concurrency,
        label="what is shown",
        progress=progress,
        allow_overlap=allow_overlap,
    )
    design = Design.of(reference, library, coins)
    trials = _Trials(program, examples, metric, library, ledger, asyncio.Semaphore(concurrency))
    pairs = (budget - (len(examples) if begun is None else 0)) // 2
    with lean(), tqdm(total=2 * pairs, desc="valuing entries", unit="call", disable=not progress, leave=False) as bar:
        for look in range(LOOKS):
            chosen = [design.next() for _ in range(pairs * (look + 1) // LOOKS - pairs * look // LOOKS)]
            await trials.run([pair for pair in chosen if pair is not None], bar)
            found = design.contrasts()
            design.let_go(found, threshold, 1 - confidence)
    return _estimates(library, design.entries, found, 1 - confidence)


def _part(examples: Sequence[dspy.Example], most: int, coins: np.random.Generator) -> list[dspy.Example]:
    """All examples, or a random ``most`` of them in their order."""
    places = sorted(coins.permutation(len(examples))[:most].tolist())
    return [examples[place] for place in places]


def _estimates(
    library: ExperienceLibrary, entries: Sequence[str], found: Contrasts, error_chance: float
) -> dict[str, Estimate]:
    estimates = dict.fromkeys((entry.id for entry in library), Estimate())
    for place, entry_id in enumerate(entries):
        examples, pairs = int(found.examples[place]), int(found.pairs[place])
        centre, error, effect = (float(column[place]) for column in (found.centre, found.error, found.effect))
        if examples > 1:
            half = half_width(error, examples, error_chance * (1 - EARLY))
            estimates[entry_id] = Estimate(effect, centre - half, centre + half, examples, pairs, error)
        elif pairs:
            estimates[entry_id] = Estimate(effect, examples=examples, pairs=pairs)
    return estimates


# -- making them -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Trials:
    """Makes pairs of trials; what they have in common."""

    program: dspy.Module
    examples: Sequence[dspy.Example]
    metric: Metric
    library: ExperienceLibrary
    ledger: Ledger
    gate: asyncio.Semaphore
    spent: BudgetError | None = None
    programs: dict[int, dspy.Module] = field(default_factory=dict)

    async def run(self, pairs: Sequence[Pair], bar: tqdm[Any]) -> None:
        """Make all of them, and write down their differences.

        Raises:
            BudgetError: If the budget is spent, once what was under way is in.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [[group.create_task(self._gated(p, hidden, bar)) for hidden in p.hidden] for p in pairs]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        if self.spent is not None:
            raise self.spent
        for pair, (first, second) in zip(pairs, tasks, strict=True):
            pair.difference = first.result() - second.result()

    async def _gated(self, pair: Pair, hidden: frozenset[str], bar: tqdm[Any]) -> float:
        async with self.gate:
            if self.spent is not None:
                return 0.0
            try:
                return await self._score(self._program(pair.repeat), self.examples[pair.example], hidden)
            except BudgetError as error:
                self.spent = error
                return 0.0
            finally:
                bar.update()

    def _program(self, repeat: int) -> dspy.Module:
        if repeat not in self.programs:
            self.programs[repeat] = variant(self.program, repeat)
        return self.programs[repeat]

    async def _score(self, program: dspy.Module, example: dspy.Example, hidden: frozenset[str]) -> float:
        """The score of one trial; 0 where the program fails, as in an evaluation."""
        with pinned(self.library, hidden, replace=False, problem=problem_of(example)):
            try:
                with self.ledger.role("actor"):
                    prediction = await call(program, **example.inputs())
            except BudgetError:
                raise
            except Exception as error:
                raise_if_systemic(error)
                return 0.0
        return score(self.metric, example, prediction).score

"""The value of entries: what is planted is found, at the price agreed, whatever the order of answers."""

import asyncio
from collections import Counter
from typing import Any

import dspy
import pytest

from flex_dspy.core.errors import BudgetError, ConfigurationError, OverlapError
from flex_dspy.core.examples import example_id
from flex_dspy.evaluation.comparison import compare
from flex_dspy.evaluation.entry_values import EntryValue
from flex_dspy.evaluation.evaluate import evaluate
from flex_dspy.evaluation.pruning import prune
from flex_dspy.evaluation.value import value
from flex_dspy.libraries.experience import Experience, Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.prices import Price
from flex_dspy.models.spending import Ledger
from flex_dspy.search.retrieval import ExperienceRetriever
from tests.planted import SHOWN, Quick, planted, problems, program, right


class Counting(Quick):
    """Counts its calls, and keeps what was shown."""

    def __init__(self, library: ExperienceLibrary, effect: float = 0.15) -> None:
        super().__init__(library, effect)
        self.seen: list[tuple[str, tuple[str, ...]]] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> "Counting":
        return self

    async def aforward(self, question: str) -> dspy.Prediction:
        found = self.retriever(question)
        self.seen.append((question, tuple(hit.experience.id for hit in found.hits)))
        return await super().aforward(question)


SMALL = planted(3, 3, 4)


def valued(module: dspy.Module, budget: int, count: int = 30, **options: Any) -> dict[str, EntryValue]:
    library = options.pop("library", SMALL)
    examples = options.pop("examples", None) or problems(count, library, shown=4)
    return value(module, examples, options.pop("metric", right), library, budget=budget, progress=False, **options)


# -- the proof -----------------------------------------------------------------------------------------------


def test_harmful_entries_are_pruned_and_helpful_ones_kept() -> None:
    library = planted(harmful=20, helpful=20, neutral=20)
    module = Quick(library, effect=0.2)
    estimates = value(module, problems(240, library), right, library, budget=5_000, progress=False)
    plan = prune(library, estimates)
    kinds = Counter(library[removal.entry_id].category for removal in plan.removals)
    assert kinds["harmful"] >= 18
    assert kinds["helpful"] <= 2
    assert kinds["neutral"] <= 2
    held_out = compare(plan.before, plan.after, module, problems(300, library, seed=1), right, progress=False)
    assert held_out.after.accuracy >= held_out.before.accuracy
    assert held_out.gain[1] > 0.1


def test_nothing_is_pruned_where_no_entry_does_anything() -> None:
    library = planted(20, 20, 20)
    estimates = value(Quick(library, effect=0.0), problems(100, library), right, library, budget=1_500, progress=False)
    assert prune(library, estimates).removals == ()
    crossing = [estimate.low <= 0 <= estimate.high for estimate in estimates.values()]  # type: ignore[operator]
    assert sum(crossing) >= 0.9 * len(library)


# -- the calls -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [4, 41, 200])
def test_no_more_calls_than_the_budget(budget: int) -> None:
    module = Counting(SMALL)
    valued(module, budget)
    assert budget - 2 <= len(module.seen) <= budget


def test_a_pair_shows_each_entry_once_and_puts_nothing_in_its_place() -> None:
    module = Counting(SMALL)
    module.retriever.k = 3  # a fourth entry fits each problem: it must never move up
    full = {
        e.question: {h.experience.id for h in module.retriever(e.question).hits} for e in problems(30, SMALL, shown=4)
    }
    valued(module, 200, concurrency=1)
    trials = module.seen[30:]
    assert len(trials) == 170
    for (question, first), (again, second) in zip(trials[::2], trials[1::2], strict=True):
        assert question == again
        assert set(first) | set(second) == full[question]
        assert not set(first) & set(second)
    assert len({len(first) for _, first in trials}) > 1  # halves of equal size would bias the estimates


def test_an_evaluation_that_is_there_saves_its_calls() -> None:
    module, examples = Counting(SMALL), problems(30, SMALL, shown=4)
    begun = evaluate(module, examples, right, library=SMALL, progress=False)
    module.seen.clear()
    estimates = valued(module, 60, examples=examples, begun=begun)
    assert len(module.seen) == 60
    assert sum(estimate.pairs for estimate in estimates.values()) == 30 * 4
    with pytest.raises(ValueError, match="other examples"):
        valued(module, 60, examples=examples[1:], begun=begun)


def test_entries_that_are_clear_leave_their_calls_to_the_others() -> None:
    module = Quick(planted(1, 1, 8), effect=0.45)
    library = module.retriever.library
    estimates = valued(module, 1_600, 100, library=library, examples=problems(100, library, shown=2))
    pairs = {kind: [estimates[e.id].pairs for e in library if e.category == kind] for kind in ("harmful", "neutral")}
    assert max(pairs["harmful"]) < 0.8 * min(pairs["neutral"])


def test_repeated_halves_ask_for_fresh_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: Counter[int] = Counter()

    def variant(module: dspy.Module, number: int) -> dspy.Module:
        numbers[number] += 1
        return module

    monkeypatch.setattr("flex_dspy.evaluation.value.variant", variant)
    valued(Quick(SMALL), 80, examples=problems(5, SMALL, shown=1))
    assert sorted(numbers) == list(range(len(numbers)))
    assert len(numbers) >= 7  # some 37 pairs of 5 examples with one pair of halves each


# -- the same, whatever the order ----------------------------------------------------------------------------


class Slow(Quick):
    async def aforward(self, question: str) -> dspy.Prediction:
        await asyncio.sleep(hash(question) % 7 * 0.0003)
        return await super().aforward(question)


def test_the_result_depends_on_the_seed_alone() -> None:
    first = valued(Quick(SMALL), 120, concurrency=1)
    assert valued(Slow(SMALL), 120, concurrency=1) == first
    assert valued(Slow(SMALL), 120, concurrency=40) == first
    assert valued(Quick(SMALL), 120, seed=1) != first


def test_it_runs_within_a_running_loop() -> None:
    async def notebook() -> dict[str, EntryValue]:
        return valued(Quick(SMALL), 40)

    assert asyncio.run(notebook()) == valued(Quick(SMALL), 40)


# -- what is said --------------------------------------------------------------------------------------------


def test_entries_that_are_never_shown_say_so() -> None:
    library = planted(2, 2, 3)
    lonely = ExperienceLibrary([*library, Experience(zone="warning", method="Quite another thing.")])
    estimates = valued(Quick(lonely), 60, library=lonely, examples=problems(20, library, shown=3))
    assert list(estimates) == [entry.id for entry in lonely]
    (never,) = (estimates[entry.id] for entry in lonely if entry.zone == "warning")
    assert (never, str(never), never.chance()) == (EntryValue(), "never shown", 1.0)
    assert all(e.is_known for entry_id, e in estimates.items() if lonely[entry_id].zone == "golden")


def test_an_empty_library_has_nothing_to_measure() -> None:
    module = Counting(ExperienceLibrary())
    assert valued(module, 40, library=ExperienceLibrary(), examples=problems(5, SMALL)) == {}
    assert len(module.seen) == 5
    with pytest.raises(ValueError, match="no example"):
        value(module, [], right, SMALL, budget=40, progress=False)


def test_one_example_gives_an_effect_and_no_interval() -> None:
    estimates = valued(Quick(SMALL), 40, examples=problems(1, SMALL, shown=2))
    shown = [estimate for estimate in estimates.values() if estimate.pairs]
    assert len(shown) == 2
    assert all(e.effect is not None and e.low is None and not e.is_known for e in shown)
    assert "one example" in str(shown[0])


def test_intervals_are_wider_for_more_confidence() -> None:
    sure, unsure = (valued(Quick(SMALL), 120, confidence=confidence) for confidence in (0.99, 0.8))
    for entry_id, estimate in sure.items():
        other = unsure[entry_id]
        assert estimate.low < other.low < other.high < estimate.high  # type: ignore[operator]


def test_a_program_that_fails_scores_nothing() -> None:
    harmful = {entry.id for entry in SMALL if entry.category == "harmful"}

    class Breaks(Quick):
        async def aforward(self, question: str) -> dspy.Prediction:
            shown = {hit.experience.id for hit in self.retriever(question).hits}
            if len(shown) < SHOWN // 2 and shown & harmful:
                raise ValueError("the answer cannot be read")
            return dspy.Prediction(answer=question.partition(":")[0].removeprefix("0/"))

    estimates = valued(Breaks(SMALL), 400)
    assert all(estimates[entry_id].effect < -0.3 for entry_id in harmful)  # type: ignore[operator]


# -- what stops it -------------------------------------------------------------------------------------------


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="budget of 4"):
        valued(Quick(SMALL), 3)
    with pytest.raises(ConfigurationError, match="confidence"):
        valued(Quick(SMALL), 40, confidence=1.0)
    with pytest.raises(ConfigurationError, match="holds no ExperienceRetriever"):
        valued(dspy.Predict("question -> answer"), 40)


def test_examples_that_were_learned_from_are_refused() -> None:
    (example, *_) = examples = problems(5, SMALL)
    case = Precedent(example_id(example), example.question, example.answer)
    library = ExperienceLibrary([Experience(zone="golden", method="m", precedents=(case,))])
    with pytest.raises(OverlapError):
        valued(Quick(library), 40, library=library, examples=examples)


def test_a_spent_budget_passes_through_once_what_is_under_way_is_in() -> None:
    module = program(SMALL)
    ledger = Ledger(budget_tokens=110 * 50, prices={"planted/0.15": Price.per_million(0, 0)})
    with pytest.raises(BudgetError, match="is spent"):
        valued(module, 400, ledger=ledger, concurrency=4)
    assert 50 <= ledger.by_role["actor"].calls <= 54


def test_an_actor_with_a_model_is_measured_through_its_prompt() -> None:
    library = planted(1, 1, 2)
    estimates = valued(program(library, effect=0.45), 300, library=library, examples=problems(40, library, shown=2))
    effects = {library[entry_id].category: estimate.effect for entry_id, estimate in estimates.items()}
    assert effects["harmful"] < -0.25  # type: ignore[operator]
    assert effects["helpful"] > 0.25  # type: ignore[operator]


def test_a_retriever_of_its_own_size_is_left_as_it_was() -> None:
    module = Quick(SMALL)
    valued(module, 40)
    assert isinstance(module.retriever, ExperienceRetriever)
    assert len(module.retriever(problems(1, SMALL, shown=4)[0].question).hits) == 4

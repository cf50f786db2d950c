"""Evaluation: honest numbers, in order, and errors that say what they are."""

import asyncio
import math
import re
import threading
from collections.abc import Callable
from typing import Any

import dspy
import numpy as np
import pytest

from flex_dspy.core.errors import BudgetError, ConfigurationError, ModelError, OverlapError
from flex_dspy.core.examples import example_id, problem_of
from flex_dspy.evaluation.evaluate import Evaluation, aevaluate, evaluate
from flex_dspy.evaluation.intervals import score_text, student, wilson
from flex_dspy.evaluation.overlap import precedent_ids, refuse_overlap, without_overlap
from flex_dspy.evaluation.records import Record
from flex_dspy.evaluation.settings import HOPELESS
from flex_dspy.libraries.experience import Experience, Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.prices import Price
from flex_dspy.models.spending import Ledger
from flex_dspy.search.retrieval import ExperienceRetriever
from tests.llm_server import LLMServer


def examples(count: int) -> list[dspy.Example]:
    return [dspy.Example(question=f"q{i}", answer=f"a{i}").with_inputs("question") for i in range(count)]


def learned(*questions: str) -> ExperienceLibrary:
    entries = []
    for question in questions:
        example = dspy.Example(question=question).with_inputs("question")
        case = Precedent(example_id(example), problem_of(example), "a")
        entries.append(Experience(zone="golden", method=f"about {question}", precedents=(case,)))
    return ExperienceLibrary(entries)


class Answer(dspy.Module):
    """Answers as a function says, on the event loop, later examples sooner."""

    def __init__(self, answer: Callable[[str], str], library: ExperienceLibrary | None = None) -> None:
        super().__init__()
        self.answer = answer
        self.retriever = ExperienceRetriever(library, views=["lexical"])

    async def aforward(self, question: str) -> dspy.Prediction:
        await asyncio.sleep(0.02 / (1 + int(question[1:])))
        self.retriever(question)
        return dspy.Prediction(answer=self.answer(question))


class Blocking(dspy.Module):
    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=question.replace("q", "a"))


def right(question: str) -> str:
    return question.replace("q", "a")


def exact(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> float:
    return float(example.answer == prediction.answer)


def measured(program: dspy.Module, count: int = 12, **options: Any) -> Evaluation:
    return evaluate(program, examples(count), options.pop("metric", exact), progress=False, **options)


# -- how sure one can be -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe, Stat. Med. 1998, 17, 857, table I, method 3; and the closed form at the ends
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_wilson_intervals_are_those_of_the_literature(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=6e-5)


def test_nothing_measured_is_nothing_known() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def graded(*scores: float) -> Evaluation:
    return Evaluation(tuple(Record(f"e{i}", "p", "r", {}, score) for i, score in enumerate(scores)))


def test_right_or_wrong_has_wilsons_interval() -> None:
    assert graded(1.0, 0.0, 1.0, 1.0).interval == wilson(3, 4)
    assert graded(True, False).interval == wilson(1, 2)


def test_graded_scores_have_the_interval_of_their_spread() -> None:
    scores = (0.4, 0.45, 0.65, 0.5)
    half = 3.182446 * math.sqrt(sum((score - 0.5) ** 2 for score in scores) / 3 / 4)  # Student's t, three degrees
    found = graded(*scores)
    assert found.accuracy == pytest.approx(0.5)
    assert found.interval == pytest.approx((0.5 - half, 0.5 + half))
    twice = Evaluation(tuple(Record(f"e{i}", "p", "r", {}, s, sample=k) for i, s in enumerate(scores) for k in (0, 1)))
    assert twice.interval == pytest.approx(found.interval)  # two samples alike say no more than one


def test_the_interval_of_graded_scores_holds_their_mean_as_often_as_it_says() -> None:
    dice = np.random.default_rng(0)
    bounds = [student(dice.beta(2, 1, 10)) for _ in range(2_000)]
    assert 0.92 < np.mean([low <= 2 / 3 <= high for low, high in bounds]) < 0.97  # 1.96 errors: 0.90


def test_graded_scores_that_are_shares_have_an_interval_of_shares() -> None:
    assert graded(0.9, 1.0, 0.4).interval[1] == 1.0
    assert graded(0.5, 0.5, 0.5).interval == wilson(1.5, 3)
    assert graded(0.5).interval == wilson(0.5, 1)
    low, high = graded(-3.0, 12.0, 0.0).interval
    assert low < -3
    assert high > 12
    assert graded(7.0).interval == (-math.inf, math.inf)


def test_a_mean_is_written_as_a_percentage_where_it_is_a_share() -> None:
    assert [score_text(0.597), score_text(0.0), score_text(1.0)] == ["59.7%", "0.0%", "100.0%"]
    assert [score_text(-0.25), score_text(1.5), score_text(1234.5), score_text(0.5, -0.1)] == [
        "-0.25",
        "1.5",
        "1234",
        "0.5",
    ]


# -- records -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 3, 50])
@pytest.mark.parametrize("program", [Answer(right), Blocking()])
def test_records_are_in_the_order_of_the_examples(program: dspy.Module, concurrency: int) -> None:
    found = measured(program, concurrency=concurrency)
    assert [record.problem for record in found.records] == [f"q{i}" for i in range(12)]
    assert [record.reference for record in found.records] == [f"a{i}" for i in range(12)]
    assert [record.outputs["answer"] for record in found.records] == [f"a{i}" for i in range(12)]
    assert found.accuracy == 1.0


def test_no_more_than_so_many_are_under_way_at_once() -> None:
    under_way, most = 0, 0

    class Counting(dspy.Module):
        async def aforward(self, question: str) -> dspy.Prediction:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.001)
            under_way -= 1
            return dspy.Prediction(answer=question)

    measured(Counting(), concurrency=3)
    assert most == 3


def test_a_failure_is_a_score_of_0_on_record() -> None:
    def sometimes(question: str) -> str:
        if question in ("q3", "q7"):
            raise ValueError("no idea")
        return right(question)

    found = measured(Answer(sometimes), measures={"length": lambda e, p: len(p.answer)})
    failed = [record for record in found.records if record.error]
    assert [record.problem for record in failed] == ["q3", "q7"]
    assert all((r.score, r.error, r.reference) == (0.0, "ValueError: no idea", f"a{r.problem[1:]}") for r in failed)
    numbers = found.metrics()
    assert numbers["accuracy"] == pytest.approx(10 / 12)
    assert numbers["errors"] == 2
    assert numbers["n"] == 12
    assert (numbers["accuracy_low"], numbers["accuracy_high"]) == wilson(10, 12)
    assert numbers["length"] == pytest.approx(sum(len(f"a{i}") for i in range(12) if i not in (3, 7)) / 12)


def test_a_metric_that_fails_on_an_answer_gives_it_no_points_and_says_why(caplog) -> None:
    def number(example: dspy.Example, prediction: dspy.Prediction) -> float:
        return float(prediction.answer)

    found = measured(Answer(lambda question: "2" if question == "q1" else "nan" if question == "q2" else "two"), 12,
                     metric=number, measures={"inverse": lambda e, p: 1 / (p.answer == "2")})  # fmt: skip
    assert [record.score for record in found.records] == [0.0, 2.0, *[0.0] * 10]  # more in a row than HOPELESS
    assert "number raised ValueError: could not convert string to float: 'two'" in found.records[0].error
    assert "metric 'number' returned nan" in found.records[2].feedback
    assert found.records[0].outputs == {"answer": "two"}
    assert found.metrics()["errors"] == 11
    assert found.metrics()["inverse"] == pytest.approx(1 / 12)
    assert sum("number" in message for message in caplog.messages) == 1


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (
            lambda example, prediction: example.solution == prediction.answer,
            r"no attribute 'solution' \(its fields are q",
        ),
        (lambda example: 1.0, r"takes \(example\): it must take"),
        (lambda example, prediction: "good", "returned str"),
        (lambda example, prediction: undefined, "'undefined' is not defined"),  # noqa: F821
    ],
)
def test_a_metric_that_can_judge_no_answer_is_an_error_at_once(metric: Any, said: str) -> None:
    asked = []
    with pytest.raises(ConfigurationError, match=said):
        measured(Answer(lambda question: asked.append(question) or "x"), 40, metric=metric, concurrency=1)
    assert len(asked) == 1


def test_metrics_do_not_wait_for_each_other() -> None:
    together = threading.Barrier(4)

    def waiting(example: dspy.Example, prediction: dspy.Prediction) -> bool:
        together.wait(timeout=10)
        return True

    assert measured(Answer(right), 4, metric=waiting).accuracy == 1.0


def test_what_a_metric_asks_a_model_is_paid_for_and_no_part_of_the_answer(llm_server: LLMServer, lm: dspy.LM) -> None:
    llm_server.script = lambda role, inputs, messages: {"good": "True"}
    judge = dspy.Predict("answer -> good: bool")

    def judged(example: dspy.Example, prediction: dspy.Prediction) -> bool:
        return bool(judge(answer=prediction.answer).good)

    ledger = Ledger()
    found = measured(Answer(right), 3, metric=judged, ledger=ledger, role="validation")
    assert found.accuracy == 1.0
    assert found.tokens == 0
    assert ledger.total.calls == 3
    assert ledger.total.tokens > 0


def test_feedback_and_what_was_shown_are_on_record() -> None:
    library = learned("q90", "q91")

    def metric(example: dspy.Example, prediction: dspy.Prediction) -> dspy.Prediction:
        return dspy.Prediction(score=0.5, feedback=f"half of {example.answer}")

    class Asking(Answer):
        async def aforward(self, question: str) -> dspy.Prediction:
            self.retriever("about q90")
            self.retriever("about q90")
            return dspy.Prediction(answer="x")

    found = measured(Asking(right), 2, metric=metric, library=library)
    assert [record.feedback for record in found.records] == ["half of a0", "half of a1"]
    assert set(found.records[0].shown) == {entry.id for entry in library}
    assert len(found.records[0].shown) == 2


def test_the_library_given_is_read_even_where_it_is_empty() -> None:
    class Counting(Answer):
        async def aforward(self, question: str) -> dspy.Prediction:
            return dspy.Prediction(answer=len(self.retriever("about q90").hits))

    program = Counting(right, learned("q90"))
    for library, size in ((None, 1), (ExperienceLibrary(), 0), (learned("q91", "q92"), 2)):
        assert measured(program, 1, library=library).records[0].outputs["answer"] == size


# -- what stops an evaluation --------------------------------------------------------------------------------


def failing(error: Exception) -> Callable[[str], str]:
    def answer(question: str) -> str:
        raise error

    return answer


def test_what_no_example_would_survive_is_raised_as_it_is() -> None:
    with pytest.raises(ConfigurationError, match="no such model"):
        measured(Answer(failing(ConfigurationError("no such model"))))


def test_ten_failures_from_the_start_end_it() -> None:
    with pytest.raises(ModelError, match=rf"first {HOPELESS} examples all failed.*connection refused"):
        measured(Answer(failing(OSError("connection refused"))), 30, concurrency=2)


def test_one_success_among_the_first_is_reason_to_go_on() -> None:
    def once(question: str) -> str:
        if question != "q0":
            raise OSError("connection refused")
        return "a0"

    found = measured(Answer(once), 30, concurrency=1)
    assert found.metrics()["errors"] == 29


def test_a_broken_metric_is_an_error_at_once() -> None:
    with pytest.raises(ConfigurationError, match="returned NoneType"):
        measured(Answer(right), metric=lambda example, prediction: None)


def test_no_example_is_an_error() -> None:
    with pytest.raises(ValueError, match="no example"):
        measured(Answer(right), 0)


# -- several samples -----------------------------------------------------------------------------------------


class Sampled(dspy.Module):
    """Sample i of question j is right where the table says so; the calls are counted."""

    def __init__(self, table: list[str]) -> None:
        super().__init__()
        self.table = table
        self.asked: list[str] = []
        self.number = 0

    async def aforward(self, question: str) -> dspy.Prediction:
        self.asked.append(f"{question}/{self.number}")
        await asyncio.sleep(0.001 * (3 - int(question[1:]) % 3))
        return dspy.Prediction(answer=self.table[int(question[1:])][self.number])


@pytest.fixture
def numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    def variant(program: Sampled, number: int) -> Sampled:
        copy = Sampled(program.table)
        copy.asked, copy.number = program.asked, number
        return copy

    monkeypatch.setattr("flex_dspy.evaluation.evaluate.variant", variant)


def same_letter(example: dspy.Example, prediction: dspy.Prediction) -> float:
    return float(prediction.answer == "a")


@pytest.mark.usefixtures("numbered")
@pytest.mark.parametrize("concurrency", [1, 7])
def test_samples_of_an_example_stand_together_and_are_numbered(concurrency: int) -> None:
    found = measured(Sampled(["aab", "bbb", "abb"]), 3, metric=same_letter, samples=3, concurrency=concurrency)
    assert [(r.problem, r.sample) for r in found.records] == [(f"q{e}", s) for e in range(3) for s in range(3)]
    assert "".join(record.outputs["answer"] for record in found.records) == "aabbbbabb"
    assert (found.n, found.samples, found.accuracy) == (3, 3, pytest.approx(3 / 9))


@pytest.mark.usefixtures("numbered")
def test_pass_at_k_and_the_majority_are_measured() -> None:
    numbers = measured(Sampled(["aabc", "bbbb", "abba"]), 3, metric=same_letter, samples=4).metrics()
    assert numbers["n"] == 3
    assert numbers["samples"] == 4
    assert numbers["pass_at_1"] == pytest.approx(numbers["accuracy"]) == pytest.approx(4 / 12)
    assert numbers["pass_at_2"] == pytest.approx((5 / 6 + 0 + 5 / 6) / 3)
    assert numbers["pass_at_4"] == pytest.approx(2 / 3)
    assert numbers["maj_at_4"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert (numbers["pass_at_4_low"], numbers["pass_at_4_high"]) == pytest.approx(wilson(2, 3))
    for name in ("accuracy", "pass_at_1", "pass_at_2", "pass_at_4", "maj_at_4"):
        assert 0 <= numbers[f"{name}_low"] <= numbers[name] <= numbers[f"{name}_high"] <= 1
    assert not any(re.search(r"[^\w]", name) for name in numbers)


def test_one_sample_has_no_pass_at_k() -> None:
    assert [name for name in measured(Answer(right)).metrics() if "_at_" in name] == []


@pytest.mark.usefixtures("numbered")
def test_samples_that_are_there_are_not_made_again() -> None:
    program = Sampled(["abc", "bca", "cab"])
    first = measured(program, 3, metric=same_letter, samples=1)
    whole = measured(program, 3, metric=same_letter, samples=3, begun=first)
    assert sorted(program.asked) == [f"q{example}/{sample}" for example in range(3) for sample in range(3)]
    assert [record.outputs["answer"] for record in whole.records] == list("abcbcacab")
    assert whole.records[0] == first.records[0]
    with pytest.raises(ValueError, match="other examples"):
        measured(program, 2, samples=2, begun=first)


def test_what_is_scored_from_counts_as_solved() -> None:
    half = Evaluation(tuple(Record("e", "p", "r", {}, score, sample=i) for i, score in enumerate((0.5, 0.2))))
    assert half.metrics()["pass_at_2"] == 0.0
    assert half.metrics(solved=0.5)["pass_at_2"] == 1.0


def test_samples_of_one_example_are_no_independent_trials() -> None:
    def grid(rows: list[list[int]]) -> Evaluation:
        return Evaluation(
            tuple(
                Record(f"e{i}", "p", "r", {}, score, sample=j)
                for i, row in enumerate(rows)
                for j, score in enumerate(row)
            )
        )

    same = grid([[1] * 8] * 10 + [[0] * 8] * 10)  # as if each was asked once
    assert same.interval == pytest.approx(wilson(10, 20))
    mixed = grid([[1, 0] * 4] * 20)  # no example is harder than another
    assert mixed.interval == pytest.approx(wilson(80, 160))
    assert grid([[0] * 8] * 20).interval == wilson(0, 20)


def test_an_example_needs_a_sample() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        measured(Answer(right), samples=0)


# -- tokens --------------------------------------------------------------------------------------------------


def asking() -> dspy.Module:
    return dspy.Predict("question -> answer")


def test_records_carry_the_tokens_of_each_sample(lm: dspy.LM, llm_server: LLMServer) -> None:
    llm_server.script = lambda role, inputs, messages: {"answer": right(inputs["question"])}
    ledger = Ledger(prices={"openai/test": Price.per_million(1, 2)})
    found = measured(asking(), 3, samples=2, ledger=ledger)
    assert all(record.prompt_tokens > 0 and record.completion_tokens > 0 for record in found.records)
    assert found.tokens == ledger.total.tokens == ledger.by_role["actor"].tokens
    assert found.usd == pytest.approx(ledger.total.usd)
    assert found.usd > 0
    assert measured(asking(), 1).tokens > 0  # counted without a ledger too


def test_a_spent_budget_ends_it_after_what_is_under_way(lm: dspy.LM, llm_server: LLMServer) -> None:
    llm_server.script = lambda role, inputs, messages: {"answer": right(inputs["question"])}
    ledger = Ledger(budget_tokens=1)
    with pytest.raises(BudgetError, match="is spent"):
        measured(asking(), 30, ledger=ledger, concurrency=3)
    assert 1 <= ledger.total.calls == len(llm_server.requests) <= 3


# -- overlap -------------------------------------------------------------------------------------------------


def test_examples_that_were_learned_from_are_refused() -> None:
    library = learned("q3", "q99")
    with pytest.raises(OverlapError, match=r"^1 of 12 examples were learned from, .* 'q3'"):
        measured(Answer(right), library=library)
    with pytest.raises(OverlapError):
        measured(Answer(right, library))  # the program's own library counts as well
    assert measured(Answer(right), library=library, allow_overlap=True).n == 12
    refuse_overlap(learned("q99"), examples(12))


def test_a_set_is_split_at_the_overlap() -> None:
    clean, shared = without_overlap(examples(4), precedent_ids(learned("q1", "q3", "q8")))
    assert [example.question for example in clean] == ["q0", "q2"]
    assert [example.question for example in shared] == ["q1", "q3"]


# -- event loops ---------------------------------------------------------------------------------------------


def test_it_runs_inside_a_running_loop_as_in_a_notebook() -> None:
    async def cell() -> Evaluation:
        return measured(Answer(right))

    assert asyncio.run(cell()).accuracy == 1.0


def test_an_error_inside_a_running_loop_is_the_same_error() -> None:
    async def cell() -> Evaluation:
        return measured(Answer(failing(ConfigurationError("no such model"))))

    with pytest.raises(ConfigurationError, match="no such model"):
        asyncio.run(cell())


def test_the_asynchronous_form_is_the_same() -> None:
    found = asyncio.run(aevaluate(Answer(right), examples(5), exact, progress=False))
    assert [record.problem for record in found.records] == [f"q{i}" for i in range(5)]

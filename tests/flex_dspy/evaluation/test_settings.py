"""Evaluations take settings as one object or by name, and say in one line how they went."""

import asyncio
import inspect
import subprocess
import sys

import dspy
import pytest

from flex_dspy.core.errors import BudgetError, ConfigurationError
from flex_dspy.evaluation.concurrent_calls import gather_calls
from flex_dspy.evaluation.evaluate import Evaluation, aevaluate, evaluate
from flex_dspy.evaluation.records import Record
from flex_dspy.evaluation.settings import EvaluationSettings, PruningSettings, ValuationSettings
from flex_dspy.evaluation.value import avalue, value


class Echo(dspy.Module):
    async def aforward(self, question):
        return dspy.Prediction(answer=question)


EXAMPLES = [dspy.Example(question=f"q{n}", answer=f"q{n}").with_inputs("question") for n in range(3)]


def right(example, prediction):
    return float(example.answer == prediction.answer)


def test_settings_and_names_give_the_same_evaluation():
    settings = EvaluationSettings(samples=2, progress=False)
    one = evaluate(Echo(), EXAMPLES, right, settings=settings)
    other = evaluate(Echo(), EXAMPLES, right, samples=2, progress=False)
    assert [(r.example_id, r.sample, r.score) for r in one.records] == [
        (r.example_id, r.sample, r.score) for r in other.records
    ]
    assert evaluate(Echo(), EXAMPLES, right, settings=settings, samples=1).samples == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [({"concurrency": 0}, "concurrency must be at least 1"), ({"sample": 3}, "no setting 'sample'")],
)
def test_a_setting_that_cannot_work_is_refused_before_any_call(options, message):
    with pytest.raises(ConfigurationError, match=message):
        evaluate(Echo(), EXAMPLES, right, **options)


def test_the_parameters_are_those_of_the_asynchronous_form_and_its_settings():
    for plain, asynchronous, settings in (
        (evaluate, aevaluate, EvaluationSettings),
        (value, avalue, ValuationSettings),
    ):
        parameters = inspect.signature(plain).parameters
        assert parameters == inspect.signature(asynchronous).parameters
        assert settings.model_fields.keys() <= parameters.keys()
        assert plain.__name__ == asynchronous.__name__.removeprefix("a")


def test_every_setting_has_a_help_text():
    for settings in (EvaluationSettings, ValuationSettings, PruningSettings):
        assert all(field.description for field in settings.model_fields.values())


def test_the_settings_import_nothing_heavy():
    code = "import sys, flex_dspy.evaluation.settings; print({'dspy', 'numpy', 'scipy'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


# -- one line ------------------------------------------------------------------------------------------------


def of_scores(*scores, error=""):
    return Evaluation(tuple(Record(f"e{n}", "?", "", {}, score, error=error) for n, score in enumerate(scores)))


@pytest.mark.parametrize(
    ("evaluation", "line"),
    [
        (of_scores(1, 0), "accuracy 50.0% (9.5% to 90.5%), n = 2, no errors"),
        (of_scores(0, error="broken"), "accuracy 0.0% (0.0% to 79.3%), n = 1, 1 error"),
        (of_scores(0.25, 0.75), "mean score 0.5 (0 to 1), n = 2, no errors"),
        (of_scores(10, 20), "mean score 15 (-48.53 to 78.53), n = 2, no errors"),
    ],
)
def test_an_evaluation_prints_as_one_line(evaluation, line):
    assert str(evaluation) == line
    assert repr(evaluation) == f"Evaluation({line})"


# -- calls ---------------------------------------------------------------------------------------------------


def test_calls_end_in_peace_when_a_budget_is_spent():
    ended = []

    async def call(number):
        await asyncio.sleep(0)
        if number == 1:
            raise BudgetError("spent")
        await asyncio.sleep(0)
        ended.append(number)

    async def run():
        await gather_calls([lambda n=n: call(n) for n in range(6)], asyncio.Semaphore(3))

    with pytest.raises(BudgetError, match="spent"):
        asyncio.run(run())
    assert ended == [0, 2]


def test_results_stand_in_the_order_of_the_calls():
    async def call(number):
        for _ in range(5 - number):
            await asyncio.sleep(0)
        return number

    async def run():
        return await gather_calls([lambda n=n: call(n) for n in range(5)], asyncio.Semaphore(3))

    assert asyncio.run(run()) == list(range(5))

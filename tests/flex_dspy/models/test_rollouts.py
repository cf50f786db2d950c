"""Independent samples."""

import asyncio
import threading

import dspy
import pytest
from dspy.utils.callback import BaseCallback

from flex_dspy.models.lm import language_model
from flex_dspy.models.rollouts import ROUND, sample, variant
from flex_dspy.programs.predict import RolePredict
from tests.llm_server import Fault


class TwoStages(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.plan = dspy.Predict("question -> plan", temperature=0.0)
        self.stages = [dspy.ChainOfThought("question, plan -> answer")]
        self.frozen = dspy.Predict("answer -> short", rollout_id=5, temperature=0.5)
        self.frozen._compiled = True

    def forward(self, question: str) -> dspy.Prediction:
        plan = self.plan(question=question).plan
        answer = self.stages[0](question=question, plan=plan).answer
        return self.frozen(answer=answer)


def settings(program: dspy.Module) -> list[dict]:
    return [predictor.lm.kwargs for _, predictor in program.named_sub_modules(dspy.Predict)]


def test_rollout_nought_is_the_program_itself(lm):
    program = TwoStages()
    assert variant(program, 0) is program
    assert sample(lm, 0) is lm


@pytest.mark.parametrize(("temperature", "expected"), [(None, 1.0), (0.0, 1.0), (0.3, 0.3)])
def test_a_model_keeps_its_temperature_where_it_has_one(lm, temperature, expected):
    model = lm.copy(temperature=temperature)
    other = sample(model, 3)
    assert (other.kwargs["rollout_id"], other.kwargs["temperature"]) == (3, expected)
    assert "rollout_id" not in model.kwargs


def test_every_stage_of_a_variant_is_another_sample(llm_server, lm):
    lm.cache = True
    counted = iter(range(100))
    llm_server.script = lambda role, inputs, messages: {
        name: str(next(counted)) for name in ("reasoning", "plan", "answer", "short")
    }
    program = TwoStages()
    results = [variant(program, rollout)(question="?").short for rollout in (0, 1, 2, 0, 1, 2)]
    assert len(llm_server.requests) == 9
    assert results[:3] == results[3:]
    assert len(set(results)) == 3


def test_a_variant_leaves_the_program_as_it_was(lm):
    program = TwoStages()
    program.stages[0].predict.lm = lm
    changed = variant(program, 2)
    assert [kwargs["rollout_id"] for kwargs in settings(changed)] == [2, 2, 2]
    assert program.plan.lm is None
    assert program.stages[0].predict.lm is lm
    assert "rollout_id" not in lm.kwargs
    assert (program.plan.config, changed.plan.config) == ({"temperature": 0.0}, {})
    assert program.frozen.config == {"rollout_id": 5, "temperature": 0.5}
    assert changed.frozen.config == {"temperature": 0.5}


def test_an_offline_expert_is_left_as_it_is():
    expert = language_model("offline/chemist")
    program = dspy.Predict("question -> answer")
    program.lm = expert
    assert variant(program, 3).lm is expert


def test_a_program_that_cannot_be_copied_whole_is_copied_in_part(lm):
    program = TwoStages()
    program.lock = threading.Lock()
    program.set_lm(lm)
    assert [kwargs["rollout_id"] for kwargs in settings(variant(program, 4))] == [4, 4, 4]


class Watch(BaseCallback):
    """Notes the ``rollout_id`` of each request."""

    def __init__(self) -> None:
        self.seen: list[int | None] = []

    def on_lm_start(self, call_id, instance, inputs):
        self.seen.append({**instance.kwargs, **inputs["kwargs"]}.get("rollout_id"))


@pytest.mark.parametrize("rollout", [0, 2, 2 + ROUND])
def test_a_repeated_request_belongs_to_its_sample(llm_server, lm, rollout):
    llm_server.script = lambda role, inputs, messages: (
        {"answer": "42"} if len(watch.seen) > 2 else "I would rather not."
    )
    watch = Watch()
    with dspy.context(callbacks=[watch]):
        assert variant(RolePredict("question -> answer"), rollout)(question="?").answer == "42"
    assert watch.seen == [rollout or None] * 3


def test_an_offline_expert_is_not_asked_twice():
    predictor = RolePredict("product, experiences -> reactants: int")
    predictor.lm = language_model("offline/chemist")
    watch = Watch()
    with dspy.context(callbacks=[watch]), pytest.raises(dspy.utils.exceptions.AdapterParseError):
        predictor(product="CC", experiences="")
    assert len(watch.seen) == 1


def test_other_errors_are_not_repeated(llm_server, lm):
    llm_server.script = lambda role, inputs, messages: Fault(500)
    predictor = RolePredict("question -> answer")
    for run in (lambda: predictor(question="?"), lambda: asyncio.run(predictor.acall(question="?"))):
        with pytest.raises(dspy.utils.exceptions.LMServerError):
            run()
    assert len(llm_server.requests) == 2

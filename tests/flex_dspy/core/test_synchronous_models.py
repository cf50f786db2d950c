"""Models that can only be called synchronously: they learn as the others do, or it is said what to do."""

import json
from types import SimpleNamespace

import dspy
import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.programs import Actor
from tests.llm_server import formatted, read_prompt
from tests.scripted import problems, right, student


def answer(messages) -> str:
    inputs, outputs, as_json = read_prompt(messages[-1]["content"])
    roles = {"lesson": "critic", "decision": "updater", "accepted": "verifier"}
    role = next((roles[name] for name in outputs if name in roles), "actor")
    return formatted(student(role, {"earlier_attempts": "none", **inputs}, messages), as_json)


def completion(model: str, messages) -> SimpleNamespace:
    message = SimpleNamespace(content=answer(messages), tool_calls=None)
    choices = [SimpleNamespace(message=message, finish_reason="stop")]
    return SimpleNamespace(choices=choices, usage={"prompt_tokens": 1, "completion_tokens": 1}, model=model)


class OwnModel(dspy.BaseLM):
    def forward(self, prompt=None, messages=None, **kwargs):
        return completion(self.model, messages)


class OwnLM(dspy.LM):
    def forward(self, prompt=None, messages=None, **kwargs):
        return completion(self.model, messages)


class Engine:
    def complete(self, request):
        text = answer([{"content": message.text} for message in request.messages])
        usage = dspy.lm15.Usage(input_tokens=1, output_tokens=1)
        message = dspy.lm15.Message.assistant(text)
        return dspy.lm15.Response(id=None, model=request.model, message=message, finish_reason="stop", usage=usage)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "model",
    [lambda: OwnModel("own"), lambda: OwnLM("openai/own"), lambda: dspy.LM("own/engine", engine=Engine())],
    ids=["BaseLM", "LM", "engine"],
)
@pytest.mark.parametrize("program", [Actor, dspy.Predict])
def test_a_model_with_a_synchronous_forward_alone_learns(model, program):
    with dspy.context(lm=model()):
        optimizer = ForwardLearning(right, max_rollouts=1, progress=False)
        learned = optimizer.compile(
            program("problem -> answer: int"), trainset=problems(4), valset=problems(3, start=90)
        )
    assert optimizer.failures == []
    assert optimizer.versions[-1].errors == 0
    assert optimizer.versions[-1].precedents == 4
    assert learned is not None


def test_dummy_models_learn():
    said = dict.fromkeys(("answer", "reasoning"), "7")
    said |= {"accepted": "False", "feedback": "No.", "experiences_used": "[]"}
    lesson = {"category": "sums", "method": "Add one.", "rules": [{"text": "Add one."}]}
    said |= {"lesson": json.dumps(lesson), "decision": json.dumps({"action": "insert"})}
    with dspy.context(lm=dspy.utils.DummyLM([said] * 100)):
        optimizer = ForwardLearning(right, max_rollouts=1, max_rounds=1, progress=False)
        optimizer.compile(Actor("problem -> answer: int"), trainset=problems(2))
    assert (optimizer.failures, optimizer.versions[-1].precedents) == ([], 2)


class OnlyAsynchronous(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.Predict("problem -> answer: int")

    async def aforward(self, problem: str) -> dspy.Prediction:
        return await self.answer.acall(problem=problem)


def test_an_asynchronous_program_with_a_synchronous_model_is_told_what_to_do():
    advice = "give the program a forward, or the model an aforward"
    with dspy.context(lm=OwnModel("own")), pytest.raises(ConfigurationError, match=advice):
        ForwardLearning(right, progress=False).compile(OnlyAsynchronous(), trainset=problems(2))

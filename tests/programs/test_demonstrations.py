"""Precedents as demonstrations: only those that hold a value for each field."""

from typing import Literal

import dspy
import pytest

from flex_dspy import ExperienceLibrary, equip
from flex_dspy.core.trajectory import UNVERIFIED
from flex_dspy.libraries.experience import Experience, Precedent
from flex_dspy.programs.demonstrations import demonstrations
from tests.llm_server import LLMServer


class Intent(dspy.Signature):
    """Name the intent."""

    message: str = dspy.InputField()
    intent: Literal["pending", "declined"] = dspy.OutputField()


def precedent(problem: str, answer: str) -> Precedent:
    return Precedent(problem, problem, answer)


def made(signature, problem, answer):
    return [dict(demo) for demo in demonstrations(dspy.ensure_signature(signature), [precedent(problem, answer)])]


def test_a_precedent_becomes_an_example_of_the_signature():
    assert made(Intent, "why pending", "pending") == [{"message": "why pending", "intent": "pending"}]
    assert made("question -> answer: int", "6 * 7", "42") == [{"question": "6 * 7", "answer": 42}]


def test_several_fields_are_read_back_from_their_lines():
    found = made("question, context -> answer: int, unit", "question: how\nfar: 2\ncontext: here", "answer: 7\nunit: m")
    assert found == [{"question": "how\nfar: 2", "context": "here", "answer": 7, "unit": "m"}]


@pytest.mark.parametrize(
    ("signature", "problem", "answer"),
    [
        (Intent, "why pending", "unknown label"),
        (Intent, "why pending", ""),
        (Intent, "why pending", f"pending {UNVERIFIED}"),
        ("question -> reasoning, answer", "6 * 7", "42"),
        ("question, context -> answer", "6 * 7", "42"),
        ("image: dspy.Image -> answer", "6 * 7", "42"),
    ],
    ids=["label", "no answer", "not verified", "reasoning", "inputs", "no text"],
)
def test_a_precedent_that_lacks_a_value_is_none(signature, problem, answer):
    assert made(signature, problem, answer) == []


@pytest.fixture
def library():
    pairs = [
        ("transfer declined again", "declined"),
        ("card declined", "declined"),
        ("transfer still pending", "pending"),
    ]
    return ExperienceLibrary([Experience("golden", f"On {p}.", precedents=(precedent(p, a),)) for p, a in pairs])


def asked(program, message):
    """The messages that a program sends."""
    with LLMServer(lambda *_: {"intent": "pending"}) as server:
        lm = dspy.LM("openai/test", api_base=server.url, api_key="none", cache=False)
        with dspy.context(lm=lm):
            program(message=message)
        return server.requests[-1].messages


def test_a_program_shows_the_most_similar_precedent_last(library):
    program = equip(dspy.Predict(Intent), library, demonstrations=2)
    users = [each["content"] for each in asked(program, "was the transfer declined?") if each["role"] == "user"]
    assert ["card declined" in users[0], "transfer declined again" in users[1]] == [True, True]
    assert "was the transfer declined?" in users[2]


def test_own_demos_of_the_program_come_first_and_stay(library):
    plain = dspy.Predict(Intent)
    plain.demos = [dspy.Example(message="mine", intent="pending")]
    program = equip(plain, library, demonstrations=1)
    users = [each["content"] for each in asked(program, "declined") if each["role"] == "user"]
    assert "mine" in users[0]
    assert len(users) == 3
    assert [dict(demo) for demo in program.demos] == [{"message": "mine", "intent": "pending"}]


def test_a_program_without_the_setting_asks_as_before(library):
    assert sum(each["role"] == "user" for each in asked(equip(dspy.Predict(Intent), library), "declined")) == 1


def test_the_settings_are_saved_with_the_program(library):
    program = equip(dspy.Predict(Intent), library, demonstrations=2, tally=4)
    other = equip(dspy.Predict(Intent), library)
    other.load_state(program.dump_state())
    assert (other.retriever.demonstrations, other.retriever.tally) == (2, 4)

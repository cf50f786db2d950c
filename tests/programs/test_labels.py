"""Predictors that pick a label are told the answer of similar precedents, in an input of its own."""

import enum
from typing import Literal

import dspy
import pytest

from flex_dspy import ExperienceLibrary, equip
from flex_dspy.libraries.experience import Experience, Precedent
from flex_dspy.search.rendering import NONE
from flex_dspy.signatures.labels import label_output
from tests.llm_server import LLMServer


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Intent(dspy.Signature):
    """Name the intent."""

    message: str = dspy.InputField()
    intent: Literal["pending", "declined", "fee"] = dspy.OutputField()


CASES = [("transfer declined again", "declined"), ("card declined", "declined"), ("declined payment", "declined"),
         ("payment still pending", "pending"), ("transfer still pending", "pending")]  # fmt: skip
PRECEDENTS = [Experience("golden", "", precedents=(Precedent(p, p, answer),)) for p, answer in CASES]
LIBRARY = ExperienceLibrary(PRECEDENTS)
ASKED = "was my card payment declined?"


@pytest.mark.parametrize(
    ("signature", "output"),
    [
        (Intent, "intent"),
        (dspy.ChainOfThought(Intent).predict.signature, "intent"),
        ("question -> is_right: bool", "is_right"),
        (dspy.Signature({"text": (str, dspy.InputField()), "size": (Size, dspy.OutputField())}), "size"),
        ("question -> answer", None),
        ("question -> answer: int", None),
        ("question -> is_right: bool, why", None),
        ("question -> labels: list[str]", None),
    ],
    ids=["literal", "reasons first", "bool", "enum", "text", "number", "two outputs", "list"],
)
def test_a_label_is_the_one_output_with_few_values(signature, output):
    assert label_output(dspy.ensure_signature(signature)) == output


def asked(program: dspy.Module, **inputs: str) -> str:
    """All that a program sends."""
    with LLMServer(lambda *_: {"intent": "declined", "answer": "declined", "reasoning": "so"}) as server:
        lm = dspy.LM("openai/test", api_base=server.url, api_key="none", cache=False)
        with dspy.context(lm=lm):
            program(**(inputs or {"message": ASKED}))
        return "\n".join(message["content"] for message in server.requests[-1].messages)


def test_a_predictor_that_picks_a_label_reads_the_likely_one():
    prompt = asked(equip(dspy.Predict(Intent), LIBRARY))
    assert f"[[ ## message ## ]]\n{ASKED}\n\n[[ ## likely_intent ## ]]\ndeclined\n" in prompt
    assert "[[ ## experiences ## ]]" not in prompt
    assert "Answers to the" not in prompt
    assert "pending; declined; fee" in prompt


def test_one_that_reasons_first_reads_it_too():
    assert "[[ ## likely_intent ## ]]\ndeclined" in asked(equip(dspy.ChainOfThought(Intent), LIBRARY))


def test_lessons_stand_beside_it():
    lesson = Experience("golden", "Read the word declined.", precedents=(Precedent("x", "x", "fee"),))
    prompt = asked(equip(dspy.Predict(Intent), ExperienceLibrary([lesson, *PRECEDENTS])))
    assert "Read the word declined." in prompt
    assert "[[ ## likely_intent ## ]]\ndeclined" in prompt


def test_demos_say_that_they_had_none():
    program = equip(dspy.Predict(Intent), LIBRARY, demonstrations=1)
    program.demos = [dspy.Example(message="mine", intent="fee")]
    prompt = asked(program)
    assert prompt.count(f"[[ ## likely_intent ## ]]\n{NONE}") == 2
    assert "not supplied" not in prompt


def test_tally_zero_asks_what_the_bare_program_asks():
    assert asked(equip(dspy.Predict(Intent), LIBRARY, tally=0)) == asked(dspy.Predict(Intent))


def test_other_programs_are_told_nothing_by_default():
    program = equip(dspy.Predict("message -> answer"), LIBRARY)
    assert asked(program) == asked(dspy.Predict("message -> answer"))


def test_a_field_of_that_name_stays_the_programs_own():
    own = dspy.Predict(Intent.append("likely_intent", dspy.InputField(), str))
    prompt = asked(equip(own, LIBRARY), message=ASKED, likely_intent="fee, says the customer")
    assert "fee, says the customer" in prompt
    assert prompt.count("[[ ## likely_intent ## ]]\ndeclined") == 0


def test_what_an_example_may_not_see_is_not_counted():
    prompt = asked(equip(dspy.Predict(Intent), ExperienceLibrary(PRECEDENTS[:4])), message="card declined")
    assert "likely_intent" not in prompt  # three others are too few to say whether answers repeat

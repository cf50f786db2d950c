"""A user's own instructions for a role."""

import dspy
import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.programs import Actor, Critic, RejectionSampling, Updater, Verifier
from flex_dspy.programs.instructions import instruct
from flex_dspy.programs.tools import calculate
from flex_dspy.signatures import DistilFailure
from flex_dspy.signatures.actor import experience_guide
from flex_dspy.tasks.uspto50k import Retrosynthesis


def instructions(program: dspy.Module) -> dict[str, str]:
    return {name: predictor.signature.instructions for name, predictor in program.named_predictors()}


@pytest.mark.parametrize(("program", "name"), [(Verifier(), "verify"), (Updater(), "decide")])
def test_a_role_takes_other_instructions(program, name):
    fields = repr(program.predictors()[0].signature.fields)
    instruct(program, "  Be strict.\n")
    assert instructions(program) == {name: "Be strict."}
    assert repr(program.predictors()[0].signature.fields) == fields


def test_the_critics_predictors_are_instructed_together_or_one_by_one():
    critic = Critic()
    instruct(critic, "All.")
    assert set(instructions(critic).values()) == {"All."}
    critic = Critic()
    instruct(critic, "Praise.", "golden")
    assert instructions(critic)["golden"] == "Praise."
    assert instructions(critic)["warning"] == DistilFailure.instructions


@pytest.mark.parametrize("experience", ["prefetch", "none"])
@pytest.mark.parametrize("strategy", ["direct", "icl", "cot"])
def test_an_actor_keeps_its_guide_to_experience(strategy, experience):
    actor = Actor(Retrosynthesis, strategy=strategy, experience=experience)
    instruct(actor, "Go backwards.")
    assert list(instructions(actor).values()) == ["Go backwards." + experience_guide(experience)]


@pytest.mark.parametrize("experience", ["prefetch", "recall", "both"])
def test_an_actor_keeps_what_it_is_told_of_its_tools(llm_server, lm, experience):
    actor = Actor(Retrosynthesis, strategy="react", experience=experience, tools=[calculate])
    before = instructions(actor)
    instruct(actor, "Go backwards.")
    instruct(actor, "Go backwards again.")
    task = Retrosynthesis.instructions
    assert {name: text.replace("Go backwards again.", task) for name, text in instructions(actor).items()} == before
    react = instructions(actor)["attempt.react"]
    assert ("recall, whose description" in react) == (experience != "prefetch")
    assert "calculate, whose description" in react
    llm_server.script = lambda role, inputs, messages: "I would rather not."
    with pytest.raises(dspy.utils.exceptions.AdapterParseError):
        actor(product="CC")
    assert "Go backwards again." in llm_server.requests[0].messages[0]["content"]


def test_one_predictor_of_an_actor_can_be_instructed():
    actor = Actor("question -> answer", strategy="react", tools=[calculate])
    before = instructions(actor)
    instruct(actor, "Read off the answer.", "extract")
    assert instructions(actor)["attempt.react"] == before["attempt.react"]
    assert instructions(actor)["attempt.extract.predict"] == "Read off the answer." + experience_guide()


def test_roles_inside_a_larger_program_are_known():
    program = RejectionSampling(Actor("question -> answer"))
    instruct(program, "Count.", "actor")
    assert instructions(program)["actor.attempt.predict"] == "Count." + experience_guide()
    assert instructions(program)["verifier.verify"] != "Count."


def test_any_program_can_be_instructed():
    program = dspy.ReAct("question -> answer", tools=[calculate])
    instruct(program, "Count.")
    assert instructions(program)["react"].startswith("Count.\n")
    assert "calculate, whose description" in instructions(program)["react"]
    assert instructions(program)["extract.predict"] == "Count."


def test_other_instructions_are_saved_with_the_role(tmp_path):
    critic = Critic()
    instruct(critic, "Warn.", "warning")
    critic.save(tmp_path / "critic.json")
    again = Critic()
    again.load(tmp_path / "critic.json")
    assert instructions(again) == instructions(critic)


@pytest.mark.parametrize(("text", "predictor", "message"), [(" \n", None, "empty"), ("x", "silver", "golden, warning")])
def test_what_cannot_be_done_is_said(text, predictor, message):
    critic = Critic()
    before = instructions(critic)
    with pytest.raises(ConfigurationError, match=message):
        instruct(critic, text, predictor)
    assert instructions(critic) == before

"""The critic: which rollout is read with which instructions, and what becomes of the lesson."""

import json

import dspy
import pytest

from flex_dspy.core.trajectory import Round, Trajectory
from flex_dspy.libraries import experience
from flex_dspy.libraries.experience import Precedent
from flex_dspy.programs import Critic
from flex_dspy.signatures import DistilFailure, DistilRecovery, DistilSuccess, StudyWorkedAnswer
from flex_dspy.signatures.critic import EXAMPLES, MOST_EXAMPLES, Lesson
from tests.llm_server import Fault, LLMServer

PRECEDENT = Precedent("e1", "6*7?", "42")
WRONG = Round({"answer": "36"}, 0.0, False, "Look again.", redacted=True)
RIGHT = Round({"answer": "42"}, 1.0, True, "Right.")
TOO_LONG = Fault(400, "too many words", code="context_length_exceeded")
LESSON = {
    "category": "small products",
    "method": "Recall the table.",
    "rules": [{"text": "Instead: add six to 36", "examples": ["36+6"]}, {"text": "Avoid: six times six"}],
    "trajectory": "36, then 42",
    "priority": 4,
}


@pytest.fixture
def server(llm_server: LLMServer, lm: dspy.LM) -> LLMServer:
    llm_server.script = lambda role, inputs, messages: {"lesson": LESSON}
    return llm_server


CASES = {
    "golden": (Trajectory((RIGHT,)), "golden", DistilSuccess),
    "mixed": (Trajectory((WRONG, RIGHT)), "mixed", DistilRecovery),
    "warning": (Trajectory((WRONG, WRONG)), "warning", DistilFailure),
    "broken off": (Trajectory((WRONG,), error="malformed"), "warning", DistilFailure),
    "study": (None, "golden", StudyWorkedAnswer),
}


@pytest.mark.parametrize("case", CASES)
def test_each_outcome_has_its_own_instructions(server, ask, adapter, case):
    trajectory, zone, signature = CASES[case]
    written = ask(Critic(), precedent=PRECEDENT, trajectory=trajectory).experience
    (request,) = server.requests
    assert request.role == "critic"
    first_line = signature.instructions.splitlines()[0]
    assert first_line in request.messages[0]["content"]
    expected = {"problem": "6*7?", "reference": "42"}
    if trajectory is not None:
        expected["attempts"] = trajectory.text()
    assert request.inputs == expected
    assert written.zone == zone


def test_the_critic_sees_every_round_with_its_feedback(server, ask):
    ask(Critic(), precedent=PRECEDENT, trajectory=Trajectory((WRONG, RIGHT)))
    text = server.requests[0].inputs["attempts"]
    for part in ("Attempt 1:", "answer: 36", "rejected", "Look again.", "taken out", "Attempt 2:", "accepted"):
        assert part in text


def test_a_lesson_becomes_an_experience(server, ask):
    written = ask(Critic(), precedent=PRECEDENT, trajectory=Trajectory((RIGHT,))).experience
    assert written == experience.Experience(
        zone="golden",
        category="small products",
        method="Recall the table.",
        rules=(experience.Rule("Instead: add six to 36", ("36+6",)), experience.Rule("Avoid: six times six")),
        trajectory="36, then 42",
        priority=4,
        precedents=(PRECEDENT,),
    )


def test_a_lesson_that_runs_on_is_cut_to_the_caps(server, ask):
    rules = [{"text": f"{n} " + "r" * 2_000, "examples": ["e" * 300] * 10} for n in range(30)]
    long = {"category": "c", "method": "m" * 10_000, "rules": rules, "trajectory": "t" * 20_000}
    server.script = lambda role, inputs, messages: {"lesson": long}
    written = ask(Critic(), precedent=PRECEDENT).experience
    assert len(written.method) == experience.MAX_METHOD
    assert len(written.trajectory) == experience.MAX_TRAJECTORY
    assert len(written.rules) == experience.MAX_RULES
    assert {len(rule.text) for rule in written.rules} == {experience.MAX_RULE}
    assert {len(rule.examples) for rule in written.rules} == {MOST_EXAMPLES}


def test_a_lesson_may_leave_out_what_has_a_default(server):
    server.script = lambda role, inputs, messages: {"lesson": {"category": "c", "method": "m", "rules": []}}
    written = Critic()(precedent=PRECEDENT).experience
    assert (written.trajectory, written.priority, written.rules) == ("", 3, ())


@pytest.mark.parametrize("spoilt", [{"method": None}, {"method": " "}, {"rules": 7}])
def test_a_malformed_lesson_is_an_error_for_the_caller(server, ask, spoilt):
    server.script = lambda role, inputs, messages: {"lesson": LESSON | spoilt}
    with pytest.raises(dspy.utils.exceptions.AdapterParseError):
        ask(Critic(), precedent=PRECEDENT)
    assert len(server.requests) == 3


@pytest.mark.parametrize(("given", "priority"), [(9, 5), (0, 1), ("4", 4), (3.6, 4), ("high", 3), (None, 3)])
def test_a_priority_out_of_range_is_moved_into_it(server, ask, adapter, given, priority):
    server.script = lambda role, inputs, messages: {"lesson": LESSON | {"priority": given}}
    assert ask(Critic(), precedent=PRECEDENT).experience.priority == priority
    assert len(server.requests) == 1


def test_a_lesson_is_taken_as_it_is_meant(server, adapter):
    loose = {"category": None, "method": ["First.", "Then."], "rules": ["do it", {"text": "so", "examples": "like it"}]}
    server.script = lambda role, inputs, messages: {"lesson": loose | {"trajectory": None}}
    written = Critic()(precedent=PRECEDENT).experience
    assert (written.category, written.method, written.trajectory) == ("", "First.\nThen.", "")
    assert written.rules == (experience.Rule("do it"), experience.Rule("so", ("like it",)))


def test_where_the_answer_is_not_known_the_critic_is_told(server, ask):
    ask(Critic(), precedent=Precedent("e1", "6*7?", ""), trajectory=Trajectory((WRONG,)))
    assert server.requests[0].inputs["reference"] == "(not known)"


def test_attempts_shrink_until_the_prompt_fits(server, ask):
    long = Round({"reasoning": "first words " + "w" * 9_000 + " last words", "answer": "36"}, 0.0, False, "No.")
    rollout = Trajectory((long, long, long, long))
    server.script = lambda role, inputs, messages: {"lesson": LESSON} if len(inputs["attempts"]) < 3_000 else TOO_LONG
    precedent = Precedent("e1", "6*7? " + "p" * 20_000, "42")
    assert ask(Critic(), precedent=precedent, trajectory=rollout).experience.method == "Recall the table."
    first, second, third = (request.inputs for request in server.requests)
    assert first["attempts"] == rollout.text()
    assert second["attempts"].count("first words") == second["attempts"].count("last words") == 4
    assert [f"Attempt {n}:" in third["attempts"] for n in (1, 2, 3, 4)] == [True, False, False, True]
    assert "(2 attempts left out)" in third["attempts"]
    assert third["attempts"].count("answer: 36") == 2
    assert {inputs["problem"] for inputs in (first, second, third)} == {precedent.problem}
    assert {inputs["reference"] for inputs in (first, second, third)} == {"42"}


def test_attempts_that_cannot_shrink_are_not_sent_again(server, ask):
    server.script = lambda role, inputs, messages: TOO_LONG
    with pytest.raises(dspy.utils.exceptions.ContextWindowExceededError):
        ask(Critic(), precedent=PRECEDENT, trajectory=Trajectory((WRONG,)))
    assert len(server.requests) == 1


def test_each_outcome_can_be_tuned_on_its_own(server, tmp_path):
    critic = Critic()
    assert {name for name, _ in critic.named_predictors()} == {"golden", "warning", "mixed", "study"}
    critic.warning.signature = critic.warning.signature.with_instructions("Warn.")
    critic.save(tmp_path / "critic.json")
    again = Critic()
    again.load(tmp_path / "critic.json")
    again = again.deepcopy()
    again.set_lm(dspy.settings.lm.copy(model="openai/critic"))
    again(precedent=PRECEDENT, trajectory=Trajectory((WRONG,)))
    again(precedent=PRECEDENT, trajectory=Trajectory((RIGHT,)))
    assert ["Warn." in request.messages[0]["content"] for request in server.requests] == [True, False]
    assert {request.body["model"] for request in server.requests} == {"critic"}


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_lesson_that_repeats_an_example_is_asked_for_without_the_examples(server, ask, example):
    lessons = [example | {"method": "Look at the tense."}, LESSON]
    server.script = lambda role, inputs, messages: {"lesson": lessons.pop(0)}
    assert ask(Critic(), precedent=PRECEDENT).experience.method == LESSON["method"]
    shown = [json.dumps(example) in request.messages[0]["content"] for request in server.requests]
    assert shown == [True, False]
    assert set(example) == set(Lesson.model_fields)

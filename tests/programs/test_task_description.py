"""What verifier, critic and updater are told of the task, and of the lessons that the actor had."""

from typing import Literal

import dspy
import pytest

from flex_dspy.core.tokens import tokens
from flex_dspy.core.trajectory import Feedback, Round, Trajectory
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs import Actor, Critic, RejectionSampling, Updater, Verifier
from flex_dspy.programs.equip import equip
from flex_dspy.programs.task_description import TOKEN_LIMIT, describe_task


class NameIntent(dspy.Signature):
    """Name the intent of a message to a bank."""

    message: str = dspy.InputField(desc="in the customer's words")
    intent: Literal["pending_transfer", "failed_transfer"] = dspy.OutputField()


class Rag(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.write_query = dspy.Predict("question -> query")
        self.answer = dspy.Predict("passages: list[str], question -> price: float")

    def forward(self, question: str) -> dspy.Prediction:
        query = self.write_query(question=question).query
        return self.answer(passages=[query], question=question)


def library_of(*lessons: Experience) -> ExperienceLibrary:
    return ExperienceLibrary().apply(Commit("run", 1, tuple(Insert(lesson) for lesson in lessons)))


@pytest.mark.parametrize("make", [Actor, dspy.Predict, lambda signature: equip(dspy.Predict(signature))])
def test_it_holds_instructions_fields_and_allowed_values_and_nothing_of_ours(make):
    text = describe_task(make(NameIntent))
    for part in ("Name the intent of a message to a bank.", "in the customer's words", "pending_transfer", "`intent`"):
        assert part in text
    assert "experience" not in text
    assert "earlier_attempts" not in text


def test_each_predictor_of_a_program_is_a_step():
    text = describe_task(Rag())
    assert text.index("Step write_query") < text.index("Step answer")
    assert "`price` (float)" in text


def test_it_keeps_within_its_limit():
    long = dspy.Predict(NameIntent.with_instructions("Think. " * 20_000))
    assert tokens(describe_task(long)) <= TOKEN_LIMIT


def play(role, inputs, messages):
    return {
        "verifier": {"accepted": False, "feedback": "Look at the tense."},
        "critic": {"lesson": {"category": "intent", "method": "Look at the tense.", "rules": []}},
        "updater": {"decision": {"action": "insert"}},
        "actor": {"reasoning": "hm", "intent": "failed_transfer"},
    }[role]


def test_verifier_critic_and_updater_see_it(llm_server, lm):
    llm_server.script = play
    lesson, task = Experience("golden", "m"), describe_task(Actor(NameIntent))
    Verifier()(problem="p", attempt="a", measured=Feedback(0.0), task=task)
    Critic()(precedent=Precedent("e", "p", "r"), task=task)
    Updater()(lesson=lesson, nearest=[lesson], task=task)
    assert [request.inputs["task"] for request in llm_server.requests] == [task] * 3


def test_what_is_not_known_has_no_place_in_a_prompt(llm_server, lm):
    llm_server.script = play
    lesson = Experience("golden", "m")
    Critic()(precedent=Precedent("e", "p", "r"))
    Updater()(lesson=lesson, nearest=[lesson])
    critic, updater = (set(request.inputs) for request in llm_server.requests)
    assert critic == {"problem", "reference"}
    assert updater == {"new_lesson", "nearest"}


def test_the_verifier_is_asked_for_a_verdict_only_where_nothing_was_measured(llm_server, lm):
    llm_server.script = play
    Verifier()(problem="p", attempt="a", measured=Feedback(0.0))
    Verifier()(problem="p", attempt="a")
    asked = ["[[ ## accepted ## ]]" in request.messages[-1]["content"] for request in llm_server.requests]
    assert asked == [False, True]


def test_an_attempt_shows_structured_values_as_json_and_nothing_that_is_empty(llm_server, lm):
    answer = {"reasoning": "hm", "answer": {"a": True}, "experiences_used": []}
    llm_server.script = lambda role, inputs, messages: {"feedback": "No."} if role == "verifier" else answer
    sampling = RejectionSampling(
        Actor("question -> answer: dict"), metric=lambda gold, pred: 0.0, max_rounds=1, max_rollouts=1
    )
    sampling(example=dspy.Example(question="?").with_inputs("question"))
    [verifier] = llm_server.of("verifier")
    assert verifier.inputs["attempt"] == 'reasoning: hm\nanswer: {"a": true}'


SHOWN = Experience("golden", "Choose failed_transfer.", id="aaaa")
WRONG = Trajectory((Round({"intent": "failed_transfer", "experiences_used": ["aaaa"]}, 0.0, False, "No."),))


def test_the_critic_sees_the_lessons_that_the_actor_had_and_may_correct_one(llm_server, lm):
    lesson = {"category": "c", "method": "m", "rules": [], "corrects": "aaaa"}
    llm_server.script = lambda role, inputs, messages: {"lesson": lesson}
    written = Critic()(precedent=Precedent("e", "p", "r"), trajectory=WRONG, shown=[SHOWN])
    unknown = Critic()(precedent=Precedent("e", "p", "r"), trajectory=WRONG)
    shown = llm_server.requests[0].inputs["lessons_shown"]
    assert "Choose failed_transfer." in shown
    assert shown.endswith("Relied on: aaaa")
    assert (written.corrects, unknown.corrects) == ("aaaa", "")
    asked = ['"corrects"' in request.messages[0]["content"] for request in llm_server.requests]
    assert asked == [True, False]


def test_the_updater_is_told_which_entry_misled(llm_server, lm):
    decision = {"action": "merge", "target": "aaaa", "method": "Better."}
    llm_server.script = lambda role, inputs, messages: {"decision": decision}
    edit = Updater()(lesson=Experience("warning", "m"), nearest=[SHOWN], corrects="aaaa").edit
    assert llm_server.requests[0].inputs["corrects"] == "aaaa"
    assert (edit.target, edit.method) == ("aaaa", "Better.")


def test_a_lesson_for_one_step_is_shown_to_that_step_alone(llm_server, lm):
    llm_server.script = lambda role, inputs, messages: {"price": 1.0} if "passages" in inputs else {"query": "q"}
    steps = ("write_query", "answer", "", "elsewhere")
    lessons = [Experience("golden", f"kettle {step}!", step=step) for step in steps]
    equip(Rag(), library_of(*lessons))(question="kettle")
    query, answer = (request.inputs["experiences"] for request in llm_server.requests)
    assert [f"kettle {step}!" in query for step in steps] == [True, False, True, True]
    assert [f"kettle {step}!" in answer for step in steps] == [False, True, True, True]


def test_a_lesson_names_a_step_of_the_program_or_none(llm_server, lm):
    lesson = {"category": "c", "method": "m", "rules": [], "step": "answer"}
    llm_server.script = lambda role, inputs, messages: {"lesson": lesson}
    precedent = Precedent("e", "p", "r")
    found = [
        Critic()(precedent=precedent, steps=steps).experience.step
        for steps in (["answer"], ["a", "answer"], ["a", "b"])
    ]
    assert found == ["", "answer", ""]


def test_a_lesson_keeps_its_step_in_a_file():
    library = library_of(Experience("golden", "m", step="answer"))
    (entry,) = ExperienceLibrary.from_json(library.to_json())
    assert entry.step == "answer"
    assert '"step"' not in library_of(Experience("golden", "m")).to_json()

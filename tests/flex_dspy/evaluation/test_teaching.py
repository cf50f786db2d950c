"""The metrics of the roles that teach: what they measure, what it costs, what they say."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
import pytest

from flex_dspy.core.errors import BudgetError, ConfigurationError, DataError, ModelError, OverlapError
from flex_dspy.core.examples import example_id
from flex_dspy.core.trajectory import Round, Trajectory
from flex_dspy.evaluation.edit_effects import Effect
from flex_dspy.evaluation.teaching import EditMetric, LessonMetric, Verdict, VerdictMetric
from flex_dspy.evaluation.teaching_sets import (
    critic_examples,
    load_examples,
    save_examples,
    updater_examples,
    verifier_examples,
)
from flex_dspy.libraries.experience import Discard, Experience, Insert, Merge, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.spending import Ledger
from flex_dspy.programs import Actor, Critic, Updater, Verifier
from flex_dspy.search.retrieval import ExperienceRetriever
from tests.coached import DULL, EMPTY, LESSON, LIBRARY, model, problems, right
from tests.llm_server import LLMServer

HARM = "what is a # b: answer none"
VAL = problems(11, 12, 13, 14)


def lesson(text: str, number: int = 1) -> Experience:
    (example,) = problems(number)
    return Experience(
        "warning",
        f"{text} (met in Case {number})",
        rules=(Rule(text),),
        precedents=(Precedent(example_id(example), example.question, example.answer),),
    )


def written(entry: Experience) -> dspy.Prediction:
    return dspy.Prediction(experience=entry)


def decided(edit: Any) -> dspy.Prediction:
    return dspy.Prediction(edit=edit)


NOTHING = dspy.Example().with_inputs()


class Reader(dspy.Module):
    """Knows the answer to case 11, and to others where it is told the lesson; counts its runs."""

    def __init__(self) -> None:
        super().__init__()
        self.retriever = ExperienceRetriever(views=["lexical"], k=4)
        self.runs: list[str] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> "Reader":
        return self

    async def aforward(self, question: str) -> dspy.Prediction:
        self.runs.append(question)
        (example,) = problems(int(question.split()[1].strip(":")))
        text = self.retriever(question).experiences
        knows = (LESSON in text or "Case 11" in question) and HARM not in text
        return dspy.Prediction(answer=example.answer if knows else "?")


# -- the critic's ------------------------------------------------------------------------------------------


def test_a_lesson_is_worth_what_it_does_to_accuracy():
    metric = LessonMetric(Reader(), VAL, right, library=LIBRARY)
    helpful, useless, harmful = (metric(NOTHING, written(lesson(text))) for text in (LESSON, EMPTY, HARM))
    assert [verdict.score for verdict in (helpful, useless, harmful)] == [1.0, 0.5, 0.0]
    assert [bool(verdict) for verdict in (helpful, useless, harmful)] == [True, False, False]
    assert "from 25% to 100%" in helpful.feedback
    assert "Won: 'Case 12: what is 12 # 3?'; 'Case 13" in helpful.feedback
    assert "Lost: 'Case 11: what is 11 # 3?'" in harmful.feedback
    assert "was shown on 4 of them, and changed no answer" in useless.feedback
    assert all(example.answer not in helpful.feedback for example in VAL)


def test_a_lesson_that_no_problem_finds_is_told_so():
    metric = LessonMetric(Reader(), VAL, right)
    verdict = metric(NOTHING, written(Experience("golden", "zebra")))
    assert verdict.score == 0.5
    assert "shown on none of them" in verdict.feedback


def test_each_form_of_a_metric():
    metric = LessonMetric(Reader(), VAL, right)
    prediction = written(lesson(LESSON))
    forms = [(), ([],), ([], "golden", [])]
    verdicts = [metric(NOTHING, prediction, *rest) for rest in forms]
    assert [float(verdict) for verdict in verdicts] == [1.0, 1.0, 1.0]
    assert verdicts[0] is not verdicts[2]  # GEPA writes into what it is given
    assert verdicts[0] >= 0.9
    assert sum(verdicts) == 3.0
    assert isinstance(verdicts[0].copy(), Verdict)


def test_where_there_is_no_answer_there_are_no_points():
    for metric in (LessonMetric(Reader(), VAL, right), EditMetric(Reader(), VAL, right, library=LIBRARY)):
        for nothing in (None, dspy.Prediction()):
            assert (metric(NOTHING, nothing).score, bool(metric(NOTHING, nothing))) == (0.0, False)
    assert VerdictMetric()(NOTHING, None).score == 0.0


def test_what_it_costs():
    reader = Reader()
    metric = LessonMetric(reader, VAL, right, samples=2)
    assert reader.runs == []
    metric(NOTHING, written(lesson(LESSON)))
    assert len(reader.runs) == 2 * (4 * 2)  # without it, and with it
    metric(NOTHING, written(lesson(LESSON)), None, "warning", [])
    assert len(reader.runs) == 16
    metric(NOTHING, written(lesson(LESSON, number=3)))
    assert len(reader.runs) == 16 + 8
    assert metric.effects.measurements == 3


def test_from_many_threads_each_lesson_is_measured_once():
    reader = Reader()
    metric = LessonMetric(reader, VAL, right, library=LIBRARY)
    entries = [lesson(text, number) for text in (LESSON, EMPTY) for number in (1, 2, 3)]
    start = threading.Barrier(6)

    def judge(place: int) -> float:
        start.wait()
        return float(metric(NOTHING, written(entries[place % 6])))

    with ThreadPoolExecutor(6) as threads:
        scores = list(threads.map(judge, range(12)))
    assert scores == [1.0] * 3 + [0.5] * 3 + [1.0] * 3 + [0.5] * 3
    assert len(reader.runs) == 4 * (1 + 6)


def test_within_a_running_event_loop():
    metric = LessonMetric(Reader(), VAL, right)

    async def judge() -> Verdict:
        return metric(NOTHING, written(lesson(LESSON)))

    assert asyncio.run(judge()).score == 1.0


def test_what_a_lesson_was_learned_from_does_not_count():
    metric = LessonMetric(Reader(), VAL, right)
    assert "on 3 other problems" in metric(NOTHING, written(lesson(LESSON, number=12))).feedback
    alone = LessonMetric(Reader(), VAL[1:2], right)
    with pytest.raises(ConfigurationError, match="learned from"):
        alone(NOTHING, written(lesson(LESSON, number=12)))


def test_examples_that_the_library_was_learned_from_are_refused():
    library = ExperienceLibrary([lesson(EMPTY, number=12)])
    with pytest.raises(OverlapError):
        LessonMetric(Reader(), VAL, right, library=library)
    assert LessonMetric(Reader(), VAL, right, library=library, allow_overlap=True)
    with pytest.raises(ConfigurationError, match="empty"):
        LessonMetric(Reader(), [], right)


def test_unsteady_answers_are_not_the_lesson_s_doing():
    class Unsteady(Reader):
        async def aforward(self, question: str) -> dspy.Prediction:
            found = await super().aforward(question)
            return found if len(self.runs) <= len(VAL) else dspy.Prediction(answer="?")

    verdict = LessonMetric(Unsteady(), VAL, right)(NOTHING, written(Experience("golden", "zebra")))
    assert verdict.score == 0.5  # case 11 failed the second time, with the same prompt


@pytest.mark.parametrize(
    ("before", "after", "score"), [(0.5, 0.5, 0.5), (1, 1, 0.5), (0, 0, 0.5), (0.5, 0.75, 0.75), (0.8, 0.4, 0.25)]
)
def test_the_scale(before, after, score):
    assert Effect(before, after, 4, 4).score == score


# -- the updater's -----------------------------------------------------------------------------------------


def test_an_edit_is_measured_against_insertion_and_against_leaving_out():
    metric = EditMetric(Reader(), VAL, right, library=LIBRARY, thrift=0.1)
    new = lesson(LESSON)
    gold = dspy.Example(lesson=new, nearest=[DULL]).with_inputs("lesson", "nearest")
    insert = metric(gold, decided(Insert(new, "why not")))
    merge = metric(gold, decided(Merge(DULL.id, new, new.rules)))
    discard = metric(gold, decided(Discard(new.id)))
    assert [verdict.score for verdict in (insert, merge, discard)] == [0.5, 0.55, pytest.approx(0.125)]
    assert [bool(verdict) for verdict in (insert, merge, discard)] == [True, True, False]
    assert "25% with the lesson left out, 100% with it inserted as it is, 25% after this discard" in discard.feedback
    assert "Lost: 'Case 12" in discard.feedback
    assert metric.effects.measurements == 3  # left out, inserted, merged


@pytest.mark.parametrize(("text", "grows"), [(EMPTY, 0.5), (HARM, 0.0)])
def test_to_discard_what_is_of_no_use_is_better_than_to_insert_it(text, grows):
    metric = EditMetric(Reader(), VAL, right, library=LIBRARY)
    new = lesson(text)
    gold = dspy.Example(lesson=new, nearest=[DULL])
    insert, discard = metric(gold, decided(Insert(new))), metric(gold, decided(Discard(new.id)))
    assert (insert.score, bool(insert)) == (grows, False)
    assert (discard.score, bool(discard)) == (0.55, True)
    assert "merge or discard" in insert.feedback


def test_an_edit_of_another_library_is_an_error():
    metric = EditMetric(Reader(), VAL, right, library=ExperienceLibrary())
    with pytest.raises(ConfigurationError, match="does not hold the entry"):
        metric(dspy.Example(lesson=lesson(LESSON)), decided(Merge(DULL.id, lesson(LESSON))))
    with pytest.raises(ConfigurationError, match="thrift"):
        EditMetric(Reader(), VAL, right, library=LIBRARY, thrift=2)


# -- the verifier's ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "accepted", "feedback", "score"),
    [
        (True, True, "Well done.", 1.0),
        (False, False, "See the last step.", 1.0),
        (False, False, "It is 1234.", 0.5),
        (False, False, " ", 0.5),
        (True, False, "No.", 0.0),
        (False, True, "Fine.", 0.0),
    ],
)
def test_a_verdict(verdict, accepted, feedback, score):
    gold = dspy.Example(problem="p", attempt="answer: 7", verdict=verdict, answer="1234")
    judged = VerdictMetric()(gold, dspy.Prediction(accepted=accepted, feedback=feedback))
    assert (judged.score, bool(judged)) == (score, score == 1.0)
    assert "1234" not in judged.feedback


def test_feedback_that_the_verifier_redacted_gave_the_answer_away():
    gold = dspy.Example(problem="p", attempt="a", verdict=False, answer="1234")
    told = dspy.Prediction(accepted=False, feedback="It is [withheld].", redacted=True)
    assert VerdictMetric()(gold, told).score == 0.5


# -- with a model ------------------------------------------------------------------------------------------


@pytest.fixture
def server(llm_server: LLMServer, lm: dspy.LM) -> LLMServer:
    llm_server.script = model
    return llm_server


def actor() -> Actor:
    return Actor("question -> answer")


def rollouts(*numbers: int) -> list[dspy.Example]:
    return critic_examples(actor(), problems(*numbers), right, max_rounds=2, max_rollouts=1, progress=False)


def test_it_is_charged_and_keeps_to_a_budget(server):
    ledger = Ledger()
    metric = LessonMetric(actor(), VAL[:2], right, ledger=ledger)
    metric(NOTHING, written(lesson(LESSON)))
    assert set(ledger.by_role) == {"teaching"}
    assert ledger.by_role["teaching"].calls == len(server.requests) == 4
    poor = LessonMetric(actor(), VAL[:2], right, ledger=Ledger(budget_tokens=10))
    with pytest.raises(BudgetError):
        poor(NOTHING, written(lesson(LESSON)))


def test_the_actor_s_model_is_the_one_configured_at_the_start(server):
    metric = LessonMetric(actor(), VAL[:2], right)
    with dspy.context(lm=None, adapter=dspy.JSONAdapter(), trace=(trace := [])):  # as an optimizer might
        assert metric(NOTHING, written(lesson(LESSON))).score == 1.0
    assert not any(request.as_json for request in server.requests)
    assert trace == []


def test_an_actor_that_never_answers_is_an_error(server):
    server.script = lambda role, inputs, messages: "nonsense"
    with pytest.raises(ModelError, match="on every validation example"):
        LessonMetric(actor(), VAL[:1], right)(NOTHING, written(lesson(LESSON)))


def test_a_program_without_experience_is_given_it(server):
    metric = LessonMetric(dspy.Predict("question -> answer"), VAL[:2], right)
    assert metric(NOTHING, written(lesson(LESSON))).score == 1.0


def test_the_examples_of_a_critic(server):
    first, second = rollouts(22, 1)
    assert first.inputs().keys() == ["precedent", "trajectory"]
    assert first.precedent == Precedent(example_id(problems(22)[0]), "Case 22: what is 22 # 3?", "67")
    assert [first.trajectory.zone, second.trajectory.zone] == ["golden", "warning"]
    assert len(second.trajectory.rounds) == 2
    assert Critic()(**first.inputs()).experience.zone == "golden"


def test_the_examples_of_an_updater(server):
    found = updater_examples(rollouts(2, 4), LIBRARY)
    assert [(LESSON in example.lesson.method, example.nearest) for example in found] == [(True, [DULL])] * 2
    assert isinstance(Updater()(**found[0].inputs()).edit, Merge)
    assert updater_examples(rollouts(2), ExperienceLibrary()) == []


def test_the_examples_of_a_verifier(server):
    given = rollouts(22, 1)
    alone, told = verifier_examples(given), verifier_examples(given, measured=True)
    assert [(example.verdict, example.answer) for example in alone] == [(True, "67"), (False, "4"), (False, "4")]
    assert "answer: 67" in alone[0].attempt
    assert (alone[1].measured, alone[1].reference) == (None, "")
    assert [(example.verdict, example.measured.score, example.reference) for example in told] == [(False, 0.0, "4")] * 2
    server.requests.clear()
    judged = [Verifier()(**example.inputs()) for example in (alone[1], told[0])]
    assert [sorted(request.inputs) for request in server.requests] == [
        ["attempt", "problem"],
        ["attempt", "measured", "problem", "reference"],
    ]
    assert [prediction.accepted for prediction in judged] == [True, False]  # fooled, until it is told


def test_verdicts_that_no_metric_gave_are_left_out():
    unsure = Trajectory((Round({"answer": "1"}, None, True, "Good."),))
    given = dspy.Example(precedent=Precedent("e", "p", "1"), trajectory=unsure)
    studied = dspy.Example(precedent=Precedent("e", "p", "1"), trajectory=None)
    assert verifier_examples([given, studied]) == []


def test_examples_are_kept_in_a_file(server, tmp_path):
    critics = rollouts(22, 1)
    for examples in (critics, updater_examples(critics, LIBRARY), verifier_examples(critics, measured=True)):
        save_examples(examples, tmp_path / "examples.jsonl")
        again = load_examples(tmp_path / "examples.jsonl")
        assert again == examples
        assert [example.inputs() for example in again] == [example.inputs() for example in examples]


@pytest.mark.parametrize("line", ["{", '{"precedent": 1, "trajectory": null}', "[]", '{"problem": "p"}'])
def test_a_damaged_file_says_where(tmp_path, line):
    (tmp_path / "examples.jsonl").write_text(line)
    with pytest.raises(DataError, match="line 1"):
        load_examples(tmp_path / "examples.jsonl")


def test_where_no_rollout_finishes_there_is_an_error(server):
    server.script = lambda role, inputs, messages: "nonsense"
    with pytest.raises(ModelError, match="none of 1"):
        rollouts(1)

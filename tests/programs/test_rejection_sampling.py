"""Rejection sampling: rounds, rollouts, and what ends them."""

import threading

import dspy
import pytest

from flex_dspy.core.errors import ConfigurationError, ModelError
from flex_dspy.programs import Actor, RejectionSampling, Verifier
from flex_dspy.programs.rejection_sampling import MAX_UNJUDGED
from tests.llm_server import Fault, LLMServer

EXAMPLE = dspy.Example(question="6*7?", answer="42").with_inputs("question")


def right(example, prediction, trace=None):
    return example.answer == prediction.answer


class Play:
    """Answers of the actor in turn (the last one for ever), and one verdict of the verifier."""

    def __init__(self, *answers: str | dict | Fault, verdict: dict | None = None) -> None:
        self.answers = list(answers)
        self.verdict = verdict or {"accepted": False, "feedback": "Try again."}
        self._lock = threading.Lock()

    def __call__(self, role, inputs, messages):
        if role == "verifier":
            return self.verdict
        with self._lock:
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return {"reasoning": "so", "answer": answer, "experiences_used": []} if isinstance(answer, int) else answer


MALFORMED = "I will not answer in this format."


@pytest.fixture
def server(llm_server: LLMServer, lm: dspy.LM) -> LLMServer:
    return llm_server


def sampling(**settings) -> RejectionSampling:
    return RejectionSampling(Actor("question -> answer"), **{"metric": right, **settings})


def answers(found: dspy.Prediction) -> list[list[str]]:
    return [[round_.outputs["answer"] for round_ in trajectory.rounds] for trajectory in found.trajectories]


def test_a_right_answer_ends_it_at_once(server, ask, adapter):
    server.script = Play(42)
    found = ask(sampling(), example=EXAMPLE)
    assert found.accepted
    assert answers(found) == [["42"]]
    assert found.outputs["answer"] == "42"
    assert found.trajectories[0].zone == "golden"
    assert found.trajectories[0].rounds[0].score == 1.0
    assert [request.role for request in server.requests] == ["actor"]


def test_feedback_turns_the_next_round(server, ask, adapter):
    server.script = Play(41, 40, 42)
    found = ask(sampling(), example=EXAMPLE)
    assert answers(found) == [["41", "40", "42"]]
    assert found.trajectories[0].zone == "mixed"
    earlier = [request.inputs["earlier_attempts"] for request in server.of("actor")]
    assert earlier[0] == "none"
    assert "answer: 41" in earlier[1]
    assert "feedback: Try again." in earlier[1]
    assert "answer: 41" in earlier[2]
    assert "answer: 40" in earlier[2]
    assert [request.inputs["reference"] for request in server.of("verifier")] == ["42", "42"]
    assert all("42" not in text for text in earlier)


def test_every_rollout_that_fails_is_returned(server, ask):
    server.script = Play(1, 2, 3, 4, 5, 6)
    found = ask(sampling(max_rounds=2, max_rollouts=3), example=EXAMPLE)
    assert not found.accepted
    assert answers(found) == [["1", "2"], ["3", "4"], ["5", "6"]]
    assert {trajectory.zone for trajectory in found.trajectories} == {"warning"}
    assert found.outputs["answer"] == "6"
    # A rollout knows nothing of the ones before it.
    assert [r.inputs["earlier_attempts"] == "none" for r in server.of("actor")] == [True, False] * 3


def test_it_stops_at_the_first_rollout_that_succeeds(server, ask):
    server.script = Play(1, 2, 3, 42)
    found = ask(sampling(max_rounds=2, max_rollouts=5), example=EXAMPLE)
    assert answers(found) == [["1", "2"], ["3", "42"]]
    assert [trajectory.solved for trajectory in found.trajectories] == [False, True]


def test_later_rollouts_are_new_samples_and_not_the_cache(server, ask):
    dspy.settings.lm.cache = True
    server.script = Play(1, 2, 3)
    found = ask(sampling(max_rounds=1, max_rollouts=3), example=EXAMPLE)
    assert answers(found) == [["1"], ["2"], ["3"]]
    assert [request.body.get("temperature") for request in server.of("actor")] == [None, 1.0, 1.0]
    again = ask(sampling(max_rounds=1, max_rollouts=3), example=EXAMPLE)
    assert answers(again) == [["1"], ["2"], ["3"]]
    assert len(server.of("actor")) == 3


def test_a_malformed_answer_is_asked_for_anew(server, ask):
    server.script = Play(1, MALFORMED, MALFORMED, 42)
    (found,) = ask(sampling(), example=EXAMPLE).trajectories
    assert [round_.outputs["answer"] for round_ in found.rounds] == ["1", "42"]
    assert not found.error


def test_malformed_answers_without_end_end_their_rollout_and_no_other(server, ask):
    # Plainly, then with the reason, then for JSON.
    server.script = Play(1, *[MALFORMED] * 3, 42)
    found = ask(sampling(), example=EXAMPLE)
    broken, good = found.trajectories
    assert answers(found) == [["1"], ["42"]]
    assert broken.error.startswith("UnreadableAnswer: the output field `answer` ")
    assert broken.zone == "warning"
    assert not good.error
    assert found.accepted


def test_nothing_but_malformed_answers_is_data_too(server, ask):
    server.script = Play(MALFORMED)
    found = ask(sampling(max_rollouts=2), example=EXAMPLE)
    assert not found.accepted
    assert found.outputs == {}
    assert [(trajectory.rounds, bool(trajectory.error)) for trajectory in found.trajectories] == [((), True)] * 2


def test_a_server_error_is_its_rollouts_own(server, ask):
    server.script = Play(1, Fault(500), 42)
    found = ask(sampling(), example=EXAMPLE)
    assert answers(found) == [["1"], ["42"]]
    assert "LMServerError" in found.trajectories[0].error
    assert found.accepted


def test_a_wrong_key_is_no_rollouts_own(server, ask):
    server.script = Play(1, Fault(401, "no such key"), 42)
    with pytest.raises(ModelError, match="no such key"):
        ask(sampling(), example=EXAMPLE)
    assert len(server.of("actor")) == 2


@pytest.mark.parametrize("settings", [{"metric": None}, {}])
def test_without_metric_or_reference_the_verifier_decides(server, ask, settings):
    example = EXAMPLE if settings else dspy.Example(question="6*7?").with_inputs("question")
    server.script = Play(7, verdict={"accepted": True, "feedback": "Fine."})
    found = ask(sampling(**settings), example=example)
    assert found.accepted
    (round_,) = found.trajectories[0].rounds
    assert (round_.score, round_.feedback) == (None, "Fine.")
    (request,) = server.of("verifier")
    assert "measured" not in request.inputs
    assert request.inputs.get("reference") == ("42" if settings else None)
    assert found.answer.startswith("7 (not verified")


def test_without_a_reference_what_nobody_accepts_is_no_answer(server, ask):
    server.script = Play(7)
    found = ask(sampling(max_rounds=2, max_rollouts=1, metric=None), example=EXAMPLE.without("answer"))
    assert not found.accepted
    assert found.answer == ""
    assert "rejected" in server.of("actor")[1].inputs["earlier_attempts"]


def test_the_answer_in_the_feedback_does_not_reach_the_actor(server, ask):
    server.script = Play(36, verdict={"accepted": False, "feedback": "It is 42."})
    found = ask(sampling(max_rounds=2, max_rollouts=1), example=EXAMPLE)
    assert all(round_.redacted for round_ in found.trajectories[0].rounds)
    (_, second) = server.of("actor")
    assert "[withheld]" in second.inputs["earlier_attempts"]
    assert all("42" not in message["content"] for message in second.messages)


def test_any_program_can_be_the_actor(server, ask):
    server.script = Play({"answer": "1"}, {"answer": "42"})
    found = ask(RejectionSampling(dspy.Predict("question -> answer"), metric=right), example=EXAMPLE)
    assert answers(found) == [["1", "42"]]
    assert "earlier_attempts" not in server.requests[0].inputs


def test_every_round_of_any_program_is_a_sample_of_its_own(server, ask, lm):
    lm.cache = True
    server.script = Play(*({"answer": str(n)} for n in range(1, 7)))
    program = RejectionSampling(dspy.Predict("question -> answer"), metric=right, max_rounds=2, max_rollouts=3)
    assert answers(ask(program, example=EXAMPLE)) == [["1", "2"], ["3", "4"], ["5", "6"]]
    assert [request.body.get("temperature") for request in server.of("actor")] == [None, *[1.0] * 5]
    assert answers(ask(program, example=EXAMPLE)) == [["1", "2"], ["3", "4"], ["5", "6"]]  # each from the cache
    assert len(server.of("actor")) == 6


def test_a_malformed_answer_of_any_program_is_asked_for_anew(server, ask, lm):
    lm.cache = True
    server.script = Play(MALFORMED, MALFORMED, {"answer": "42"})
    found = ask(RejectionSampling(dspy.Predict("question -> answer"), metric=right), example=EXAMPLE)
    assert answers(found) == [["42"]]


class Pipeline(dspy.Module):
    """Passes on whatever it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.solve = dspy.ChainOfThought("question, earlier_attempts -> answer")

    def forward(self, **inputs):
        return self.solve(**inputs)


@pytest.mark.parametrize("program", [Pipeline(), dspy.Predict("question, earlier_attempts -> answer")])
def test_any_program_that_takes_them_is_told_of_its_earlier_attempts(server, ask, program):
    server.script = Play(41, 42)
    found = ask(RejectionSampling(program, metric=right), example=EXAMPLE)
    assert answers(found) == [["41", "42"]]
    first, second = (request.inputs["earlier_attempts"] for request in server.of("actor"))
    assert first == "none"
    assert "answer: 41" in second


def test_it_is_told_less_where_the_prompt_is_too_long(server, ask):
    said = iter(range(50, 60))

    def script(role, inputs, messages):
        if role == "verifier":
            return {"accepted": False, "feedback": "No."}
        if len(inputs["earlier_attempts"]) > 3_000:
            return Fault(400, code="context_length_exceeded")
        return {"reasoning": "w" * 4_000, "answer": str(next(said)), "experiences_used": []}

    server.script = script
    found = ask(sampling(max_rounds=4, max_rollouts=1), example=EXAMPLE)
    assert answers(found) == [["50", "51", "52", "53"]]
    assert not found.trajectories[0].error
    told = server.of("actor")[-1].inputs["earlier_attempts"]
    assert [f"answer: {n}" in told for n in (50, 51, 52)] == [True, False, True]


def test_an_actors_new_model_is_the_one_that_is_sampled(server, ask):
    server.script = Play(1)
    program = sampling(max_rounds=1, max_rollouts=2)
    for name in ("old", "new"):
        program.actor.set_lm(dspy.settings.lm.copy(model=f"openai/{name}"))
        ask(program, example=EXAMPLE)
    assert [request.body["model"] for request in server.of("actor")] == ["old", "old", "new", "new"]


def test_tool_calls_are_read_as_steps(server, ask):
    steps = [
        {"next_thought": "look", "next_tool_name": "look", "next_tool_args": {"at": "6*7"}},
        {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": {}},
        {"reasoning": "so", "answer": "41", "experiences_used": []},
    ]
    server.script = Play(*steps)
    actor = Actor("question -> answer", strategy="react", tools=[look])
    found = ask(RejectionSampling(actor, metric=right, max_rounds=1, max_rollouts=1), example=EXAMPLE)
    (round_,) = found.trajectories[0].rounds
    assert round_.outputs["trajectory"].splitlines()[0] == "look | look({'at': '6*7'}) -> nothing at 6*7"
    assert "trajectory: look | look" in server.of("verifier")[0].inputs["attempt"]


def look(at: str) -> str:
    """Looks."""
    return f"nothing at {at}"


def test_a_program_that_is_only_synchronous_can_be_the_actor(server, ask):
    class Constant(dspy.Module):
        def forward(self, question: str) -> dspy.Prediction:
            return dspy.Prediction(answer="42")

    assert ask(RejectionSampling(Constant(), metric=right), example=EXAMPLE).accepted
    assert server.requests == []


def test_an_example_must_name_its_inputs(server, ask):
    with pytest.raises(ConfigurationError, match="with_inputs"):
        ask(sampling(), example=dspy.Example(question="6*7?", answer="42"))


@pytest.mark.parametrize("settings", [{"max_rounds": 0}, {"max_rollouts": 0}])
def test_there_is_at_least_one_round(settings):
    with pytest.raises(ConfigurationError):
        sampling(**settings)


def test_each_role_can_have_its_own_model(server):
    server.script = Play(1)
    program = sampling(max_rounds=1, max_rollouts=1)
    program.actor.set_lm(dspy.settings.lm.copy(model="openai/big"))
    program.verifier.set_lm(dspy.settings.lm.copy(model="openai/small"))
    assert [name for name, _ in program.named_predictors()] == ["actor.attempt.predict", "verifier.verify"]
    program.deepcopy()(example=EXAMPLE)
    assert [(r.role, r.body["model"]) for r in server.requests] == [("actor", "big"), ("verifier", "small")]


def test_it_saves_and_loads(server, tmp_path):
    program = sampling()
    program.actor.retriever.k = 2
    program.verifier.verify.signature = program.verifier.verify.signature.with_instructions("Judge.")
    program.save(tmp_path / "sampling.json")
    again = sampling(verifier=Verifier())
    again.load(tmp_path / "sampling.json")
    assert again.actor.retriever.k == 2
    assert again.verifier.verify.signature.instructions == "Judge."


def test_dspy_evaluate_measures_it(server):
    server.script = lambda role, inputs, messages: (
        {"accepted": False, "feedback": "No."}
        if role == "verifier"
        else {"reasoning": "", "answer": "42" if "rejected" in inputs["earlier_attempts"] else "1"}
    )
    devset = [dspy.Example(example=EXAMPLE, number=n).with_inputs("example") for n in range(4)]
    evaluate = dspy.Evaluate(devset=devset, metric=lambda e, p: p.accepted, num_threads=2, display_progress=False)
    assert evaluate(sampling()).score == 100.0


# -- metrics of every kind ---------------------------------------------------------------------------------


def even(example, prediction, trace=None):
    """Needs no reference answer."""
    return dspy.Prediction(score=float(int(prediction.answer) % 2 == 0), feedback="It must be even.")


def closeness(example, prediction, trace=None):
    return max(0.0, 1 - abs(int(prediction.answer) - int(example.answer)) / 10)


async def slowly(example, prediction):
    return right(example, prediction)


def test_a_metric_that_needs_no_reference_decides_without_one(server, ask):
    server.script = Play(7, 8, verdict={"accepted": True, "feedback": "Halve it in your head."})
    found = ask(sampling(metric=even), example=EXAMPLE.without("answer"))
    assert answers(found) == [["7", "8"]]
    assert [round_.score for round_ in found.trajectories[0].rounds] == [0.0, 1.0]
    assert server.of("verifier")[0].inputs["measured"] == "rejected (score 0). It must be even."
    assert found.answer == "8"  # the metric has verified it


def test_an_attempt_that_the_metric_fails_on_is_rejected_whoever_else_would_accept_it(server, ask):
    server.script = Play({"reasoning": "", "answer": "eight"}, 8, verdict={"accepted": True, "feedback": "Digits."})
    for example in (EXAMPLE, EXAMPLE.without("answer")):
        server.script.answers = [{"reasoning": "", "answer": "eight"}, 8]
        found = ask(sampling(metric=even), example=example)
        assert [round_.accepted for round_ in found.trajectories[0].rounds] == [False, True]
        assert "even raised ValueError: invalid literal" in server.of("verifier")[-1].inputs["measured"]


@pytest.mark.parametrize("threshold", [-1.0, 0.0])
def test_a_failure_of_the_metric_is_no_success_at_any_threshold(server, ask, threshold):
    server.script = Play({"reasoning": "", "answer": "eight"})
    found = ask(sampling(metric=even, verifier=Verifier(threshold), max_rounds=1, max_rollouts=1), example=EXAMPLE)
    assert not found.accepted


@pytest.mark.parametrize(("threshold", "rounds"), [(1.0, ["30", "40", "42"]), (0.8, ["30", "40"])])
def test_a_graded_metric_has_a_threshold_and_its_score_is_told(server, ask, threshold, rounds):
    server.script = Play(30, 40, 42)
    found = ask(sampling(metric=closeness, verifier=Verifier(threshold)), example=EXAMPLE)
    assert answers(found) == [rounds]
    text = found.trajectories[0].text()
    assert text.count("score:") == 1  # the verdict says 0 and 1
    assert "  score: 0.8\n" in text


def test_an_asynchronous_metric_is_awaited(server, ask):
    server.script = Play(41, 42)
    assert answers(ask(sampling(metric=slowly), example=EXAMPLE)) == [["41", "42"]]


@pytest.mark.parametrize("metric", [lambda example: 1.0, lambda example, prediction: None, lambda e, p: undefined])  # noqa: F821
def test_a_metric_that_cannot_work_is_an_error_at_once(server, ask, metric):
    server.script = Play(42)
    with pytest.raises(ConfigurationError, match="metric"):
        ask(sampling(metric=metric), example=EXAMPLE)
    assert [request.role for request in server.requests] == ["actor"]


def test_a_metric_that_judges_nothing_ends_the_run_and_one_that_fails_now_and_then_does_not(server, ask):
    broken = sampling(metric=even, max_rounds=1, max_rollouts=MAX_UNJUDGED)
    server.script = Play({"reasoning": "", "answer": "eight"})
    with pytest.raises(ConfigurationError, match="each of the first 20 attempts; the last time with Value"):
        ask(broken, example=EXAMPLE)
    assert len(server.of("actor")) == MAX_UNJUDGED

    sound = sampling(metric=even, max_rounds=1, max_rollouts=MAX_UNJUDGED + 1)
    server.script = Play(7, *[{"reasoning": "", "answer": "eight"}] * MAX_UNJUDGED)
    assert not ask(sound, example=EXAMPLE).accepted

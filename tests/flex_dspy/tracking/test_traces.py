"""Traces of MLflow as rated requests, and assessments written back to them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import dspy
import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.examples import example_id
from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.evaluation.records import Record
from flex_dspy.learning.trace_learner import TraceLearner
from flex_dspy.tracking.assessments import OURS, log_assessments, read_assessments
from flex_dspy.tracking.spans import inputs_of, outputs_of
from flex_dspy.tracking.traces import TraceRequests, trace_page, traces
from tests.flex_dspy.learning.test_trace_learner import FamilyUpdater, ScriptedCritic


class Bot(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rewrite = dspy.Predict("question -> query")
        self.answer = dspy.ChainOfThought("question, query -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        return self.answer(question=question, query=self.rewrite(question=question).query)


@pytest.fixture(scope="module")
def client(mlflow_uri: str) -> Iterator[Any]:
    """MLflow's client; traces go to the store of the session."""
    import mlflow
    from mlflow import MlflowClient

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.pyfunc  # which the first span imports, and which warns
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(mlflow_uri)
    yield MlflowClient(mlflow_uri)
    mlflow.set_tracking_uri(before)


def record(experiment: str, inputs: Any, outputs: Any, steps: int = 0, **attributes: Any) -> str:
    """Trace one request; its id."""
    import mlflow

    mlflow.set_experiment(experiment)
    with mlflow.start_span("bot", attributes=attributes) as span:
        span.set_inputs(inputs)
        for number in range(steps):
            with mlflow.start_span(f"step {number}", span_type="TOOL") as step:
                step.set_inputs({"query": number})
                step.set_outputs({"hits": number})
        span.set_outputs(outputs)
    mlflow.flush_trace_async_logging()
    return str(span.trace_id)


def assess(trace_id: str, value: Any, rationale: str | None = None, kind: str = "HUMAN", name: str = "rating") -> None:
    import mlflow
    from mlflow.entities import AssessmentSource

    mlflow.log_feedback(
        trace_id=trace_id, name=name, value=value, rationale=rationale, source=AssessmentSource(kind, "somebody")
    )


def found(requests: TraceRequests, known: frozenset[str] = frozenset()) -> list[Any]:
    return [request for some in requests.look(known) for request in some]


@pytest.mark.slow
def test_rated_traces_are_learned_from_and_lessons_name_them(client: Any, mlflow_uri: str) -> None:
    ids = [record("bot", {"question": f"case {n}"}, {"answer": "yes"}, steps=3) for n in range(3)]
    assess(ids[0], True)
    assess(ids[1], False, "that was the wrong year")
    requests = traces("bot", tracking_uri=mlflow_uri)
    critic = ScriptedCritic()
    learner = TraceLearner(dspy.Predict("question -> answer"), critic=critic, updater=FamilyUpdater())
    library = learner.learn(requests)
    experiment = client.get_experiment_by_name("bot").experiment_id
    names = {case.trace for entry in library for case in entry.precedents}
    assert names == {f"mlflow:{experiment}/{trace_id}" for trace_id in ids[:2]}
    assert {entry.zone for entry in library} == {"golden", "warning"}
    assert "feedback: that was the wrong year" in "\n".join(critic.read)
    assert "step step 2: query=2 -> hits=2" in critic.read[0]
    assess(ids[2], 0.0)  # its rating comes late
    assert [request.trace for request in found(requests, frozenset(names))] == [f"mlflow:{experiment}/{ids[2]}"]
    assert [r.trace for r in requests.fetch([f"mlflow:{experiment}/{ids[1]}"])] == [f"mlflow:{experiment}/{ids[1]}"]


@pytest.mark.slow
def test_a_program_s_own_traces_name_its_steps(client: Any, mlflow_uri: str, llm_server: Any) -> None:
    import mlflow

    llm_server.script = lambda role, inputs, messages: {"query": "q", "reasoning": "r", "answer": "42"}
    mlflow.set_experiment("autolog")
    mlflow.dspy.autolog()
    try:
        lm = dspy.LM("openai/test", api_base=llm_server.url, api_key="sk-secret0123456789abcdef", cache=False)
        with dspy.context(lm=lm):
            Bot()(question="when?")
    finally:
        mlflow.dspy.autolog(disable=True)
    mlflow.flush_trace_async_logging()
    trace_id = str(mlflow.get_last_active_trace_id())
    mlflow.log_expectation(trace_id=trace_id, name="expected", value={"answer": "43"})
    [request] = found(traces("autolog", tracking_uri=mlflow_uri, program=Bot()))
    assert (request.inputs, request.outputs["answer"], request.score) == ({"question": "when?"}, "42", None)
    assert request.steps[0] == "rewrite: question=when? -> query=q"
    assert request.steps[1].startswith("answer.predict: question=when?; query=q -> ")
    seen = request.observation(("question",), ("answer",))
    assert (seen.problem, seen.reference) == ("when?", "43")
    assert "sk-secret" not in repr(request)
    example = dspy.Example(question="when?").with_inputs("question")
    assert traces("autolog", tracking_uri=mlflow_uri).by_example() == {example_id(example): request.trace}


@pytest.mark.slow
def test_spans_of_other_frameworks_hold_messages(client: Any, mlflow_uri: str) -> None:
    asked = [
        {"role": "system", "parts": [{"type": "text", "content": "You are a bot."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Where is my parcel?"}]},
    ]
    said = [{"role": "assistant", "parts": [{"type": "text", "content": "In Ulm."}], "finish_reason": "stop"}]
    trace_id = record("otel", asked, said, **{"gen_ai.operation.name": "invoke_agent"})
    assess(trace_id, "no", "Ulm is wrong", kind="LLM_JUDGE")
    [request] = found(traces("otel", tracking_uri=mlflow_uri))
    seen = request.observation(("question",), ("answer",))
    assert (seen.problem, seen.outputs) == ("Where is my parcel?", {"answer": "In Ulm."})
    assert (seen.score, seen.feedback) == (0.0, "Ulm is wrong")


@pytest.mark.parametrize(
    ("given", "answered", "problem", "answer"),
    [
        (
            [{"role": "user", "content": "a"}],
            {"choices": [{"message": {"role": "assistant", "content": "b"}}]},
            "a",
            "b",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}, "b", "a", "b"),
        ({"args": [], "kwargs": {"question": "a"}}, {"answer": "b"}, "a", "b"),
        (
            [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": None, "parts": [{"type": "tool_call", "name": "f", "arguments": {}}]},
                {"role": "user", "content": "c"},
            ],
            [{"role": "assistant", "parts": [{"type": "text", "content": "b"}]}],
            "user: a\nassistant: calls f({})\nuser: c",
            "b",
        ),
        (None, None, None, None),
    ],
)
def test_forms_of_inputs_and_outputs(given: Any, answered: Any, problem: str | None, answer: str | None) -> None:
    span = SimpleNamespace(inputs=given, outputs=answered, attributes={})
    assert list(inputs_of(span).values()) == ([problem] if problem else [])
    assert list(outputs_of(span).values()) == ([answer] if answer else [])


def assessment(value: Any, kind: str = "HUMAN", name: str = "rating", **fields: Any) -> Any:
    feedback = SimpleNamespace(value=value, error=None)
    source = SimpleNamespace(source_type=kind, source_id=fields.pop("by", "x"))
    given = {"name": name, "source": source, "feedback": feedback, "expectation": None, "rationale": None}
    return SimpleNamespace(**{**given, "valid": True, **fields})


@pytest.mark.parametrize(
    ("assessments", "score", "feedback"),
    [
        ([assessment(True)], 1.0, ""),
        ([assessment("Thumbs_Down", rationale="too slow")], 0.0, "too slow"),
        ([assessment("rude")], None, "rude"),
        ([assessment(0.25), assessment(0.75, name="tone", rationale="curt")], 0.5, "tone: curt"),
        ([assessment(1.0, "LLM_JUDGE"), assessment(0.0)], 0.0, ""),  # a person knows better
        ([assessment(0.0, "CODE"), assessment(1.0, "LLM_JUDGE")], 1.0, ""),
        ([assessment(1.0), assessment(0.0, valid=False)], 1.0, ""),
        ([assessment(0.0, "CODE", by=OURS)], None, ""),  # not our own evaluations
    ],
)
def test_assessments_become_a_verdict(assessments: Any, score: float | None, feedback: str) -> None:
    said = read_assessments(assessments)
    assert (said.score, said.feedback) == (score, feedback)
    assert bool(said) == (score is not None or bool(feedback))


def test_ratings_have_a_scale_and_a_name() -> None:
    stars = [assessment(4, name="stars"), assessment(0.0, name="other")]
    assert read_assessments(stars, "stars", (1, 5)).score == 0.75
    with pytest.raises(ConfigurationError, match="'stars' is 4, and a score is from 0 to 1"):
        read_assessments(stars)
    with pytest.raises(ConfigurationError, match="outside of the scale"):
        read_assessments([assessment(7)], scale=(1, 5))
    with pytest.raises(ConfigurationError, match="lowest"):
        traces("bot", scale=(5, 1))


@pytest.mark.slow
def test_an_evaluation_s_scores_stand_beside_the_traces_once(client: Any, mlflow_uri: str) -> None:
    trace_id = record("measured", {"question": "when?"}, {"answer": "42"})
    example = dspy.Example(question="when?").with_inputs("question")
    asked = traces("measured", tracking_uri=mlflow_uri).by_example()
    records = [
        Record(example_id(example), "when?", "43", {"answer": "42"}, 0.5, feedback="key sk-abcdefghij0123456789xyz"),
        Record("unknown", "why?", "1", {"answer": "1"}, 1.0),
    ]
    for _ in range(2):
        written = log_assessments(Evaluation(tuple(records)), asked, version="bot/3", tracking_uri=mlflow_uri)
    assert written == 0
    [said] = client.get_trace(trace_id).info.assessments
    assert (said.name, said.feedback.value, said.source.source_id) == ("bot/3", 0.5, OURS)
    assert said.rationale == "key (withheld)"
    assert found(traces("measured", tracking_uri=mlflow_uri)) == []


@pytest.mark.slow
def test_a_store_that_cannot_be_read_is_said(tmp_path: Any, client: Any, mlflow_uri: str) -> None:
    with pytest.raises(ConfigurationError, match="no experiment 'nothing'"):
        found(traces("nothing", tracking_uri=mlflow_uri))
    with pytest.raises(ConfigurationError, match="no tracking store"):
        found(traces("bot", tracking_uri=f"sqlite:///{tmp_path}/none.db"))


def test_a_trace_has_a_page() -> None:
    assert (
        trace_page("mlflow:3/tr-1", "http://h:5000/")
        == "http://h:5000/#/experiments/3/traces?selectedEvaluationId=tr-1"
    )
    assert trace_page("file:a.csv#1", "http://h:5000") == ""

"""Learning from traces alone: ``bench_traces.py [requests] [keep]``.

A support bot of two steps answers requests while DSPy's autolog traces it to a real MLflow server. A person rates each
answer with stars, and says of half of the bad ones what would have been right; every tenth rating is wrong. Then a
library is learned from the traces, without a rerun, and the bot is measured on new requests without and with it. The
model is scripted: it knows the policies of 3 of 12 topics, and follows a lesson where one is shown. So the study shows
that the pipeline brings ratings back as lessons, and not how good a language model is at writing them.

``keep`` leaves the server running, for a look at its pages.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import dspy

from flex_dspy import ExperienceLibrary, TraceLearner, evaluate, log_assessments, traces
from flex_dspy.search.rendering import parse
from flex_dspy.tracking.mlflow_store import prepare
from flex_dspy.tracking.traces import trace_page
from tests.flex_dspy.test_ui import free_port
from tests.llm_server import LLMServer

REQUESTS, NEW = 300, 200
WRONG_RATINGS = 0.1
EXPERIMENT = "support-bot"
POLICIES = {
    "lost parcel": "refund",
    "late delivery": "voucher",
    "broken screen": "repair",
    "wrong size": "exchange",
    "double charge": "refund",
    "expired coupon": "renew",
    "forgotten password": "reset",
    "missing invoice": "send",
    "stolen card": "block",
    "faulty battery": "exchange",
    "cancelled order": "confirm",
    "unknown sender": "report",
}
KNOWN = ("forgotten password", "missing invoice", "stolen card")
GUESSES = ("apologise", "wait")  # of a model that knows no policy
WORDS = ("please help", "I wrote twice", "since Monday", "again", "my mother asks", "urgent", "thank you", "order")


class Bot(dspy.Module):
    """Names the topic, then the action."""

    def __init__(self) -> None:
        super().__init__()
        self.name_topic = dspy.Predict("request -> topic")
        self.decide = dspy.Predict("request, topic -> action")

    def forward(self, request: str) -> dspy.Prediction:
        return self.decide(request=request, topic=self.name_topic(request=request).topic)


def request(dice: random.Random, number: int) -> dspy.Example:
    """A request with the action that the policy wants."""
    topic = dice.choice(list(POLICIES))
    words = ", ".join(dice.sample(WORDS, 3))
    text = f"Number {number}: {words}: a {topic} it is"
    return dspy.Example(request=text, action=POLICIES[topic]).with_inputs("request")


def topic_of(text: str) -> str:
    return next((topic for topic in POLICIES if topic in text), "something else")


def model(role: str, inputs: dict[str, str], messages: Any) -> dict[str, Any]:
    """Follows a lesson, else a policy that it knows; as critic it repeats what the person said."""
    if role == "critic":
        return {"lesson": lesson(inputs)}
    if role == "updater":
        return {"decision": decision(inputs)}
    if role == "verifier":
        return {"accepted": False, "feedback": "no"}
    if "topic" not in inputs:
        return {"topic": topic_of(inputs["request"])}
    topic = topic_of(inputs["request"])
    lessons = inputs.get("experiences", "")
    forbidden = re.findall(rf"a {topic}: never (\w+)", lessons)
    taught = [action for action in re.findall(rf"a {topic} -> (\w+)", lessons) if action not in forbidden]
    known = [POLICIES[topic]] if topic in KNOWN else []
    action = [*taught, *known, *(each for each in GUESSES if each not in forbidden), *GUESSES][0]
    return {"action": action, "experiences_used": []}


def lesson(inputs: dict[str, str]) -> dict[str, Any]:
    topic = topic_of(inputs["problem"])
    right = re.search(r"should have been (\w+)", inputs["attempts"])
    action = re.findall(r"action: (\w+)", inputs["attempts"])[-1]
    accepted = "verdict: accepted" in inputs["attempts"]
    rule = (
        f"a {topic} -> {right[1]}" if right else f"a {topic} -> {action}" if accepted else f"a {topic}: never {action}"
    )
    return {"category": topic, "method": f"Requests about a {topic}.", "rules": [{"text": rule}], "trajectory": ""}


def decision(inputs: dict[str, str]) -> dict[str, Any]:
    """Merge into an entry of the same rule, where one is shown."""
    new = parse(inputs["new_lesson"])[0]
    same = (each.id for each in parse(inputs["nearest"]) if set(new.rules) <= set(each.rules))
    target = next(same, None)
    return {"action": "merge", "target": target} if target else {"action": "insert", "target": None}


def right(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> bool:
    return bool(example.action == prediction.action)


def serve(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """A real MLflow server on a store of its own."""
    prepare()
    from mlflow import MlflowClient

    store = f"sqlite:///{folder}/mlflow.db"
    MlflowClient(store).create_experiment(EXPERIMENT)
    command = [sys.executable, "-m", "flex_dspy.cli", "ui", "--tracking-uri", store, "--port", str(free_port())]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    said = [server.stdout.readline(), server.stdout.readline()]
    return server, re.search(r"http://[\d.:]+", said[-1])[0]  # type: ignore[index]


def trace_and_rate(address: str, examples: list[dspy.Example], dice: random.Random) -> int:
    """Answer the requests under autolog, and rate the answers; how many were right."""
    import mlflow
    from mlflow.entities import AssessmentSource

    mlflow.set_tracking_uri(address)
    mlflow.set_experiment(EXPERIMENT)
    mlflow.dspy.autolog()
    bot, solved, person = Bot(), 0, AssessmentSource("HUMAN", "agent-7")
    for example in examples:
        answer = bot(request=example.request)
        mlflow.flush_trace_async_logging()
        is_right = right(example, answer)
        solved += is_right
        is_wrong_rating = dice.random() < WRONG_RATINGS
        stars = dice.choice((4, 5) if is_right != is_wrong_rating else (1, 2))
        remark = f"it should have been {example.action}" if stars < 3 and dice.random() < 0.5 else None
        trace_id = mlflow.get_last_active_trace_id()
        mlflow.log_feedback(trace_id=trace_id, name="stars", value=stars, rationale=remark, source=person)
    mlflow.dspy.autolog(disable=True)
    return solved


def main(count: int = REQUESTS, keep: bool = False) -> None:
    dice = random.Random(7)
    folder = Path(tempfile.mkdtemp(prefix="flex-dspy-traces-"))
    server, address = serve(folder)
    try:
        with LLMServer(model) as llm:
            lm = dspy.LM("openai/scripted", api_base=llm.url, api_key="none", cache=False)
            dspy.configure(lm=lm)
            start = time.perf_counter()
            old = [request(dice, n) for n in range(count)]
            solved = trace_and_rate(address, old, dice)
            print(
                f"{count} requests traced and rated in {time.perf_counter() - start:.0f} s; right: {solved / count:.1%}"
            )
            learn_and_measure(address, folder, old)
        if keep:
            print(f"the pages are served at {address}; Ctrl-C ends them")
            server.wait()
    finally:
        server.terminate()
        server.wait(60)


def learn_and_measure(address: str, folder: Path, old: list[dspy.Example]) -> None:
    """Learn from the traces, measure on new requests, and write the scores on old ones beside their traces."""
    dice = random.Random(8)
    new = [request(dice, len(old) + n) for n in range(NEW)]
    bot = Bot()
    learner = TraceLearner(bot, library=folder / "support.json", threshold=0.7, publish_every=None)
    requests = traces(EXPERIMENT, assessment="stars", scale=(1, 5), program=bot, tracking_uri=address)
    start = time.perf_counter()
    library = learner.learn(requests)
    print(f"learned in {time.perf_counter() - start:.0f} s from {library.seen} traces: {library}")
    assert library.seen == len(old)
    assert learner.learn(requests).hash == library.hash  # nothing is learned twice
    print(f"new requests before: {evaluate(bot, new, right, progress=False)}")
    print(f"new requests after:  {evaluate(learner.program, new, right, library=library, progress=False)}")
    check_pages(address, library)
    measured = evaluate(learner.program, old[:20], right, library=library, progress=False, allow_overlap=True)
    version = f"support {library.hash[:12]}"
    written = log_assessments(measured, requests.by_example(), version=version, tracking_uri=address)
    print(f"assessments written back: {written} of 20; library {folder / 'support.json'}")


def check_pages(address: str, library: ExperienceLibrary) -> None:
    """Each trace that a lesson names is in the server."""
    names = [case.trace for entry in library for case in entry.precedents]
    found = 0
    for name in names:
        trace_id = name.rpartition("/")[2]
        with urllib.request.urlopen(f"{address}/ajax-api/3.0/mlflow/traces/{trace_id}") as answer:
            found += json.load(answer)["trace"]["trace_info"]["trace_id"] == trace_id
    print(f"traces named by lessons: {len(names)}, in the server: {found}; the first: {trace_page(names[0], address)}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given[0]) if given and given[0].isdigit() else REQUESTS, keep="keep" in given)

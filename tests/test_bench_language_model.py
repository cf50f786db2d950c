"""The benchmark with a language model: every method, on a server that follows a script."""

from __future__ import annotations

import csv
import gzip
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.teleprompt.bootstrap_trace import bootstrap_trace_data

from flex_dspy.core.errors import ConfigurationError, DataError
from flex_dspy.evaluation.record_files import read_records
from flex_dspy.search.rendering import OPEN
from tests.benchmarks.bench_language_model import ROOT, data_folder, main
from tests.benchmarks.language_model import model as models
from tests.benchmarks.language_model.candidates import Candidates
from tests.benchmarks.language_model.catalogue import METHODS, chosen
from tests.benchmarks.language_model.examples import load
from tests.benchmarks.language_model.labels import BANKING10, CLINC20
from tests.benchmarks.language_model.program import Program
from tests.benchmarks.language_model.settings import Settings
from tests.benchmarks.language_model.tasks import bench_task
from tests.llm_server import Fault, LLMServer, read_prompt

LABELS = BANKING10
ONLY_BARE = "1 candidates measured; it kept the bare program"
pytestmark = pytest.mark.slow  # a benchmark that maintainers run by hand; most of these ask hundreds of requests
LESSON = {
    "category": "transfers",
    "method": "Read the last word of the message.",
    "rules": [{"text": "The last word names the intent.", "examples": []}],
    "trajectory": "",
}


# -- a small bank --------------------------------------------------------------------------------------------


def messages(count: int, seed: int) -> list[tuple[str, str]]:
    """Messages with their intents; the intent and its number stand in the message as words."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        label = number % len(LABELS)
        words = " ".join("".join(draw.choices("abcdefgh", k=5)) for _ in range(4))
        rows.append((f"{words} {LABELS[label]} kind{label}", LABELS[label]))
    return rows


def write(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", newline="") as file:
        csv.writer(file).writerows([("message", "intent"), *rows])
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write(folder / "banking77" / "train.csv.gz", messages(60, seed=1))
    write(folder / "banking77" / "valid.csv.gz", messages(60, seed=2))
    return folder


def bank(role: str, inputs: dict[str, str], said: list[dict[str, str]]) -> dict[str, Any]:
    """A model that knows every second intent, and the others where the prompt shows one of the same kind."""
    outputs = read_prompt(said[-1]["content"])[1]
    if role == "critic":
        return {"lesson": LESSON}
    if role == "updater":
        return {"decision": {"action": "insert"}}
    if role == "verifier":
        return {"accepted": False, "feedback": "Look at the last word."}
    if "intent" not in outputs:
        return dict.fromkeys(outputs, "be careful") | {"module_advice": {"answer": "Look at the last word."}}
    kind = re.findall(r"kind(\d)", inputs["message"])[0]
    shown = "".join(message["content"] for message in said).replace(inputs["message"], "")
    is_told = LABELS[int(kind)] == inputs.get("likely_intent")
    knows = int(kind) % 2 == 0 or f"kind{kind}" in shown or is_told
    return {"intent": LABELS[int(kind)] if knows else LABELS[0]}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LLMServer]:
    monkeypatch.setenv("API_KEY", "none")
    monkeypatch.setattr(models, "RETRIES", 0)
    with LLMServer(bank) as running:
        yield running


def command(server: LLMServer, data: Path, out: Path, *further: str) -> int:
    """The benchmark's exit status."""
    numbers = {"--train-examples": 20, "--val-examples": 10, "--test-examples": 10, "--learning-tokens": 30_000}
    given = [word for name, number in numbers.items() if name not in further for word in (name, str(number))]
    named = ["--task", "banking10", "--lm", "openai/test", "--api-base", server.url, "--data", str(data)]
    tracking = [] if "--tracking-uri" in further else ["--no-tracking"]
    return main([*named, "--out", str(out), *given, *tracking, *further])


def report(out: Path) -> dict[str, dict[str, Any]]:
    """What was measured, by method."""
    return {row["method"]: row for row in json.loads((out / "report.json").read_text())["methods"]}


# -- the methods ---------------------------------------------------------------------------------------------


def test_methods_that_need_no_tokens_show_what_is_like_the_question(server, data, tmp_path):
    assert command(server, data, tmp_path / "out", "--methods", "flex-cases,bare,knn") == 0
    found = report(tmp_path / "out")
    assert list(found) == ["bare", "knn", "flex-cases"]
    assert found["bare"]["accuracy"] == 0.5
    assert found["knn"]["accuracy"] == found["flex-cases"]["accuracy"] == 1.0
    assert {row["learning_tokens"] for row in found.values()} == {0}
    assert found["knn"]["beside_bare"]["p_value"] == 0.0625  # five won, none lost
    assert found["knn"]["beside_rival"]["first"] == "flex-cases"
    assert found["knn"]["prompt_tokens"] > found["bare"]["prompt_tokens"]
    assert len(server.requests) == 30


def test_trust_is_learned_from_answers_to_training_examples(server, data, tmp_path):
    out = tmp_path / "out"
    assert command(server, data, out, "--methods", "flex-cases,flex-trust") == 0
    found = report(out)
    assert found["flex-trust"]["accuracy"] == found["flex-cases"]["accuracy"] == 1.0
    assert found["flex-trust"]["learning_tokens"] > 0 == found["flex-cases"]["learning_tokens"]
    assert "20 answers; trust" in found["flex-trust"]["note"]
    assert len(server.requests) == 10 + 20 + 10


@pytest.mark.weekly  # hundreds of requests of DSPy's optimizers
@pytest.mark.parametrize("method", ["bootstrap", "mipro", "simba", "gepa"])
def test_an_optimizer_is_stopped_when_its_tokens_are_spent(server, data, tmp_path, method):
    out = tmp_path / "out"
    assert command(server, data, out, "--methods", method, "--learning-tokens", "12000") == 0
    row = report(out)[method]
    largest = max(sum(request.usage) for request in server.requests)
    assert 12_000 <= row["learning_tokens"] < 12_000 + largest
    assert row["learning_tokens"] == sum(sum(r.usage) for r in server.requests[: int(row["learning_calls"])])
    assert row["learning_calls"] == len(server.requests) - 10
    assert row["note"].startswith("stopped when its tokens were spent")
    assert row["learning_seconds"] > 0


def test_the_best_program_so_far_is_taken(server, data, tmp_path):
    out = tmp_path / "out"
    assert command(server, data, out, "--methods", "bare,bootstrap", "--learning-tokens", "16000") == 0
    found = json.loads((out / "bootstrap" / "program.json").read_text())
    measured = found["candidates"]
    assert len(measured) >= 2
    assert (measured[0]["right"], measured[0]["answers"]) == (5, 10)  # the bare program
    assert found["state"]["answer"]["demos"]
    assert report(out)["bootstrap"]["accuracy"] > report(out)["bare"]["accuracy"]


def test_several_requests_at_once_keep_the_budget(server, data, tmp_path):
    words = ("--methods", "bare,bootstrap", "--learning-tokens", "12000", "--concurrency", "4")
    assert command(server, data, tmp_path / "out", *words) == 0
    row = report(tmp_path / "out")["bootstrap"]
    largest = max(sum(request.usage) for request in server.requests)
    assert 12_000 <= row["learning_tokens"] < 12_000 + 4 * largest
    assert row["accuracy"] > 0.5
    assert server.most_in_flight <= 4


def test_a_candidate_that_was_lucky_on_a_few_is_not_the_best():
    examples = [dspy.Example(message=f"m{n}", intent="a").with_inputs("message") for n in range(40)]
    candidates = Candidates(examples[:30])
    judge = candidates.judging(lambda gold, pred: dspy.Prediction(score=float(gold.intent == pred.intent)))
    lucky, steady, elsewhere = (program(name) for name in ("lucky", "steady", "elsewhere"))
    with dspy.context(callbacks=[candidates]):
        for each, answered, right in (
            (lucky, examples[:2], 2),
            (steady, examples[:30], 24),
            (elsewhere, examples[30:], 10),
        ):
            for number, example in enumerate(answered):
                each.said = "a" if number < right else "b"
                judge(example, each(message=example.message))
    assert candidates.summary() == [{"answers": 2, "right": 2.0}, {"answers": 30, "right": 24.0}]
    assert candidates.best()["answer"]["signature"]["instructions"] == "steady"


def test_an_answer_that_cannot_be_read_counts_against_its_program():
    examples = [dspy.Example(message="m", intent="a").with_inputs("message")]
    candidates = Candidates(examples)
    silent = program("silent")
    with dspy.context(callbacks=[candidates]), pytest.raises(ValueError, match="no answer"):
        silent(message="m")
    assert candidates.summary() == [{"answers": 1, "right": 0.0}]


def test_candidates_whose_traces_an_optimizer_wants_count_too():
    examples = [dspy.Example(message=f"m{n}", intent="a").with_inputs("message") for n in range(4)]
    candidates, traced = Candidates(examples), program("traced")
    traced.said = "a"
    judge = candidates.judging(lambda gold, pred: dspy.Prediction(score=float(gold.intent == pred.intent)))
    with dspy.context(callbacks=[candidates]):
        bootstrap_trace_data(traced, examples, judge, num_threads=1)
    assert candidates.summary() == [{"answers": 4, "right": 4.0}]


class Saying(dspy.Predict):
    """A predictor that needs no model."""

    def forward(self, **inputs: Any) -> dspy.Prediction:
        raise ValueError("no answer")


class Said(Program):
    """A program that says what it is told to."""

    said = ""

    def forward(self, **inputs: Any) -> dspy.Prediction:
        return dspy.Prediction(intent=self.said) if self.said else super().forward(**inputs)


def program(instructions: str) -> Said:
    return Said(Saying(dspy.Signature("message -> intent", instructions)))


@pytest.mark.weekly  # hundreds of requests of DSPy's optimizers
def test_word_problems_are_learned_too(server, tmp_path):
    folder = tmp_path / "data"
    for name, first in (("train", 0), ("valid", 100)):
        file = folder / "gsm8k" / f"{name}.jsonl.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(file, "wt") as rows:
            for number in range(first, first + 40):
                row = {"question": f"Add one to {number}.", "answer": f"It is one more.\n#### {number + 1}"}
                rows.write(json.dumps(row) + "\n")
    server.script = add_one
    words = ("--task", "gsm8k", "--methods", "bare,knn,simba,flex-study", "--learning-tokens", "9000")
    assert command(server, folder, tmp_path / "out", *words) == 0
    found = report(tmp_path / "out")
    assert {row["accuracy"] for row in found.values()} == {1.0}
    assert found["simba"]["note"] == f"stopped when its tokens were spent; {ONLY_BARE}"
    assert found["flex-study"]["learning_tokens"] >= 9_000


def add_one(role: str, inputs: dict[str, str], said: list[dict[str, str]]) -> dict[str, Any]:
    """A model that can add."""
    if role in ("critic", "updater"):
        return bank(role, inputs, said)
    return {"reasoning": "One more.", "answer": int(re.findall(r"\d+", inputs["problem"])[0]) + 1}


def test_an_optimizer_that_fails_leaves_the_best_program_so_far(server, data, tmp_path, monkeypatch):
    def fail(*arguments: Any, **named: Any) -> None:
        raise ValueError("no demonstration could be made")

    monkeypatch.setattr("dspy.teleprompt.random_search.LabeledFewShot.compile", fail)
    assert command(server, data, tmp_path / "out", "--methods", "bootstrap") == 0
    row = report(tmp_path / "out")["bootstrap"]
    assert row["note"] == f"ended by ValueError: no demonstration could be made; {ONLY_BARE}"
    assert row["accuracy"] == 0.5
    assert "Traceback" in (tmp_path / "out" / "bootstrap" / "log.txt").read_text()


def test_flex_stops_when_its_tokens_are_spent_and_keeps_what_it_learned(server, data, tmp_path):
    out = tmp_path / "out"
    assert command(server, data, out, "--methods", "flex,flex-lessons", "--learning-tokens", "12000") == 0
    row, lessons = report(out)["flex"], report(out)["flex-lessons"]
    largest = max(sum(request.usage) for request in server.requests)
    assert 12_000 <= row["learning_tokens"] < 12_000 + largest
    assert row["learning_calls"] == lessons["learning_calls"] == len(server.requests) - 20
    assert re.match(r"stopped when its tokens were spent, after \d+ of 20 examples; \d+ entries", row["note"])
    assert any(OPEN in request.messages[-1]["content"] for request in server.requests[-20:])


def test_study_ends_with_the_examples(server, data, tmp_path):
    assert command(server, data, tmp_path / "out", "--methods", "flex-study", "--train-examples", "10") == 0
    row = report(tmp_path / "out")["flex-study"]
    assert row["note"].startswith("learned from 10 of 10 examples")
    assert 0 < row["learning_tokens"] < 30_000
    assert server.of("verifier") == []


def test_two_halves_share_the_tokens(server, data, tmp_path):
    assert command(server, data, tmp_path / "out", "--methods", "flex-merged", "--learning-tokens", "12000") == 0
    largest = max(sum(request.usage) for request in server.requests)
    assert 12_000 <= report(tmp_path / "out")["flex-merged"]["learning_tokens"] < 12_000 + 2 * largest
    folder = tmp_path / "out" / "flex-merged"
    assert {path.name for path in folder.glob("*.spending.jsonl")} == {"first.spending.jsonl", "second.spending.jsonl"}


def test_a_library_is_inherited_from_another_model(server, data, tmp_path):
    with LLMServer(bank) as other:
        named = ["--other-lm", "openai/other", "--other-api-base", other.url]
        assert (
            command(server, data, tmp_path / "out", "--methods", "flex-inherited", "--learning-tokens", "5000", *named)
            == 0
        )
        assert len(server.requests) == 10
        assert len(other.of("critic")) > 0
        assert report(tmp_path / "out")["flex-inherited"]["learning_calls"] == len(other.requests)


# -- restarts ------------------------------------------------------------------------------------------------


@pytest.mark.weekly  # the benchmark two or three times, hundreds of requests
def test_what_is_done_is_not_done_again(server, data, tmp_path):
    out = tmp_path / "out"
    methods = ("--methods", "bare,bootstrap,flex", "--learning-tokens", "8000")
    assert command(server, data, out, *methods) == 0
    before, asked = (out / "report.json").read_text(), len(server.requests)
    assert command(server, data, out, *methods) == 0
    assert (out / "report.json").read_text() == before
    assert len(server.requests) == asked


@pytest.mark.weekly  # hundreds of requests of DSPy's optimizers
@pytest.mark.parametrize("method", ["bootstrap", "simba", "flex"])
def test_a_run_that_was_cut_short_goes_on(server, data, tmp_path, method):
    """The server goes away in the middle, first while the method learns, then while it answers."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    methods = ("--methods", method, "--learning-tokens", "8000")
    assert command(server, data, whole, *methods) == 0
    asked = len(server.requests)
    learning = asked - 10
    for fails_after in (learning // 2, learning - learning // 2 + 4):
        server.requests.clear()
        server.script = lambda role, inputs, said, most=fails_after: (
            bank(role, inputs, said) if len(server.requests) <= most else Fault(401, "no such key")
        )
        assert command(server, data, out, *methods) == 3
    server.script = bank
    server.requests.clear()
    assert command(server, data, out, *methods) == 0
    assert len(server.requests) == 6  # answers that were still missing
    first, second = report(whole)[method], report(out)[method]
    same = ("accuracy", "learning_tokens", "learning_calls", "note", "prompt_tokens", "completion_tokens")
    assert {name: first[name] for name in same} == {name: second[name] for name in same}


def test_an_answer_that_was_cut_short_is_asked_for_again(server, data, tmp_path):
    out = tmp_path / "out"
    assert command(server, data, out, "--methods", "bare") == 0
    records = out / "bare" / "records.jsonl"
    content = records.read_bytes()
    records.write_bytes(content[:-20])
    server.requests.clear()
    assert command(server, data, out, "--methods", "bare") == 0
    assert len(server.requests) == 1
    assert len(read_records(records)) == 10


def test_other_settings_need_another_folder(server, data, tmp_path, caplog):
    out = tmp_path / "out"
    assert command(server, data, out, "--methods", "bare,flex-cases") == 0
    assert command(server, data, out, "--methods", "bare,flex-cases", "--shown", "3") == 1
    assert "shown: 8 -> 3" in caplog.text
    assert "flex-cases" in caplog.text
    assert "bare failed" not in caplog.text  # it shows nothing
    assert "name another --out" in caplog.text


@pytest.mark.weekly  # the benchmark two or three times, hundreds of requests
def test_held_out_examples_are_answered_with_what_was_learned(server, data, tmp_path):
    out = tmp_path / "out"
    methods = ("--methods", "bare,bootstrap", "--learning-tokens", "8000")
    assert command(server, data, out, *methods) == 0
    held_out = write(tmp_path / "held_out.csv.gz", messages(40, seed=3))
    server.requests.clear()
    assert command(server, data, out, *methods, "--test", str(held_out), "--test-examples", "20") == 0
    assert len(server.requests) == 40
    assert {row["n"] for row in report(out).values()} == {20}
    assert json.loads((out / "report.json").read_text())["about"]["test"] == "held_out.csv.gz"


# -- answers -------------------------------------------------------------------------------------------------


def test_answers_that_cannot_be_read_are_counted(server, data, tmp_path):
    def mumble(role: str, inputs: dict[str, str], said: list[dict[str, str]]) -> Any:
        return "hm" if "kind3" in inputs["message"] else bank(role, inputs, said)

    server.script = mumble
    assert command(server, data, tmp_path / "out", "--methods", "bare") == 0
    row = report(tmp_path / "out")["bare"]
    assert row["unreadable"] == 1
    assert row["accuracy"] == 0.5


def test_a_server_that_is_away_stops_the_run(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("API_KEY", "none")
    monkeypatch.setattr(models, "RETRIES", 0)
    with LLMServer(bank) as gone:
        pass
    assert command(gone, data, tmp_path / "out", "--methods", "bare") == 3
    assert "the server does not answer" in capsys.readouterr().err
    assert not (tmp_path / "out" / "bare" / "records.jsonl").exists()


# -- data and settings ---------------------------------------------------------------------------------------


def settings(data: Path, **changed: Any) -> Settings:
    numbers = {"train_examples": 20, "val_examples": 10, "test_examples": 10}
    return Settings(**{"task": "banking10", "lm": "openai/test", "data": data, "out": data, **numbers, **changed})


def test_examples_are_balanced_apart_and_fixed_by_the_seed(data):
    task = bench_task("banking10", data)
    drawn = load(task, settings(data))
    parts = [drawn.train, drawn.val, drawn.test]
    assert [len(part) for part in parts] == [20, 10, 10]
    assert all(len({example.intent for example in part}) == 10 for part in parts)
    assert len({example.message for part in parts for example in part}) == 40
    again, other = load(task, settings(data)), load(task, settings(data, seed=1))
    assert (again.learned_from, again.tested_on) == (drawn.learned_from, drawn.tested_on)
    assert (other.learned_from, other.tested_on) != (drawn.learned_from, drawn.tested_on)


def test_a_test_file_does_not_change_what_is_learned_from(data, tmp_path):
    task = bench_task("banking10", data)
    file = write(tmp_path / "held_out.csv.gz", [*messages(20, seed=3), *messages(60, seed=1)])
    drawn = load(task, settings(data))
    tested = load(task, settings(data, test=file, test_examples=20))
    assert tested.learned_from == drawn.learned_from
    assert tested.tested_on != drawn.tested_on
    learned = {example.message for example in drawn.train}
    assert not learned & {example.message for example in tested.test}


def test_too_few_examples_are_an_error_that_says_so(data):
    with pytest.raises(DataError, match="5000 examples of banking10 are asked for, and there are 60"):
        load(bench_task("banking10", data), settings(data, train_examples=5_000))


@pytest.mark.parametrize("task", ["banking10", "banking77", "clinc20", "gsm8k"])
def test_the_tasks_on_real_data(task):
    try:
        folder = data_folder(None)
    except ConfigurationError:
        pytest.skip("the data is not here")
    found = bench_task(task, folder)
    drawn = load(found, settings(folder, task=task, train_examples=80, val_examples=80, test_examples=80))
    wanted = {"banking10": set(BANKING10), "clinc20": set(CLINC20)}.get(task)
    if wanted:
        assert {example.intent for example in drawn.test} == wanted
    (predictor,) = found.program().predictors()
    assert set(predictor.signature.input_fields) == set(drawn.test[0].inputs().keys())
    assert set(drawn.test[0].labels().keys()) - {"id"} <= set(predictor.signature.output_fields)
    reference = dspy.Prediction(**drawn.test[0].labels())
    assert found.metric(drawn.test[0], reference).score == 1.0


# -- the command ---------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy():
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.benchmarks.bench_language_model import parser; "
        "print(parser().format_help()); "
        "print({'dspy', 'mlflow', 'litellm', 'numpy', 'matplotlib'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip().endswith("set()")
    assert all(method.name in shown for method in METHODS)


def test_it_starts_by_its_path(tmp_path):
    script = ROOT / "tests" / "benchmarks" / "bench_language_model.py"
    words = ["--task", "none", "--lm", "openai/test", "--out", str(tmp_path), "--data", str(tmp_path)]
    ended = subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True, cwd=ROOT, check=False)
    assert ended.returncode == 2
    assert "there is no task 'none': tasks are banking10, banking77, clinc20, gsm8k" in ended.stderr


def test_wrong_options_are_said(data, tmp_path, capsys):
    with pytest.raises(ConfigurationError, match="there is no method tune: methods are bare, knn"):
        chosen(["tune"], "")
    with pytest.raises(ConfigurationError, match="flex-inherited needs a second model"):
        chosen(["flex-inherited"], "")
    assert "flex-inherited" not in {method.name for method in chosen([], "")}
    words = ["--task", "banking10", "--lm", "openai/test", "--out", str(tmp_path), "--data", str(data)]
    assert main([*words, "--learning-tokens", "0"]) == 2
    assert "--learning-tokens must be at least 1" in capsys.readouterr().err
    assert main([*words[:-1], str(tmp_path / "nowhere")]) == 2
    assert "there is no data folder" in capsys.readouterr().err


def test_each_method_is_a_run_in_mlflow(server, data, tmp_path, mlflow_uri):
    from mlflow import MlflowClient

    given = ("--methods", "bare,flex-cases", "--tracking-uri", mlflow_uri, "--experiment", "small bank")
    assert command(server, data, tmp_path / "out", *given) == 0
    assert command(server, data, tmp_path / "out", *given) == 0  # changes the runs of the first
    client = MlflowClient(mlflow_uri)
    experiment = client.get_experiment_by_name("small bank")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"bare", "flex-cases"}
    assert len(client.search_runs([experiment.experiment_id])) == 2
    found = runs["flex-cases"].data
    assert found.metrics["accuracy"] == 1.0
    assert found.metrics["gain_on_bare"] == 0.5
    assert found.params["task"] == "banking10"
    files = {each.path for each in client.list_artifacts(runs["flex-cases"].info.run_id)}
    assert files == {"records.jsonl", "report.json", "report.png"}

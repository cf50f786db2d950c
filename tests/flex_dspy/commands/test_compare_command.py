"""``flex-dspy compare``, on saved evaluations and against a scripted model that needs a library to be right."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flex_dspy import cli
from flex_dspy.commands.actions import compare
from flex_dspy.commands.actions.candidates import names_of
from flex_dspy.core.errors import ConfigurationError, DataError
from flex_dspy.core.examples import example_id
from flex_dspy.evaluation.comparison import Comparison
from flex_dspy.evaluation.differences import Side
from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.evaluation.record_files import read_records, write_records
from flex_dspy.evaluation.records import Record
from flex_dspy.evaluation.saved_sides import write_side
from flex_dspy.learning.version import Version
from flex_dspy.libraries.experience import Experience, Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tracking.mlflow_store import connect
from flex_dspy.tracking.tracker import MLflowTracker
from tests.llm_server import LLMServer
from tests.scripted import problems, write

EXAMPLES = problems(8)
LESSON = "In each case, what is asked is a product and one more."
THREE = {"a": [0, 0], "b": [0, 1], "c": [1, 1]}
GOOD = Experience(zone="golden", method=LESSON, category="product")
BAD = Experience(zone="warning", method="In each case, what is asked is a product.", category="sum")


def command(*words: object, tracking: object = None) -> None:
    """``flex-dspy compare``, whose errors are raised."""
    where = ["--tracking-uri", str(tracking)] if tracking else ["--no-tracking"]
    cli.call(["compare", *map(str, words), *where])


def script(role: str, inputs: dict[str, str], messages: list[dict[str, str]]) -> dict[str, Any]:
    _, first, second = map(int, re.findall(r"\d+", inputs["problem"])[:3])
    answer = first * second + (LESSON in inputs["experiences"])
    return {"reasoning": "step by step", "answer": answer, "experiences_used": []}


@pytest.fixture
def model(tmp_path: Path, llm_server: LLMServer, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Options that name the model, the data and the folder."""
    monkeypatch.setenv("API_KEY", "test-key")
    monkeypatch.chdir(tmp_path)
    llm_server.script = script
    data = write(EXAMPLES, tmp_path / "data.jsonl")
    options = [
        "--data",
        data,
        "--lm",
        "openai/test",
        "--api-base",
        llm_server.url,
        "--quiet",
        "--out",
        tmp_path / "out",
    ]
    return ["--task", "math", *options]


def library(path: Path, *entries: Experience) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ExperienceLibrary(entries, task="math").save(path)
    return path


def saved(folder: Path, scores: Sequence[float]) -> Path:
    """An evaluation of the first examples, as ``eval`` writes it."""
    records = [
        Record(
            example_id(example), example.problem, str(example.answer), {"answer": n}, score,
            inputs={"problem": example.problem}, labels={"answer": example.answer},
        )
        for n, (example, score) in enumerate(zip(EXAMPLES, scores, strict=False))
    ]  # fmt: skip
    write_records(folder, Evaluation(tuple(records)))
    return folder


# -- libraries -----------------------------------------------------------------------------------------------


def test_libraries_are_measured_and_everything_is_written(
    tmp_path: Path, model: list[object], llm_server: LLMServer, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = library(tmp_path / "bad/library.json", BAD), library(tmp_path / "good/library.json", GOOD)
    command("none", bad, good, *model)
    said, out = capsys.readouterr().out, tmp_path / "out"
    assert len(llm_server.requests) == 3 * 8
    assert "good beside no library: +100.0 points" in said
    assert "8 won, 0 lost, 0 the same" in said
    assert "good beside bad: +100.0 points" in said
    comparison = Comparison.from_json((out / "comparison.json").read_bytes())
    assert [side.evaluation.accuracy for side in comparison.sides] == [0, 0, 1]
    assert comparison.differences()[1].tokens != 0
    assert comparison.about["task"] == "aime"
    assert "good is better than no library on 8 examples" in (out / "comparison.html").read_text()
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert read_records(out / "good") == comparison.after.records
    assert {*comparison.sides[2].entries.values()} == {"golden: product"}


def test_examples_that_any_library_was_learned_from_are_left_out(
    tmp_path: Path, model: list[object], llm_server: LLMServer, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = Precedent(example_id(EXAMPLES[2]), EXAMPLES[2].problem, str(EXAMPLES[2].answer))
    old = library(tmp_path / "old.json", GOOD)
    new = library(tmp_path / "new.json", Experience(zone="golden", method=LESSON, precedents=(seen,)))
    command(old, new, *model)
    assert "1 of 8 examples" in capsys.readouterr().out
    assert len(llm_server.requests) == 2 * 7


def test_a_library_is_measured_on_the_examples_of_a_saved_evaluation(
    tmp_path: Path, model: list[object], llm_server: LLMServer
) -> None:
    before = saved(tmp_path / "before", [0, 1, 0])
    options = [word for word in model if word not in ("--data", tmp_path / "data.jsonl")]
    command(before, library(tmp_path / "good.json", GOOD), *options)
    assert len(llm_server.requests) == 3
    comparison = Comparison.from_json((tmp_path / "out" / "comparison.json").read_bytes())
    (found,) = comparison.differences()
    assert (found.first, found.second, found.wins, found.ties) == ("before", "good", 2, 1)


def test_no_model_is_asked_what_a_saved_evaluation_does_not_have(
    tmp_path: Path, model: list[object], llm_server: LLMServer
) -> None:
    good = library(tmp_path / "good.json", GOOD)
    command(good, saved(tmp_path / "before", [0, 1, 0]), *model)
    assert len(llm_server.requests) == 3
    write(problems(4, start=50), tmp_path / "data.jsonl")
    with pytest.raises(DataError, match="in common"):
        command(good, tmp_path / "before", *model)
    assert len(llm_server.requests) == 3


# -- saved evaluations ---------------------------------------------------------------------------------------


def test_saved_evaluations_are_compared_without_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = saved(tmp_path / "old" / "with-library", [0, 0, 0, 0, 1, 1])
    saved(tmp_path / "old" / "no-library", [0] * 6)
    new = saved(tmp_path / "new", [1, 1, 1, 1, 0])
    command(tmp_path / "old", new / "records.jsonl", "--out", tmp_path / "out", "--examples", 2)
    said = capsys.readouterr().out
    assert "new beside old: +60.0 points" in said
    assert "4 won, 1 lost, 0 the same" in said
    assert "1 example that not all have: left out" in said
    assert (tmp_path / "out/comparison.html").read_text().count("<details") == 3
    assert read_records(old) == read_records(tmp_path / "old" / "with-library")


def test_a_saved_evaluation_knows_its_library_and_names_its_entries(
    tmp_path: Path, mlflow_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    library = ExperienceLibrary([GOOD], task="aime").as_version(None)
    tracker = MLflowTracker("flex-aime", tracking_uri=mlflow_uri, registered_name="flex-aime-saved")
    tracker.start({"task": "aime"})
    tracker.log_version(Version(library, 1, {}))
    tracker.finish()
    shown = [replace(record, shown=(GOOD.id,)) for record in read_records(saved(tmp_path / "plain", [1, 1]))]
    write_side(tmp_path / "new", Side.of("with library", Evaluation(tuple(shown)), library))
    old = saved(tmp_path / "old", [0, 1])
    command(old, tmp_path / "new", "--out", tmp_path / "out", tracking=mlflow_uri)
    assert "golden: product" in (tmp_path / "out/comparison.html").read_text()
    store, run_id = connect(mlflow_uri), capsys.readouterr().out.split()[-1]
    (model,) = store.get_run(run_id).inputs.model_inputs
    (version,) = store.search_model_versions("name = 'flex-aime-saved'")
    assert (version.tags["model_id"], version.tags["compared in"]) == (model.model_id, run_id)


def test_a_damaged_note_on_the_library_is_named(tmp_path: Path) -> None:
    write_side(tmp_path, Side.of("it", Evaluation(read_records(saved(tmp_path, [0]))), ExperienceLibrary([GOOD])))
    (tmp_path / "about.json").write_text("[")
    with pytest.raises(DataError, match=r"about\.json: Invalid JSON"):
        command(tmp_path, tmp_path, "--name", "a", "--name", "b")


def test_examples_can_be_kept_out_of_mlflow(
    tmp_path: Path, mlflow_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = saved(tmp_path / "a", [0, 0]), saved(tmp_path / "b", [1, 1])
    command(old, new, "--out", tmp_path / "out", "--experiment", "private", "--no-log-examples", tracking=mlflow_uri)
    kept = connect(mlflow_uri).list_artifacts(capsys.readouterr().out.split()[-1])
    assert {item.path for item in kept} == {"comparison.png"}


def test_json_stands_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = saved(tmp_path / "a", [0, 1]), saved(tmp_path / "b", [1, 1])
    command(old, new, "--json", "--out", tmp_path / "out", "--name", "1,000", "--name", "10,000")
    captured = capsys.readouterr()
    assert json.loads(captured.out)["differences"][0]["second"] == "10,000"
    assert "10,000 beside 1,000" in captured.err


def test_the_numbers_go_to_mlflow_by_name(tmp_path: Path, mlflow_uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = saved(tmp_path / "a", [0, 0, 0, 1]), saved(tmp_path / "b", [1, 1, 1, 1])
    command(old, new, "--out", tmp_path / "out", "--experiment", "compared", tracking=mlflow_uri)
    run = connect(mlflow_uri).get_run(capsys.readouterr().out.split()[-1])
    assert run.data.metrics == {
        "accuracy_a": 0.25, "accuracy_b": 1, "gain": 0.75, "p_value": 0.25, "wins": 3, "losses": 0,
    }  # fmt: skip
    assert run.info.status == "FINISHED"
    kept = {item.path for item in connect(mlflow_uri).list_artifacts(run.info.run_id)}
    assert kept == {"comparison.html", "comparison.json", "comparison.png"}


def test_a_store_that_fails_is_said_and_costs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old, new = saved(tmp_path / "a", [0, 1]), saved(tmp_path / "b", [1, 1])
    (tmp_path / "store.db").write_text("This is no database, but long enough to look at as if it were one.")
    command(old, new, "--out", tmp_path / "out", tracking=f"sqlite:///{tmp_path}/store.db")
    assert "MLflow did not take the comparison" in caplog.text
    assert (tmp_path / "out/comparison.json").exists()


def test_each_of_several_has_its_numbers(tmp_path: Path) -> None:
    three = [Side(name, Evaluation(read_records(saved(tmp_path / name, scores)))) for name, scores in THREE.items()]
    numbers = compare.metrics_of(Comparison(tuple(three)))
    assert numbers["accuracy_c"] == 1
    assert (numbers["gain_b"], numbers["gain_c"]) == (0.5, 1)
    assert numbers["p_value_c"] == 1.0


# -- what cannot be done -------------------------------------------------------------------------------------


def test_what_cannot_be_compared_is_said_before_a_model_is_asked(tmp_path: Path) -> None:
    a, b = saved(tmp_path / "x" / "a", [0, 1]), saved(tmp_path / "x" / "b", [1])
    untold = tmp_path / "untold.json"
    ExperienceLibrary([GOOD]).save(untold)
    for words, error, told in [
        ([a], ConfigurationError, "two or more"),
        ([a, tmp_path / "x"], ConfigurationError, "several evaluations"),
        ([a, a], ConfigurationError, "named twice"),
        ([a, b, "--name", "only"], ConfigurationError, "--name"),
        ([a, b, "--data", "val"], ConfigurationError, "--data"),
        ([a, untold], ConfigurationError, "--task"),
        ([a, tmp_path / "missing.jsonl"], DataError, "cannot be read"),
    ]:
        with pytest.raises(error, match=told):
            command(*words)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["runs/a/library.json", "runs/b/library.json", "none"], ("a", "b", "no library")),
        (["a/x.json", "b/x.json"], ("a/x", "b/x")),
        (["e/one/with-library", "e/two/with-library"], ("one/with-library", "two/with-library")),
        (["chemist@best", "chemist/3"], ("chemist@best", "3")),
        (["library.json", "old.json"], ("library", "old")),
    ],
)
def test_names_are_as_short_as_tells_them_apart(given: list[str], names: tuple[str, ...]) -> None:
    assert names_of(given) == names

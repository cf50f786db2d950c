"""Evaluations in MLflow, and how sets of examples are named there. What the pages show of it: ``test_ui.py``."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.evaluation.records import Record
from flex_dspy.learning.curve import CurvePoint
from flex_dspy.learning.version import Version
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tracking import model_page
from flex_dspy.tracking.datasets import DatasetInfo
from flex_dspy.tracking.evaluations import log_evaluation
from flex_dspy.tracking.mlflow_store import is_in_reach

pytestmark = pytest.mark.usefixtures("shared_chemists", "no_figures")

SECRET = "sk-very-private-5-aaaaaaaaaaaa"


def record(**changed: object) -> Record:
    return Record(**{"example_id": "e", "problem": "p", "reference": "1", "outputs": {}, "score": 1.0, **changed})  # type: ignore[arg-type]


def test_a_store_that_cannot_be_used_costs_no_evaluation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "damaged.db").write_text("no database " * 1000)
    for uri in (f"sqlite:///{tmp_path}/damaged.db", "nonsense://me:hunter2@host"):
        evaluation, data = Evaluation((record(),)), DatasetInfo("d", "1")
        assert log_evaluation({"no library": evaluation}, data, experiment="e", tracking_uri=uri) is None
    assert caplog.text.count("MLflow did not take the evaluation") == 2
    assert "hunter2" not in caplog.text


def test_what_is_measured_without_a_version_has_no_link(mlflow_uri: str) -> None:
    from mlflow import MlflowClient

    library = ExperienceLibrary(task="sums").as_version("no such parent")
    params = {"api_key": SECRET, "library": "exps/1", "lm actor": "m"}
    run_id = log_evaluation(
        {"with library": Evaluation((record(outputs={"answer": SECRET}),))}, DatasetInfo("d", "1", "d", 1),
        experiment="evaluations", library=library, reference="exps/1", params=params, tracking_uri=mlflow_uri,
    )  # fmt: skip
    assert run_id is not None
    client = MlflowClient(mlflow_uri)
    run = client.get_run(run_id)
    assert run.inputs.model_inputs == []
    assert run.info.status == "FINISHED"
    assert run.data.params["lm actor"] == "m"
    assert SECRET not in str(run.to_dictionary())
    table = client.download_artifacts(run_id, "examples-with_library.json")
    assert SECRET not in Path(table).read_text()
    assert "(withheld)" in Path(table).read_text()


@pytest.mark.parametrize(
    ("source", "name", "kind", "where"),
    [
        ("val", "sums val", "code", {"tags": {"name": "val"}}),
        ("data.csv", "data.csv", "local", {"uri": "data.csv"}),
        ("openai/gsm8k:main@test", "openai/gsm8k:main@test", "hf",
         {"path": "openai/gsm8k", "config_name": "main", "split": "test"}),
        ("https://me:hunter2@host/x.csv", "https://host/x.csv", "code", {"tags": {"name": "https://host/x.csv"}}),
    ],
)  # fmt: skip
def test_a_set_is_named_by_its_source(
    source: str, name: str, kind: str, where: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.csv").touch()
    info = DatasetInfo.of(source, "x" * 64, 7, task="sums")
    entity = info.entity()
    assert (info.name, entity.name, entity.source_type, json.loads(entity.source)) == (name, name, kind, where)
    assert (entity.digest, json.loads(entity.profile)) == ("x" * 36, {"num_rows": 7})


def test_tables_are_bounded_and_keep_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_page, "MOST_ROWS", 2)
    odd = record(
        problem="x" * 10_000, error=f"no: {SECRET}", outputs={"answer": 'a,\n"b"', "why": "é"}, labels={"answer": 1}
    )
    version = Version(ExperienceLibrary(), 0, {}, records=(odd, record(), record()))
    model_page.write_page(tmp_path, version, None, [], "title")
    with (tmp_path / "examples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert (len(rows[0]["problem"]), rows[0]["feedback"], rows[0]["output: answer"]) == (500, "(withheld)", 'a, "b"')
    assert list(rows[0]).index("output: answer") < list(rows[0]).index("problem") < list(rows[0]).index("output: why")


@pytest.mark.parametrize("measured", [1, 50, 51, 200])
def test_a_long_curve_is_thinned(measured: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[CurvePoint] = []
    monkeypatch.setattr(model_page, "learning_curve", lambda points, *args, **kwargs: drawn.extend(points))
    curve = [CurvePoint(step, 0.5, 0.4, 0.6, step, 10) for step in range(1, measured + 1)]
    model_page.write_page(tmp_path, Version(ExperienceLibrary(), 0, {}), None, curve, "title")
    assert (drawn[0], drawn[-1]) == (curve[0], curve[-1])
    assert min(measured, 25) <= len(drawn) <= 51


def test_a_page_that_cannot_be_made_costs_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(model_page, "_write_library", lambda *args: 1 / 0)
    model_page.write_page(tmp_path, Version(ExperienceLibrary(), 0, {}), None, [], "title")
    assert [path.name for path in tmp_path.iterdir()] == ["library.json"]
    assert "has no library.html: ZeroDivisionError" in caplog.text


def test_a_store_is_in_reach_where_it_is_named_or_lies_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not is_in_reach(None)
    assert is_in_reach("sqlite:///other.db")
    (tmp_path / "mlflow.db").touch()
    assert is_in_reach(None)

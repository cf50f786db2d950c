"""The table of all versions, against a real MLflow store."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import flex_dspy
from flex_dspy.cli import main
from flex_dspy.commands.actions import versions as action
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.display.version_tables import MISSING, version_cells
from flex_dspy.evaluation.comparison import Comparison
from flex_dspy.evaluation.differences import Side
from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.evaluation.records import Record
from flex_dspy.learning.curves import AXES, draw_curves
from flex_dspy.learning.version import Version
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tracking.datasets import DatasetInfo
from flex_dspy.tracking.tracker import MLflowTracker
from flex_dspy.tracking.version_rows import VersionRow, VersionTable, sort_versions

TASK = "table of sums"
NAME = "flex-table"
VALIDATION = DatasetInfo("sums val", "d1gest", "val", 40)


def records(share: float, seed: int) -> tuple[Record, ...]:
    draw = random.Random(seed)
    return tuple(
        Record(
            f"e{i}", f"{i} + 1", "2", {}, float(draw.random() < share), inputs={"sum": f"{i} + 1"}, labels={"answer": 2}
        )
        for i in range(40)
    )


def log_run(uri: str, seed: int, shares: dict[int, float], *, is_priced: bool) -> list[Version]:
    tracker = MLflowTracker(NAME, tracking_uri=uri, registered_name=NAME, data={"validation": VALIDATION})
    tracker.start({"task": TASK, "actor": f"some/model-{seed}", "seed": seed})
    library, logged = ExperienceLibrary(task=TASK).as_version(None), []
    for step, share in shares.items():
        lesson = Experience("golden", f"method {seed} {step}", precedents=(Precedent(f"x{step}", "p", "a"),))
        parent = logged[-1].library.hash if logged else None
        library = library.apply(Commit(f"run{seed}", step, (Insert(lesson),))).as_version(parent)
        measured = records(share, 100 * seed + step)
        spent = {"spend_usd": 0.001 * step, "spend_tokens": 100.0 * step} if is_priced else {}
        metrics = Evaluation(measured).metrics() | spent
        logged.append(Version(library, step, metrics, "validation", "d1gest", measured))
        tracker.log_version(logged[-1])
    tracker.finish()
    return logged


@pytest.fixture(scope="session")  # A second set-up would log the same runs to the same store again.
def logged(mlflow_uri: str) -> list[Version]:
    """The versions of two runs, in the order in which they were logged. The runs have charts, the versions none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flex_dspy.tracking.model_page.learning_curve", lambda points, path, **options: path)
        return log_runs(mlflow_uri)


def log_runs(mlflow_uri: str) -> list[Version]:
    first = log_run(mlflow_uri, 1, {5: 0.2, 20: 0.9}, is_priced=False)
    return first + log_run(mlflow_uri, 2, {10: 0.5, 20: 0.7}, is_priced=True)


@pytest.fixture(scope="session")
def rows(mlflow_uri: str, logged: list[Version]) -> VersionTable:
    """The table as it is read from the store, which holds what all other tests logged too."""
    return flex_dspy.versions(TASK, tracking_uri=mlflow_uri)


@pytest.fixture(scope="session")
def compared(mlflow_uri: str, logged: list[Version]) -> VersionTable:
    """The table with the differences to the best version."""
    return flex_dspy.versions(TASK, compare=True, tracking_uri=mlflow_uri)


def test_all_versions_of_all_runs_are_listed_by_accuracy(rows: VersionTable, logged: list[Version]) -> None:
    best_first = sorted(logged, key=lambda version: -version.metrics["accuracy"])
    assert [row.hash for row in rows] == [version.library.hash for version in best_first]
    for row, version in zip(rows, best_first, strict=True):
        assert row.score == pytest.approx(version.metrics["accuracy"], abs=1e-4)
        assert (row.n, row.errors, row.entries, row.examples) == (40, 0, len(version.library), version.step)
        assert row.reference == f"{NAME}/{logged.index(version) + 1}"
        assert row.model == f"some/model-{1 + logged.index(version) // 2}"
        assert row.numbers.get("spend_tokens") == version.metrics.get("spend_tokens")
        assert row.metric == "accuracy"
    assert len({row.run_id for row in rows}) == 2
    assert sorted(alias for row in rows for alias in row.aliases) == ["best", "newest"]


def test_differences_to_the_best_are_those_of_the_paired_test(compared: VersionTable, logged: list[Version]) -> None:
    rows = compared
    assert rows[0].difference is None
    by_hash = {version.library.hash: version for version in logged}
    sides = [Side(row.hash, Evaluation(tuple(by_hash[row.hash].records))) for row in rows]
    for row, wanted in zip(rows[1:], Comparison(tuple(sides)).differences(), strict=True):
        found = row.difference
        assert found is not None
        assert (found.gain, found.low, found.high) == pytest.approx((wanted.gain, wanted.low, wanted.high))
        assert (found.test, found.adjusted) == ("exact McNemar", pytest.approx(wanted.adjusted))
        assert (found.wins, found.losses) == (wanted.wins, wanted.losses)


def test_the_frame_holds_what_the_table_holds(compared: VersionTable) -> None:
    rows = compared
    frame = rows.to_pandas()
    assert list(frame["hash"]) == [row.hash for row in rows]
    assert list(frame["score"]) == [row.score for row in rows]
    assert list(frame["gain"].isna()) == [True, False, False, False]
    assert frame["tokens"].isna().sum() == 2
    html = rows._repr_html_()
    assert all(row.reference in html and row.score_text() in html for row in rows)
    assert repr(rows).count("\n") == 3


def test_the_command_prints_a_table_json_and_a_figure(
    mlflow_uri: str, logged: list[Version], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["versions", TASK, "--tracking-uri", mlflow_uri]
    assert main([*command, "--figure", str(tmp_path / "curves.png")]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0].split()[:3] == ["version", "aliases", "accuracy"]
    assert len(lines) == 5
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "curves.png" in said.err
    assert main([*command, "--compare", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values[0]["examples"] == 20
    assert values[0]["gain"] is None
    assert all(value["p_value"] <= 1 for value in values[1:])


def test_a_narrow_terminal_leaves_out_columns_and_says_which(
    rows: VersionTable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    whole = version_cells(rows)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    head, cells, left_out = action._fit(*whole)
    assert head[:2] == ["version", "aliases"] or "aliases" in left_out
    assert left_out[:2] == ["run", "cost"]
    assert not set(head) & set(left_out)
    assert {len(row) for row in cells} == {len(head)}
    monkeypatch.setenv("COLUMNS", "300")
    assert action._fit(*whole) == (*whole, [])


def test_a_task_without_versions_is_an_error_that_names_the_others(mlflow_uri: str, logged: list[Version]) -> None:
    with pytest.raises(ConfigurationError, match=f"no versions of nothing.*{TASK}"):
        flex_dspy.versions("nothing", tracking_uri=mlflow_uri)


def test_there_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no tracking store"):
        flex_dspy.versions(tracking_uri=f"sqlite:///{tmp_path}/none.db")


def row(**values: Any) -> VersionRow:
    plain: dict[str, Any] = {"task": "t", "examples": 1, "hash": "abc", "parent": "", "model": "", "metric": "accuracy"}
    return VersionRow(**{**plain, "numbers": {}, **values})


def test_missing_values_are_shown_as_missing_and_sorted_last() -> None:
    measured = row(numbers={"accuracy": 0.5}, hash="measured")
    rows = VersionTable(sort_versions([row(), measured]))
    assert [each.hash for each in rows] == ["measured", "abc"]
    head, (first, last) = version_cells(rows)
    assert first[head.index("accuracy")] == "50.0%"
    assert {last[head.index(name)] for name in ("accuracy", "95% interval", "n", "errors", "entries", "cost")} == {
        MISSING
    }
    assert rows.to_pandas()["n"].isna().all()
    assert not rows.curves()


def test_a_graded_score_keeps_its_name_and_is_no_percentage() -> None:
    graded = row(metric="|Spearman|", numbers={"accuracy": 0.6739, "accuracy_low": 0.55, "accuracy_high": 0.8})
    head, (cells,) = version_cells([graded])
    assert cells[head.index("metric")] == "|Spearman|"
    assert (cells[head.index("score")], cells[head.index("95% interval")]) == ("0.674", "0.550 to 0.800")


def test_a_version_with_many_errors_is_no_best_one() -> None:
    failed = row(numbers={"accuracy": 0.9, "n": 10.0, "errors": 2.0})
    assert not failed.is_comparable
    assert replace(failed, numbers={"accuracy": 0.9, "n": 10.0, "errors": 0.0}).is_comparable


@pytest.mark.parametrize("x", list(AXES))
def test_a_figure_has_a_curve_for_each_run_with_a_place_on_the_axis(rows: VersionTable, x: Any) -> None:
    (axes,) = draw_curves(rows.curves(), title="t", x=x).axes
    expected = 1 if x in ("tokens", "dollars") else 2
    labels = axes.get_legend_handles_labels()[1]
    assert len(labels) == expected
    assert all("n = 40" in label and "%" in label for label in labels)
    wanted = {"entries": (1, 2), "examples": (10, 20), "tokens": (1000, 2000), "dollars": (0.01, 0.02)}[x]
    assert pytest.approx(wanted) in [tuple(line.get_xdata()) for line in axes.get_lines()]


def test_no_known_cost_is_no_figure() -> None:
    with pytest.raises(ConfigurationError, match="choose entries or examples"):
        draw_curves({}, title="t", x="tokens")


def test_each_run_has_charts_and_its_curve_as_metrics_with_steps(mlflow_uri: str, rows: VersionTable) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=mlflow_uri)
    priced = next(row.run_id for row in rows if "spend_tokens" in row.numbers)
    for run_id in {row.run_id for row in rows}:
        charts = {Path(file.path).name for file in client.list_artifacts(run_id, "comparison")}
        expected = {"learning_curves_by_entries.png", "learning_curves_by_examples.png"}
        assert charts == expected | ({"learning_curves_by_tokens.png"} if run_id == priced else set())
        own = sorted((row for row in rows if row.run_id == run_id), key=lambda row: row.examples)
        history = client.get_metric_history(run_id, "accuracy")
        assert [(each.step, each.value) for each in history] == [(row.examples, row.score) for row in own]
    by_tokens = client.get_metric_history(priced, "by tokens/accuracy")
    assert [each.step for each in by_tokens] == [1000, 2000]


def test_versions_name_the_prompts_that_they_were_learned_with(mlflow_uri: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=mlflow_uri)
    named = []
    for seed, text in enumerate(("Add {{carefully}}.", "Add quickly.", "Add {{carefully}}.")):
        tracker = MLflowTracker("prompts", tracking_uri=mlflow_uri, registered_name="flex-prompts")
        tracker.start({"task": "prompts", "instructions": {"actor": text, "critic.golden": "Say why."}})
        lesson = Experience("golden", f"method {seed}", precedents=(Precedent("x", "p", "a"),))
        library = ExperienceLibrary(task="prompts").apply(Commit("run", 1, (Insert(lesson),))).as_version(None)
        tracker.log_version(Version(library, 1, {}))
        tracker.finish()
        run = client.get_run(tracker.run_id)
        assert not any(name.startswith("instructions") for name in run.data.params)
        (model,) = (client.get_logged_model(output.model_id) for output in run.outputs.model_outputs)
        assert model.tags["mlflow.linkedPrompts"] == run.data.tags["mlflow.linkedPrompts"]
        named.append({each["name"]: each["version"] for each in json.loads(model.tags["mlflow.linkedPrompts"])})
        loaded = client.get_prompt_version("flex-prompts-actor", named[-1]["flex-prompts-actor"])
        assert loaded is not None
        assert loaded.template == text
    assert named == [{"flex-prompts-actor": actor, "flex-prompts-critic.golden": "1"} for actor in ("1", "2", "1")]
    assert {model.name for model in client.search_registered_models()}.isdisjoint(named[0])


def test_a_validation_set_is_one_evaluation_data_set_of_mlflow(mlflow_uri: str, logged: list[Version]) -> None:
    from mlflow import MlflowClient
    from mlflow.tracking._tracking_service.utils import _get_store

    client = MlflowClient(tracking_uri=mlflow_uri)
    experiment = client.get_experiment_by_name(NAME)
    assert experiment is not None
    (found,) = client.search_datasets([experiment.experiment_id])
    assert found.name == "sums val d1gest"
    records, _ = _get_store(mlflow_uri)._load_dataset_records(found.dataset_id)
    assert sorted(record.inputs["sum"] for record in records) == sorted(f"{i} + 1" for i in range(40))
    assert {record.expectations["answer"] for record in records} == {2}

"""Names that tell versions and runs apart, the guide, deleted experiments, the empty library, graded scores, links."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.evaluation.differences import Side
from flex_dspy.evaluation.evaluation import Evaluation
from flex_dspy.evaluation.records import Record
from flex_dspy.learning.version import Version, VersionRecord
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.studies.snapshots import registry_points
from flex_dspy.tasks.proteingym import TASK
from flex_dspy.tracking.comparisons import COMPARED_IN, link_versions
from flex_dspy.tracking.datasets import DatasetInfo
from flex_dspy.tracking.evaluations import log_evaluation
from flex_dspy.tracking.example_scores import read_scores
from flex_dspy.tracking.names import model_name, run_name
from flex_dspy.tracking.tracker import MLflowTracker
from flex_dspy.tracking.version import describe, metric_name, rounded
from flex_dspy.tracking.version_rows import VersionTable
from flex_dspy.tracking.version_table import versions

pytestmark = [
    pytest.mark.usefixtures("no_figures"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
]

NUMBERS = {"accuracy": 0.7956989, "accuracy_low": 0.703, "accuracy_high": 0.865, "n": 93.0}
LESSON = Experience("golden", "method", precedents=(Precedent("x", "p", "a"),))
LIBRARY = ExperienceLibrary(task="uspto50k").apply(Commit("run", 1, (Insert(LESSON),))).as_version(None)
EMPTY = ExperienceLibrary(task="sums").as_version(None)


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def test_names_say_what_differs() -> None:
    version = Version(LIBRARY, 465, NUMBERS)
    assert model_name(version, "chemist") == f"uspto50k-465ex-acc79_6-n93-{LIBRARY.hash[:6]}"
    assert model_name(Version(LIBRARY, 465, {**NUMBERS, "errors": 2.0}), "chemist").startswith(
        "uspto50k-465ex-acc79_6-n93-2err"
    )
    params = {"run": "1f0c2a3b4d5e", "task": "uspto50k", "actor": "offline/chemist", "study": True, "seed": 3}
    assert run_name({**params, "train_examples": 465}) == "465ex study seed3 chemist 1f0c2a3b4d5e uspto50k"
    assert run_name({"task": "sums"}) == ""


def test_a_description_begins_with_the_score() -> None:
    assert describe(Version(LIBRARY, 465, NUMBERS)).startswith("79.6% (70.3 to 86.5, n = 93) · 1 entry · 465 examples")


def test_a_graded_score_has_its_own_name() -> None:
    measured = {"accuracy": 0.674, "accuracy_low": 0.549, "accuracy_high": 0.8, "n": 5.0}
    version = Version(LIBRARY, 5, measured, score="|Spearman|")
    assert describe(version).startswith("|Spearman| 0.674 (0.549 to 0.800, n = 5) · ")
    assert "Spearman0_674-n5" in model_name(version, "x")
    assert [metric_name(name, "|Spearman|") for name in ("accuracy", "accuracy_low", "n", "baseline_accuracy")] == [
        "Spearman", "Spearman_low", "n", "baseline_Spearman",
    ]  # fmt: skip
    record = VersionRecord.of("run", 5, LIBRARY, measured, "|Spearman|")
    assert "|Spearman| 0.674 [0.549, 0.800] on 5" in record.text()
    assert "accuracy" not in record.text()
    assert getattr(TASK.metric, "score_name", "") == "|Spearman|"


def test_numbers_are_rounded() -> None:
    assert [rounded(each) for each in (0.7956989247311828, 93.0, 1e-7 / 3)] == [0.795699, 93.0, 3.33333e-08]


def test_a_deleted_experiment_is_said_with_both_ways_on(mlflow_uri: str) -> None:
    tracker = MLflowTracker("gone", tracking_uri=mlflow_uri, registered_name="gone")
    tracker.start({})
    number = client(mlflow_uri).get_experiment_by_name("gone").experiment_id
    client(mlflow_uri).delete_experiment(number)
    with pytest.raises(ConfigurationError, match="'gone' was deleted") as caught:
        MLflowTracker("gone", tracking_uri=mlflow_uri, registered_name="gone").start({})
    assert f"mlflow experiments restore --experiment-id {number}" in str(caught.value)
    assert "--experiment NAME" in str(caught.value)
    assert "Start its server" not in str(caught.value)


def logged_empty(uri: str, name: str, actor: str, digest: str = "d1") -> MLflowTracker:
    tracker = MLflowTracker("empty", tracking_uri=uri, registered_name=name)
    tracker.start({"task": "sums", "actor": actor})
    tracker.log_version(Version(EMPTY, 0, {**NUMBERS, "errors": 0.0}, "val", digest))
    tracker.finish()
    assert tracker.missing == []
    return tracker


def test_the_empty_library_is_registered_once_for_a_task_and_a_model(mlflow_uri: str) -> None:
    runs = [logged_empty(mlflow_uri, "once", actor) for actor in ("some/model", "some/model", "another/model")]
    found = client(mlflow_uri).search_model_versions("name = 'once'")
    assert sorted(int(version.version) for version in found) == [1, 2]
    for run in runs:  # each run has its measurements all the same
        assert client(mlflow_uri).get_run(run.run_id).data.metrics["accuracy"] == 0.795699
        assert run.holds(EMPTY.hash, 0)


def test_each_run_that_began_with_the_empty_library_has_its_row(mlflow_uri: str) -> None:
    first, second = (logged_empty(mlflow_uri, "rows", "some/model") for _ in range(2))
    rows = [row for row in versions("sums", tracking_uri=mlflow_uri, experiments=["empty"]) if row.name == "rows"]
    assert [(row.reference, row.run_id) for row in rows] == [("rows/1", run.run_id) for run in (first, second)]
    assert [(row.score, row.dataset, row.errors) for row in rows] == [(0.795699, "val", 0)] * 2
    assert len(VersionTable(rows).curves()) == 2
    assert [bool(row.files) for row in rows] == [True, True]


def test_files_of_one_validation_set_do_not_stand_for_another(mlflow_uri: str) -> None:
    logged_empty(mlflow_uri, "sets", "some/model", "d1")
    logged_empty(mlflow_uri, "sets", "some/model", "d2")
    rows = [row for row in versions("sums", tracking_uri=mlflow_uri, experiments=["empty"]) if row.name == "sets"]
    assert [(row.dataset_digest, bool(row.files)) for row in rows] == [("d1", True), ("d2", False)]


def test_a_graded_score_is_read_back_under_its_name(mlflow_uri: str) -> None:
    tracker = MLflowTracker("graded", tracking_uri=mlflow_uri, registered_name="graded")
    tracker.start({"task": "grades"})
    tracker.log_version(Version(LIBRARY, 5, NUMBERS, "val", "d1", score="|Spearman|"))
    tracker.finish()
    (row,) = versions("uspto50k", tracking_uri=mlflow_uri, experiments=["graded"])
    assert (row.metric, row.score_text(), row.interval_text()) == ("|Spearman|", "0.796", "0.703 to 0.865")
    assert row.curve_point() is not None
    (point,) = registry_points("graded", mlflow_uri)
    assert (point.score, point.accuracy) == ("|Spearman|", 0.795699)


def test_the_columns_of_the_validation_set_come_first_in_the_models_list(mlflow_uri: str) -> None:
    names = [DatasetInfo.of(source, "d", 3, task="sums").name for source in ("test", "a.csv", "hub/name@test")]
    validation = DatasetInfo.of("val", "d1gest", 3, task="sums").as_validation()
    assert validation.name == "(validation) sums val"
    assert min(names) > validation.name  # MLflow orders them by name


def test_an_evaluation_on_the_validation_set_has_its_columns(mlflow_uri: str) -> None:
    validation = DatasetInfo.of("val", "d1gest", 1, task="sums").as_validation()
    data = {"validation": validation}
    tracker = MLflowTracker("columns", tracking_uri=mlflow_uri, registered_name="columns", data=data)
    tracker.start({"task": "uspto50k"})
    tracker.log_version(Version(LIBRARY, 1, NUMBERS, "validation", "d1gest"))
    tracker.finish()
    measured = {"with library": Evaluation((Record("e", "p", "12", {}, 1.0),))}
    again = DatasetInfo.of("val", "d1gest", 1, task="sums")
    run_id = log_evaluation(measured, again, experiment="columns", library=LIBRARY, tracking_uri=mlflow_uri)
    assert run_id is not None
    (given,) = client(mlflow_uri).get_run(run_id).inputs.dataset_inputs
    assert given.dataset.name == validation.name


def test_examples_can_be_kept_out_of_mlflow(mlflow_uri: str, tmp_path: Path) -> None:
    tracker = MLflowTracker(
        "private", tracking_uri=mlflow_uri, registered_name="private", log_examples=False,
        unlogged=tmp_path / "unlogged",
    )  # fmt: skip
    tracker.start({"task": "uspto50k"})
    secret = Record("e1", "the problem", "the reference", {"answer": "the answer"}, 1.0, feedback="about the answer",
                    inputs={"problem": "the problem"}, labels={"answer": "the reference"})  # fmt: skip
    tracker.log_version(Version(LIBRARY, 1, NUMBERS, "val", "d1", (secret,)))
    tracker.finish()
    assert tracker.missing == []
    from mlflow.artifacts import download_artifacts

    store = client(mlflow_uri)
    experiment = store.get_experiment_by_name("private").experiment_id
    assert list(store.search_datasets([experiment])) == []
    (version,) = store.search_model_versions("name = 'private'")
    model = store.get_logged_model(version.tags["model_id"])
    assert read_scores(store, mlflow_uri, model.model_id) == {"e1": 1.0}  # enough to compare and to promote
    folder = Path(download_artifacts(model.artifact_location, dst_path=str(tmp_path), tracking_uri=mlflow_uri))
    written = "".join(file.read_text() for file in folder.rglob("*") if file.suffix in (".csv", ".json"))
    assert "e1" in written
    assert not any(text in written for text in ("the problem", "the reference", "the answer"))


def test_the_experiment_says_where_things_are(mlflow_uri: str) -> None:
    MLflowTracker("guided", tracking_uri=mlflow_uri, registered_name="guided").start({})
    tags = client(mlflow_uri).get_experiment_by_name("guided").tags
    assert "Model registry" in tags["mlflow.note.content"]


def test_a_comparison_and_its_versions_are_linked_both_ways(mlflow_uri: str) -> None:
    tracker = MLflowTracker("linked", tracking_uri=mlflow_uri, registered_name="linked")
    tracker.start({"task": "uspto50k"})
    tracker.log_version(Version(LIBRARY, 1, NUMBERS, "val", "d1"))
    store = client(mlflow_uri)
    experiment = store.get_experiment_by_name("linked").experiment_id
    run = store.create_run(experiment, run_name="compare").info.run_id
    measured = Evaluation((Record("e", "p", "12", {"answer": "12"}, 1.0, labels={"answer": "12"}),))
    sides = [Side("none", measured), Side.of("it@best", measured, LIBRARY)]
    (model,) = link_versions(store, experiment, run, sides)
    assert [each.model_id for each in store.get_run(run).inputs.model_inputs] == [model]
    (version,) = store.search_model_versions("name = 'linked'")
    assert version.tags[COMPARED_IN] == run
    on_page = {metric.key: metric.value for metric in store.get_logged_model(model).metrics}
    assert on_page["compared/it_best"] == 1.0

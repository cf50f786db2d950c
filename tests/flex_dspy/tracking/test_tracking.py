"""Tracking against a real MLflow store: one SQLite file for the whole session, as making one takes seconds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flex_dspy.core.errors import ConfigurationError, RunError
from flex_dspy.learning.version import Version
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tracking.best import best_text
from flex_dspy.tracking.parameters import printable_params
from flex_dspy.tracking.registry import is_reference, load_library
from flex_dspy.tracking.tracker import MLflowTracker
from flex_dspy.tracking.version import describe

pytestmark = [
    pytest.mark.usefixtures("no_figures"),
    pytest.mark.filterwarnings(
        # MLflow's own use of SQLAlchemy; nothing of ours.
        "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning",
    ),
]


@pytest.fixture
def uri(mlflow_uri: str) -> str:
    return mlflow_uri


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No test reads the store that the environment or the folder names, or leaves one behind."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    yield
    import mlflow

    assert mlflow.active_run() is None
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A registered name of the test's own."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)


def lesson(step: int) -> Experience:
    return Experience("golden", f"method {step}", precedents=(Precedent(f"e{step}", "problem", "answer"),))


def line_of_libraries(steps: int) -> list[ExperienceLibrary]:
    """Libraries of 1, 2, ... entries, each the parent of the next."""
    libraries: list[ExperienceLibrary] = []
    library = ExperienceLibrary(task="sums")
    for step in range(1, steps + 1):
        parent = libraries[-1].hash if libraries else None
        library = library.apply(Commit("run", step, (Insert(lesson(step)),))).as_version(parent)
        libraries.append(library)
    return libraries


def version(library: ExperienceLibrary, accuracy: float, dataset: str = "valid") -> Version:
    digest = {"valid": "d1", "the same by another path": "d1"}.get(dataset, dataset)
    return Version(library, len(library), {"accuracy": accuracy, "n": 100.0}, dataset, digest)


def started(uri: str, name: str, run_file: Path | None = None, **params: Any) -> MLflowTracker:
    tracker = MLflowTracker("tests", tracking_uri=uri, registered_name=name, run_file=run_file)
    tracker.start({"task": "sums", **params})
    return tracker


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def registered(uri: str, name: str) -> list[Any]:
    """All versions under a name, oldest first."""
    return sorted(client(uri).search_model_versions(f"name = '{name}'"), key=lambda v: int(v.version))


def aliases(uri: str, name: str) -> dict[str, int]:
    return {alias: int(v) for alias, v in client(uri).get_registered_model(name).aliases.items()}


def models(uri: str, run_id: str) -> list[Any]:
    experiment = client(uri).get_experiment_by_name("tests").experiment_id
    return list(
        client(uri).search_logged_models(
            [experiment],
            filter_string=f"source_run_id = '{run_id}'",
            order_by=[{"field_name": "metrics.accuracy", "ascending": False}],
        )
    )


def test_versions_of_a_run(uri: str, name: str, tmp_path: Path) -> None:
    libraries = line_of_libraries(3)
    tracker = started(uri, name)
    for library, accuracy in zip(libraries, (0.2, 0.5, 0.5), strict=True):
        tracker.log_version(version(library, accuracy))
    (tmp_path / "curve.png").write_bytes(b"picture")
    tracker.finish([tmp_path / "curve.png"])

    assert aliases(uri, name) == {"newest": 3, "best": 2}  # a tie leaves the earlier one
    assert load_library(f"{name}@best", uri) == libraries[1]
    assert load_library(f"{name}@newest", uri) == libraries[2]
    first = load_library(f"models:/{name}/1", uri, dst=tmp_path / "first.json")
    assert first == libraries[0] == ExperienceLibrary.load(tmp_path / "first.json")
    assert (first.parent, first.seen, first.runs) == (None, 1, {"run": 1})

    found = registered(uri, name)
    assert [v.tags["hash"] for v in found] == [library.hash for library in libraries]
    assert [v.tags["parent"] for v in found] == ["none", libraries[0].hash, libraries[1].hash]
    assert found[1].description == (f"50.0% (n = 100) · 2 entries · 2 examples · parent {libraries[0].hash[:12]}")
    run = client(uri).get_run(tracker.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["flex_dspy.task"] == "sums"
    assert [a.path for a in client(uri).list_artifacts(tracker.run_id)] == ["curve.png"]


def test_metrics_are_on_the_model_and_on_the_run(uri: str, name: str) -> None:
    tracker = started(uri, name)
    for library, accuracy in zip(line_of_libraries(3), (0.2, 0.6, 0.4), strict=True):
        tracker.log_version(version(library, accuracy))

    best_first = models(uri, tracker.run_id)
    assert [m.params["step"] for m in best_first] == ["2", "3", "1"]
    metrics = {m.key: m for m in best_first[0].metrics}
    measured = {key: m.value for key, m in metrics.items()}
    assert measured == {
        "accuracy": 0.6, "n": 100, "library_size": 2, "golden": 2, "warning": 0, "mixed": 0, "precedents": 2,
    }  # fmt: skip
    assert (metrics["accuracy"].dataset_name, metrics["accuracy"].dataset_digest) == ("valid", "d1")
    assert metrics["accuracy"].step == 2

    history = client(uri).get_metric_history(tracker.run_id, "accuracy")
    assert [(m.step, m.value) for m in history] == [(1, 0.2), (2, 0.6), (3, 0.4)]
    run = client(uri).get_run(tracker.run_id)
    assert [d.dataset.name for d in run.inputs.dataset_inputs] == ["valid"]
    assert len(run.outputs.model_outputs) == 3


def test_a_resumed_run_logs_nothing_twice(uri: str, name: str, tmp_path: Path) -> None:
    libraries, run_file = line_of_libraries(3), tmp_path / "runs" / "mlflow-run"
    killed = started(uri, name, run_file, concurrency=4)
    for library, accuracy in zip(libraries[:2], (0.2, 0.5), strict=True):
        killed.log_version(version(library, accuracy))

    resumed = started(uri, name, run_file, concurrency=8)
    assert resumed.run_id == killed.run_id == run_file.read_text().strip()
    for library, accuracy in zip(libraries, (0.2, 0.5, 0.3), strict=True):
        resumed.log_version(version(library, accuracy))

    assert len(registered(uri, name)) == len(models(uri, resumed.run_id)) == 3
    assert aliases(uri, name) == {"newest": 3, "best": 2}
    run = client(uri).get_run(resumed.run_id)
    assert len(runs_below(uri, resumed.run_id)) == 3
    assert run.info.status == "RUNNING"
    assert run.data.params["concurrency"] == "4"
    assert run.data.tags["resumed.concurrency"] == "8"
    assert len(client(uri).get_metric_history(resumed.run_id, "accuracy")) == 3


def test_odd_metrics_do_not_hold_up_the_run(uri: str, name: str) -> None:
    tracker = started(uri, name)
    tracker.log_version(Version(line_of_libraries(1)[0], 1, {"top-1 (%)": 3.0, "cost": float("nan")}))
    assert tracker._pending == []
    assert client(uri).get_run(tracker.run_id).data.metrics["top-1 ___"] == 3.0


def test_a_run_of_another_experiment_is_not_continued(uri: str, name: str, tmp_path: Path) -> None:
    run_file = tmp_path / "mlflow-run"
    other = MLflowTracker("other", tracking_uri=uri, registered_name=name, run_file=run_file)
    other.start({})
    tracker = started(uri, name, run_file)
    assert tracker.run_id != other.run_id
    assert run_file.read_text().strip() == tracker.run_id
    run_file.write_text("no run at all")
    assert started(uri, name, run_file).run_id not in {tracker.run_id, other.run_id}


STEPS_OF_A_VERSION = [
    "create_logged_model",
    "log_model_artifacts",
    "log_inputs",
    "log_batch",
    "log_outputs",
    "finalize_logged_model",
    "create_run",
    "set_terminated",
    "create_registered_model",
    "create_model_version",
    "log_model_params",
    "set_logged_model_tags",
    "set_registered_model_alias",
]


def failing(call: Any, *, after: bool) -> Any:
    """A call that fails before it does anything, or whose answer is lost."""

    def gone(*args: Any, **kwargs: Any) -> None:
        if after:
            call(*args, **kwargs)
        raise ConnectionError("the server is gone")

    return gone


@pytest.mark.parametrize("call", STEPS_OF_A_VERSION)
def test_a_store_that_fails_is_tried_again(
    uri: str, name: str, call: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = line_of_libraries(2)
    tracker = started(uri, name)
    for after in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(tracker._client, call, failing(getattr(tracker._client, call), after=after))
            tracker.log_version(version(first, 0.5))
    assert caplog.text.count("nothing learned is lost. the server is gone") == 2

    tracker.log_version(version(second, 0.4))
    assert tracker._pending == []
    assert [v.tags["step"] for v in registered(uri, name)] == ["1", "2"]
    assert [(str(m.status), m.params["step"]) for m in models(uri, tracker.run_id)] == [
        ("READY", "1"),
        ("READY", "2"),
    ]
    assert aliases(uri, name) == {"newest": 2, "best": 1}
    assert len(runs_below(uri, tracker.run_id)) == 2


def runs_below(uri: str, run_id: str) -> list[Any]:
    experiment = client(uri).get_experiment_by_name("tests").experiment_id
    return list(client(uri).search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'"))


def test_what_a_run_holds_is_asked_once_and_again_after_a_failure(
    uri: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    libraries = line_of_libraries(4)
    tracker = started(uri, name)
    asked = []

    def search(*args: Any, **kwargs: Any) -> Any:
        asked.append(args)
        if len(asked) == 1:
            raise ConnectionError("the server is gone")
        return client(uri).search_logged_models(*args, **kwargs)

    monkeypatch.setattr(tracker._client, "search_logged_models", search)
    tracker.log_version(version(libraries[0], 0.1))
    tracker.log_version(version(libraries[1], 0.2))
    assert asked == []  # a new run holds nothing
    with monkeypatch.context() as patch:
        patch.setattr(tracker._client, "log_outputs", lambda *args: 1 / 0)
        tracker.log_version(version(libraries[2], 0.3))
    tracker.log_version(version(libraries[2], 0.3))  # what there is cannot be asked
    tracker.log_version(version(libraries[3], 0.4))
    assert len(asked) == 2
    assert [v.tags["step"] for v in registered(uri, name)] == ["1", "2", "3", "4"]


def test_finish_logs_what_was_missed_and_never_raises(
    uri: str, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = started(uri, name)
    with monkeypatch.context() as patch:
        patch.setattr(tracker._client, "log_batch", lambda *args, **kwargs: 1 / 0)
        tracker.log_version(version(line_of_libraries(1)[0], 0.5))
    tracker.finish([Path("missing.png")])
    assert len(registered(uri, name)) == 1
    assert "did not take missing.png" in caplog.text


def test_best_compares_only_what_is_comparable(uri: str, name: str) -> None:
    libraries = line_of_libraries(4)
    tracker = started(uri, name)
    tracker.log_version(Version(libraries[0], 1, {}))
    assert aliases(uri, name) == {"newest": 1}
    tracker.log_version(version(libraries[1], 0.9, "easy"))
    tracker.log_version(version(libraries[2], 0.1, "hard"))
    assert aliases(uri, name)["best"] == 3
    tracker.log_version(version(libraries[1], 0.9, "easy"))  # again: changes nothing
    tracker.log_version(version(libraries[3], 0.05, "hard"))
    assert aliases(uri, name) == {"newest": 4, "best": 3}


def with_errors(library: ExperienceLibrary, accuracy: float, errors: int, *, is_again: bool = False) -> Version:
    numbers = {"accuracy": accuracy, "accuracy_low": accuracy, "accuracy_high": accuracy, "n": 100.0}
    return Version(library, len(library), {**numbers, "errors": float(errors)}, "valid", "d1", is_again=is_again)


def test_a_version_with_errors_says_so_and_is_not_best(uri: str, name: str) -> None:
    libraries = line_of_libraries(3)
    tracker = started(uri, name)
    tracker.log_version(with_errors(libraries[0], 0.9, 6))
    assert aliases(uri, name) == {"newest": 1}
    tracker.log_version(with_errors(libraries[1], 0.5, 5))
    tracker.log_version(with_errors(libraries[2], 0.8, 100))
    assert aliases(uri, name) == {"newest": 3, "best": 2}
    first = registered(uri, name)[0]
    assert "90.0% (90.0 to 90.0, n = 100), 6 errors · " in first.description
    assert (first.tags["errors"], first.tags["error_share"]) == ("6", "0.0600")
    model = next(m for m in models(uri, tracker.run_id) if m.params["step"] == "1")
    assert model.params["accuracy with interval"] == "90.0% [90.0%, 90.0%], n = 100, 6 errors"
    assert model.tags["errors"] == "6"


def test_a_tracker_takes_as_many_errors_as_it_is_told(uri: str, name: str) -> None:
    tracker = MLflowTracker("tests", tracking_uri=uri, registered_name=name, max_errors=0.5)
    tracker.start({})
    tracker.log_version(with_errors(line_of_libraries(1)[0], 0.9, 50))
    assert aliases(uri, name) == {"newest": 1, "best": 1}


def test_a_version_that_is_measured_again_replaces_what_was_said(uri: str, name: str, tmp_path: Path) -> None:
    libraries = line_of_libraries(3)
    killed = started(uri, name, tmp_path / "run")
    for library, accuracy, errors in zip(libraries, (0.2, 0.6, 0.7), (50, 0, 0), strict=True):
        killed.log_version(with_errors(library, accuracy, errors))
    assert aliases(uri, name) == {"newest": 3, "best": 3}

    tracker = started(uri, name, tmp_path / "run")
    for _ in range(2):  # twice: as after a kill
        tracker.log_version(with_errors(libraries[0], 0.8, 0, is_again=True))
    assert tracker._pending == []
    assert len(registered(uri, name)) == len(models(uri, tracker.run_id)) == 3
    assert aliases(uri, name) == {"newest": 3, "best": 1}
    first = registered(uri, name)[0]
    assert (first.tags["accuracy"], first.tags["errors"]) == ("0.8", "0")
    assert first.description == "80.0% (80.0 to 80.0, n = 100) · 1 entry · 1 example · no parent"
    model = next(m for m in models(uri, tracker.run_id) if m.params["step"] == "1")
    newest = {m.key: m.value for m in sorted(model.metrics, key=lambda m: m.timestamp)}
    assert (newest["accuracy"], newest["errors"]) == (0.8, 0.0)
    assert "50 errors" in model.params["accuracy with interval"]  # MLflow lets no parameter be changed
    assert model.params["accuracy measured again"] == "80.0% [80.0%, 80.0%], n = 100"
    assert len(runs_below(uri, tracker.run_id)) == 3

    tracker.log_version(with_errors(libraries[0], 0.1, 0, is_again=True))
    assert aliases(uri, name) == {"newest": 3, "best": 3}


def test_which_version_is_best_is_said(uri: str, name: str) -> None:
    libraries = line_of_libraries(4)
    first, second = started(uri, name), started(uri, name)
    first.log_version(with_errors(libraries[0], 0.9, 60))
    assert best_text(name, first.run_id, uri) == (
        f"{name}@newest; no version is best, as none was measured with few enough errors"
    )
    first.log_version(with_errors(libraries[1], 0.796, 0))
    assert best_text(name, first.run_id, uri) == f"{name}@best is version 2 (79.6%), from this run"
    second.log_version(with_errors(libraries[2], 0.9, 60))
    other = f"{name}@best is version 2 (79.6%), from another run; "
    assert best_text(name, second.run_id, uri) == other + "no version of this run was measured with few enough errors"
    second.log_version(with_errors(libraries[3], 0.742, 0))
    assert best_text(name, second.run_id, uri) == other + "this run's best is version 4 (74.2%)"


def test_a_validation_set_is_its_content(uri: str, name: str) -> None:
    first, second = line_of_libraries(2)
    tracker = started(uri, name)
    tracker.log_version(version(first, 0.9))
    tracker.log_version(version(second, 0.1, "the same by another path"))
    assert aliases(uri, name) == {"newest": 2, "best": 1}


def test_nothing_is_left_outside_the_store(
    uri: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    tracker = started(uri, name)
    tracker.log_version(version(line_of_libraries(1)[0], 0.5))
    load_library(f"{name}@best", uri)
    tracker.finish()
    assert list(scratch.iterdir()) == []
    assert list(tmp_path.iterdir()) == [scratch]
    assert capfd.readouterr() == ("", "")


def test_secrets_are_never_logged(uri: str, name: str) -> None:
    tracker = started(
        uri,
        name,
        lm={
            "model": "m",
            "api_key": "very-private-1",
            "max_tokens": 4000,
            "headers": {"Authorization": "very-private-2"},
        },
        HF_TOKEN="very-private-3",
        api_base="http://me:very-private-4@host:1/v1",
        extra=["sk-very-private-5-aaaaaaaaaaaa"],
    )
    run = client(uri).get_run(tracker.run_id)
    assert "very-private" not in str(run.to_dictionary())
    assert run.data.params == {
        "task": "sums", "lm.model": "m", "lm.max_tokens": "4000", "api_base": "http://host:1/v1",
        "extra": "(withheld)",
    }  # fmt: skip


@pytest.mark.parametrize(
    "key",
    ["api_key", "OPENAI_API_KEY", "apiKey", "key", "lm.key", "token", "auth_token", "client_secret",
     "password", "db.pwd", "aws_access_key_id", "credentials", "bearer", "cookie", "tokens"],
)  # fmt: skip
def test_a_secret_is_known_by_its_name(key: str) -> None:
    assert printable_params({key: "value", "lm": [{key: "value"}]}) == {}


def test_params_fit_mlflow() -> None:
    params = printable_params({
        "max_tokens": 4000, "token_budget": 9, "retrieval_key": "product", "nested": {"a": {"b": None}},
        "empty": {}, "list": [1, "é"], "long": "x" * 10_000, "a:b": 1, "k" * 300: 1,
    })  # fmt: skip
    assert params.pop("long") == "x" * 6_000
    assert params == {
        "max_tokens": "4000", "token_budget": "9", "retrieval_key": "product", "nested.a.b": "None",
        "empty": "{}", "list": '[1, "é"]', "a_b": "1", "k" * 250: "1",
    }  # fmt: skip


def test_more_params_than_mlflow_takes_at_once(uri: str, name: str) -> None:
    tracker = started(uri, name, many={str(i): i for i in range(250)})
    assert len(client(uri).get_run(tracker.run_id).data.params) == 251


def test_a_store_that_cannot_be_used_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "damaged.db").write_text("no database " * 1000)
    for bad in ("sqlite:///damaged.db", "http://me:hunter2@127.0.0.1:9", "nonsense://me:hunter2@host"):
        begin = time.monotonic()
        with pytest.raises(ConfigurationError, match="cannot use the tracking store") as caught:
            MLflowTracker("tests", tracking_uri=bad, registered_name="n").start({})
        assert time.monotonic() - begin < 20
        assert "hunter2" not in str(caught.value)


def test_names_that_cannot_be_referred_to() -> None:
    for bad in ("", "a/b", "a@b", "a:b", "it's"):
        with pytest.raises(ConfigurationError, match="cannot name a registered model"):
            MLflowTracker("tests", registered_name=bad)


def test_a_version_needs_a_run() -> None:
    tracker = MLflowTracker("tests", registered_name="n")
    with pytest.raises(RunError, match="call start"):
        tracker.log_version(version(ExperienceLibrary(), 0.0))
    tracker.finish()  # nothing to end


def test_references() -> None:
    for good in ("chemist@best", "chemist/3", "models:/chemist@best", "my chemist.v2@a-b_c"):
        assert is_reference(good)
    for bad in (
        "chemist",
        "chemist.json",
        "exps/chemist.json",
        "./chemist/3",
        "a/b@c",
        "chemist@",
        "chemist@a.json",
    ):
        assert not is_reference(bad)


def test_what_is_not_there_is_said_with_what_is(uri: str, name: str) -> None:
    tracker = started(uri, name)
    tracker.log_version(version(line_of_libraries(1)[0], 0.5))
    there = f"There are: {name}@best, {name}@newest, {name}/1 to {name}/1."
    for missing, hint in (
        (f"{name}@bset", there),
        (f"{name}/7", there),
        (f"{name}s@best", name),
        ("nobody@best", "Registered: "),
    ):
        with pytest.raises(ConfigurationError) as caught:
            load_library(missing, uri)
        assert str(caught.value).startswith(f"There is no {missing} in ")
        assert hint in str(caught.value)
    with pytest.raises(ConfigurationError, match="Write NAME@alias or NAME/version"):
        load_library("library.json", uri)


def test_a_registered_model_that_is_no_library(uri: str, name: str, tmp_path: Path) -> None:
    started(uri, name)  # makes the store
    client(uri).create_registered_model(name)
    client(uri).create_model_version(name, source=tmp_path.as_uri())
    with pytest.raises(ConfigurationError, match="it is no library"):
        load_library(f"{name}/1", uri)


def test_loading_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no tracking store .*mlflow\.db"):
        load_library("chemist@best")
    assert list(tmp_path.iterdir()) == []


def test_description_has_interval_sample_and_baseline() -> None:
    measured = {
        "accuracy": 0.301,
        "accuracy_low": 0.25,
        "accuracy_high": 0.36,
        "n": 1200.0,
        "baseline_accuracy": 0.02,
    }
    assert describe(Version(ExperienceLibrary(task="sums"), 0, measured)) == (
        "30.1% (25.0 to 36.0, n = 1,200) · 0 entries · 0 examples · 2.0% without a library · no parent"
    )

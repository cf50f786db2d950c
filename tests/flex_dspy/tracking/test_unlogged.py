"""A store that is lost in mid-run costs no version: those that it did not take are kept, and logged later."""

import json
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flex_dspy.cli import main
from flex_dspy.core.errors import RunError
from flex_dspy.evaluation.records import Record
from flex_dspy.learning.version import Version
from flex_dspy.libraries.experience import Commit, Experience, Insert
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tracking import mlflow_store
from flex_dspy.tracking.datasets import DatasetInfo
from flex_dspy.tracking.mlflow_store import check_answers
from flex_dspy.tracking.registry import list_versions, load_library
from flex_dspy.tracking.tracker import MLflowTracker
from flex_dspy.tracking.unlogged import RunNotes, Unlogged

pytestmark = pytest.mark.usefixtures("shared_chemists", "no_figures")

NOTES = RunNotes("an experiment", "a-name", {"actor": "m"}, {"validation": DatasetInfo("v", "d1", "val", 4)})


def version(step: int, accuracy: float = 0.5) -> Version:
    library = ExperienceLibrary(task="sums").apply(Commit("run", step, (Insert(Experience("golden", f"{step}")),)))
    record = Record("e", "p", "12", {"answer": "12"}, 1.0, labels={"answer": "12"})
    return Version(library.as_version(None), step, {"accuracy": accuracy, "n": 1.0}, "v", "d1", (record,))


# -- what is kept ------------------------------------------------------------------------------------------


def test_a_version_is_kept_whole_and_forgotten_when_it_is_logged(tmp_path: Path) -> None:
    kept = Unlogged(tmp_path / "unlogged")
    assert kept.versions() == []
    assert kept.notes() is None
    versions = [version(12), version(3)]
    for each in (*versions, versions[0]):
        kept.keep(each, NOTES)
    again = Unlogged(kept.folder)
    assert again.versions() == [versions[1], versions[0]]
    assert again.versions()[0].library.parent == versions[1].library.parent
    assert again.notes() == NOTES
    again.drop(versions[1])
    assert again.versions() == [versions[0]]
    again.drop(versions[0])
    assert not kept.folder.exists()


def test_a_version_that_was_cut_short_is_not_there_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    kept = Unlogged(tmp_path)
    kept.keep(version(3), NOTES)
    (file,) = tmp_path.glob("3-*/version.json")
    file.write_text("{")
    with pytest.raises(RunError, match=r"3-.* holds no version"):
        kept.versions()
    file.unlink()
    assert kept.versions() == []
    kept.keep(version(3), NOTES)
    assert kept.versions() == [version(3)]


def test_a_folder_that_takes_no_files_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "unlogged").write_text("")
    Unlogged(tmp_path / "unlogged").keep(version(3), NOTES)
    assert "step 3 cannot be kept" in caplog.text


# -- a store that keeps its caller waiting -----------------------------------------------------------------


@pytest.fixture
def store(mlflow_uri: str, tmp_path: Path) -> str:
    """A store of its own, with tables: it is locked and removed here."""
    MLflowTracker("any", tracking_uri=mlflow_uri, registered_name="any").start({})
    shutil.copy(mlflow_uri.removeprefix("sqlite:///"), tmp_path / "own.db")
    return f"sqlite:///{tmp_path}/own.db"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """How long SQLite was told to wait, in order; it does not wait."""
    asked: list[float] = []
    connect = sqlite3.connect

    def noting(path: Any, *args: Any, timeout: float = 5.0, **kwargs: Any) -> Any:
        if kwargs.get("isolation_level", "") is None:
            asked.append(timeout)
        return connect(path, *args, timeout=0.0, **kwargs)

    monkeypatch.setattr(mlflow_store.sqlite3, "connect", noting)
    return asked


def test_a_locked_database_is_waited_for_once(
    store: str, tmp_path: Path, waits: list[float], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = MLflowTracker("own", tracking_uri=store, registered_name="own", unlogged=tmp_path / "unlogged")
    tracker.start({"actor": "m"})
    locking = sqlite3.connect(store.removeprefix("sqlite:///"), isolation_level=None)
    waits.clear()
    with monkeypatch.context() as patch:
        patch.setattr(tracker, "_record", lambda each: pytest.fail("MLflow was asked, and would wait"))
        locking.execute("BEGIN EXCLUSIVE")
        for step in (1, 2, 3):
            tracker.log_version(version(step))
        tracker.finish([tmp_path])
        locking.execute("ROLLBACK")
        locking.close()
    assert waits == [20.0] + 5 * [1.0]
    assert tracker.missing == [1, 2, 3]
    assert caplog.text.count("database is locked") == 6
    assert Unlogged(tmp_path / "unlogged").versions() == [version(1), version(2), version(3)]

    again = MLflowTracker("own", tracking_uri=store, registered_name="own", unlogged=tmp_path / "unlogged")
    again.start({})
    assert again.missing == [1, 2, 3]
    again.log_version(version(4))
    assert again.missing == []
    assert [each.tags["step"] for each in list_versions("own", store)] == ["1", "2", "3", "4"]
    assert not (tmp_path / "unlogged").exists()


def test_a_database_that_is_removed_takes_no_version(store: str, tmp_path: Path, caplog) -> None:
    """MLflow would go on writing into the file that no name leads to."""
    tracker = MLflowTracker("own", tracking_uri=store, registered_name="own", unlogged=tmp_path / "unlogged")
    tracker.start({})
    Path(store.removeprefix("sqlite:///")).unlink()
    tracker.log_version(version(1))
    assert tracker.missing == [1]
    assert "own.db is gone" in caplog.text
    assert not (tmp_path / "own.db").exists()


def test_a_server_is_only_asked_once_it_has_failed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        check_answers(f"postgresql://me:hunter2@127.0.0.1:{port}/db", has_failed=True)
    for scheme in ("http", "postgresql"):
        check_answers(f"{scheme}://127.0.0.1:{port}", has_failed=False)
        with pytest.raises(OSError, match="refused"):
            check_answers(f"{scheme}://127.0.0.1:{port}", has_failed=True)
    check_answers("databricks", has_failed=True)


def test_a_refusal_is_an_answer(llm_server) -> None:
    check_answers(llm_server.url, has_failed=True)


# -- the command -------------------------------------------------------------------------------------------

LEARN = [
    "learn",
    "retro",
    "--study",
    "--train-samples",
    "8",
    "--val-samples",
    "4",
    "--checkpoint-every",
    "4",
    "--quiet",
]


def test_versions_that_a_run_could_not_log_are_logged_later(mlflow_uri, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    tracking = ["--tracking-uri", mlflow_uri, "--experiment", tmp_path.name]
    assert main([*LEARN, *tracking[:2], "--experiment", "earlier", "--out", "earlier"]) == 0  # has the empty library
    capsys.readouterr()
    asked = []

    def gone_after_the_first(uri: str, *, has_failed: bool) -> None:
        asked.append(has_failed)
        if len(asked) > 1:
            raise ConnectionError("the server is gone")

    with monkeypatch.context() as patch:
        patch.setattr("flex_dspy.tracking.tracker.check_answers", gone_after_the_first)
        assert main([*LEARN, *tracking, "--out", "run"]) == 4
    said = capsys.readouterr()
    assert "MLflow lacks the versions at step 4, 8" in said.err
    assert "flex-dspy library log run" in said.err
    assert "@best" not in said.out
    assert "version" in said.out  # what was learned is said all the same
    before = list_versions("flex-uspto50k", mlflow_uri)

    assert main(["library", "log", "run", *tracking[:2]]) == 0
    assert "2 versions were logged now, 1 before, of 3" in capsys.readouterr().out
    lines = Path("run/library.versions.jsonl").read_text().splitlines()
    learned = [json.loads(line)["hash"] for line in lines]
    after = list_versions("flex-uspto50k", mlflow_uri)
    assert [each.tags["hash"] for each in after[len(before) :]] == learned[1:]
    assert learned[0] in {each.tags["hash"] for each in before}  # the empty library
    assert load_library("flex-uspto50k@newest", mlflow_uri) == ExperienceLibrary.load("run/library.json")
    assert not Path("run/unlogged").exists()

    assert main(["library", "log", "run", *tracking[:2]]) == 0
    assert "0 versions were logged now, 3 before, of 3" in capsys.readouterr().out
    assert len(list_versions("flex-uspto50k", mlflow_uri)) == len(after)


def test_of_a_run_that_was_not_tracked_the_newest_version_is_logged(mlflow_uri, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*LEARN, "--no-tracking", "--out", "run"]) == 0
    held = [each.aliases for each in list_versions("flex-uspto50k", mlflow_uri) if "best" in each.aliases]
    tracking = ["--tracking-uri", mlflow_uri, "--experiment", tmp_path.name]
    assert main(["library", "log", "run", *tracking, "--promote", "never"]) == 0
    said = capsys.readouterr().out
    assert "1 versions were logged now, 0 before, of 3" in said
    assert "at step 0, 4: the libraries were not kept" in said
    newest = list_versions("flex-uspto50k", mlflow_uri)[-1]
    assert newest.tags["hash"] == ExperienceLibrary.load("run/library.json").hash
    assert newest.tags["dataset_digest"]
    assert "best" not in newest.aliases
    assert [each.aliases for each in list_versions("flex-uspto50k", mlflow_uri) if "best" in each.aliases] == held


def test_a_folder_without_a_run_is_said(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["library", "log", "absent"]) == 1
    assert "holds no run" in capsys.readouterr().err
    Path("library.versions.jsonl").write_text(
        '{"run": "r", "step": 1, "hash": "h", "parent": null, "sizes": {}, "precedents": 0, "metrics": {}}\n'
    )
    Path("run.json").write_text("{")
    assert main(["library", "log", "."]) == 1
    assert "run.json does not describe a run" in capsys.readouterr().err

"""What stands for a library: a file, with its journal; a folder; a file of the FLEX release."""

import json
from pathlib import Path

import pytest

from flex_dspy.core.errors import ConfigurationError, LibraryError
from flex_dspy.learning.version import Version
from flex_dspy.libraries.experience import MAX_RULES, Commit, Experience, Insert, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.merging import merge
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.tracking.registry import list_versions, name_of, read_library
from flex_dspy.tracking.tracker import MLflowTracker


def library(*names: str, task: str = "t") -> ExperienceLibrary:
    return ExperienceLibrary([Experience("golden", name, (Rule(f"rule {name}"),)) for name in names], task=task)


def test_a_file(tmp_path: Path) -> None:
    library("a").save(tmp_path / "a.json")
    assert read_library(tmp_path / "a.json") == library("a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_file_is_read_with_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "library.json"
    store = LibraryStore(path, task="t")
    store.commit([Commit("r", 1, (Insert(Experience("golden", "a")),))])
    assert read_library(path) == store.library
    assert read_library(tmp_path) == store.library


def test_a_folder_is_its_library_or_the_merge_of_its_files(tmp_path: Path) -> None:
    parts = {"a": library("x", "y"), "b": library("y", "z", task="")}
    for name, part in parts.items():
        part.save(tmp_path / f"{name}.json")
    library("old").save(tmp_path / "a.1.bak.json")
    assert read_library(tmp_path) == merge(*parts.values(), names=list(parts)).library
    assert {source.name for entry in read_library(tmp_path) for source in entry.sources} == {"a", "b"}
    library("own").save(tmp_path / "library.json")
    assert read_library(tmp_path) == library("own")


def test_a_folder_with_another_file_or_of_other_tasks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match=r"has no \.json file"):
        read_library(tmp_path)
    library("a").save(tmp_path / "a.json")
    library("b", task="u").save(tmp_path / "b.json")
    with pytest.raises(ConfigurationError, match="different tasks"):
        read_library(tmp_path)
    (tmp_path / "b.json").write_text('{"run": 1}')
    with pytest.raises(LibraryError, match=r"b\.json"):
        read_library(tmp_path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match=r"absent\.json"):
        read_library(tmp_path / "absent.json")


def test_overlong_entries_of_a_release_are_split_and_our_own_are_not(tmp_path: Path) -> None:
    rules = [{"rule": f"rule {i}"} for i in range(MAX_RULES + 1)]
    (tmp_path / "release.json").write_text(json.dumps([{"method": "m", "rules": rules}]))
    assert len(read_library(tmp_path / "release.json")) == 2
    whole = ExperienceLibrary.load(tmp_path / "release.json")
    whole.save(tmp_path / "own.json")
    assert read_library(tmp_path / "own.json") == whole


@pytest.mark.parametrize("text", ["chemist", "chemist@best", "chemist/3", "models:/chemist/3"])
def test_the_name_in_a_reference(text: str) -> None:
    assert name_of(text) == "chemist"


def test_a_version_in_mlflow(mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = MLflowTracker("reading", tracking_uri=mlflow_uri, registered_name="reading")
    tracker.start({})
    for step, made in enumerate([library("a"), library("a", "b")]):
        tracker.log_version(Version(made, step, {"accuracy": 0.5 - step / 10, "n": 10.0}))
    tracker.finish()
    monkeypatch.chdir(tmp_path)
    assert read_library("reading@newest", mlflow_uri) == library("a", "b")
    first, second = list_versions("reading", mlflow_uri)
    assert (first.number, first.aliases, first.tags["hash"]) == (1, ("best",), library("a").hash)
    assert (second.number, second.aliases) == (2, ("newest",))
    assert "2 entries" in second.description
    with pytest.raises(ConfigurationError, match=r"There is no rading .*reading"):
        list_versions("rading", mlflow_uri)
    (tmp_path / "reading").mkdir()
    library("file").save(tmp_path / "reading" / "1")
    assert read_library("reading/1", mlflow_uri) == library("file")

"""The log of versions: what is kept, and what damage is told."""

import json
from pathlib import Path

import pytest

from flex_dspy.core.errors import LibraryFormatError
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary

LIBRARY = ExperienceLibrary([Experience(zone="golden", method="m")], task="t", parent="p" * 64)
MEASURED = {"accuracy": 0.5, "accuracy_low": 0.25, "accuracy_high": 0.75, "n": 8.0}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "library.json"


def lines(path: Path) -> list[str]:
    return path.with_suffix(".versions.jsonl").read_text().splitlines()


def test_versions_are_kept_between_processes(path: Path) -> None:
    log = VersionLog(path, "run")
    first, second = log.add(10, LIBRARY, {}), log.add(20, LIBRARY, MEASURED)
    again = VersionLog(path, "run")
    assert again.records == [first, second]
    assert again.get(20) == second
    assert again.get(15) is None
    assert second.hash == LIBRARY.hash
    assert second.parent == LIBRARY.parent
    assert second.entries == 1
    assert second.metrics == MEASURED


def test_lines_of_other_runs_are_kept_and_not_ours(path: Path) -> None:
    VersionLog(path, "other").add(5, LIBRARY, MEASURED)
    theirs = lines(path)
    ours = VersionLog(path, "ours")
    assert ours.records == []
    assert ours.get(5) is None
    ours.add(5, LIBRARY, {})
    assert lines(path)[:1] == theirs
    assert [json.loads(line)["run"] for line in lines(path)] == ["other", "ours"]
    assert len(VersionLog(path, "other").records) == 1


DAMAGES = ["{", "[]", "7", '"text"', "null", "", '{"run": "r", "step": 1}', '{"step": 1}']


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_line_is_named(path: Path, damage: str) -> None:
    log = VersionLog(path, "run")
    log.add(1, LIBRARY, {})
    good = lines(path)[0]
    path.with_suffix(".versions.jsonl").write_text(f"{good}\n{damage}\n{good}\n")
    with pytest.raises(LibraryFormatError) as caught:
        VersionLog(path, "run")
    assert caught.value.place == "line 2"
    assert caught.value.path == path.with_suffix(".versions.jsonl")


@pytest.mark.parametrize("missing", ["run", "step", "hash", "parent", "sizes", "precedents", "metrics"])
def test_a_line_without_one_of_its_keys_is_named(path: Path, missing: str) -> None:
    VersionLog(path, "run").add(1, LIBRARY, {})
    line = json.loads(lines(path)[0])
    del line[missing]
    path.with_suffix(".versions.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(LibraryFormatError, match="line 1"):
        VersionLog(path, "run")


def test_a_file_that_is_no_text_is_named(path: Path) -> None:
    path.with_suffix(".versions.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LibraryFormatError):
        VersionLog(path, "run")


def test_without_a_file_the_log_is_in_memory() -> None:
    log = VersionLog(None, "run")
    log.add(3, LIBRARY, MEASURED)
    assert log.get(3) is log.records[0]


def test_a_version_as_a_line_and_as_a_point(path: Path) -> None:
    log = VersionLog(path, "run")
    assert "accuracy" not in log.add(3, ExperienceLibrary(), {}).text()
    assert "empty library" in log.records[0].text()
    record = log.add(4, LIBRARY, MEASURED)
    assert record.text().endswith("1 golden  accuracy 50.0% [25.0%, 75.0%] on 8")
    point = record.curve_point()
    assert (point.examples, point.accuracy, point.low, point.high, point.n) == (4, 0.5, 0.25, 0.75, 8)
    with pytest.raises(KeyError):
        log.records[0].curve_point()

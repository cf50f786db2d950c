"""Run folders: begun, continued, moved aside, listed, repeated and deleted."""

import json
import os
import tomllib
from pathlib import Path

import pytest

from flex_dspy.core.errors import ConfigurationError, RunError
from flex_dspy.learning.run_folder import RunFolder, list_runs
from flex_dspy.learning.toml import toml_text
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.experience import Commit, Experience, Insert
from flex_dspy.libraries.failures import Failure, FailureLog
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.locking import learning_into
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.models.spending import Ledger

LESSON = Commit("3f2a", 1, (Insert(Experience("golden", "Count the complement.")),))


def begin(path: Path, run: str = "3f2a", **options) -> RunFolder:
    folder = RunFolder(path)
    folder.open(run, task="dice", **options).commit([LESSON])
    folder.write_note(run, {"task": "dice", "seed": 1})
    return folder


def test_a_run_is_continued_where_it_stood(tmp_path):
    begin(tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert len(folder.open("3f2a", task="dice", resume=True).library) == 1
    assert folder.moved_to is None


def test_another_run_is_refused_and_changes_nothing(tmp_path):
    folder = begin(tmp_path / "run")
    before = {path: path.read_bytes() for path in folder.path.iterdir()}
    with pytest.raises(RunError, match="another run"):
        RunFolder(folder.path).open("77", task="dice")
    assert {path: path.read_bytes() for path in folder.path.iterdir()} == before


def test_there_must_be_a_run_to_resume(tmp_path):
    with pytest.raises(RunError, match="no run to resume"):
        RunFolder(tmp_path / "run").open("3f2a", resume=True)
    assert not (tmp_path / "run").exists()


def test_a_fresh_run_moves_the_old_one_aside(tmp_path):
    begin(tmp_path / "run")
    for number in (1, 2):
        folder = begin(tmp_path / "run", "77", fresh=True)
        assert folder.moved_to == tmp_path / f"run.{number}.bak"
        assert len(LibraryStore(folder.moved_to / "library.json").library) == 1
    assert RunFolder(tmp_path / "run").note().run == "77"


def test_a_new_run_starts_from_a_library_and_a_resumed_one_does_not(tmp_path):
    start = ExperienceLibrary([Experience("golden", "Known before.")], task="dice")
    begin(tmp_path / "run", start_from=start)
    again = RunFolder(tmp_path / "run").open("3f2a", task="dice", start_from=start)
    assert {entry.method for entry in again.library} == {"Known before.", "Count the complement."}


def test_a_library_may_lie_elsewhere(tmp_path):
    folder = RunFolder(tmp_path / "run", library=tmp_path / "dice.json")
    folder.open("3f2a", task="dice").commit([LESSON])
    folder.write_note("3f2a", {})
    assert len(LibraryStore(tmp_path / "dice.json").library) == 1
    fresh = RunFolder(tmp_path / "run", library=tmp_path / "dice.json").open("77", task="dice", fresh=True)
    assert len(fresh.library) == 0
    folder.write_note("3f2a", {})
    folder.delete()
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock" and "bak" not in path.name) == []


def test_a_run_is_found_with_the_library_that_lies_elsewhere(tmp_path):
    folder = RunFolder(tmp_path / "run", library=tmp_path / "dice.json")
    folder.open("3f2a", task="dice").commit([LESSON])
    folder.write_note("3f2a", {})
    assert RunFolder.of_run(folder.path).library == tmp_path / "dice.json"
    assert list_runs(tmp_path) == [folder.summary()]
    assert folder.summary().changed is not None


def test_a_run_that_has_not_begun_starts_from_one_library_only(tmp_path):
    start, own = ExperienceLibrary([Experience("golden", "Known before.")]), tmp_path / "dice.json"
    ExperienceLibrary().save(own)
    with pytest.raises(ConfigurationError, match="leave --start-from out"):
        RunFolder(tmp_path / "run", library=own).open("3f2a", start_from=start)
    assert len(RunFolder(tmp_path / "run", library=own).open("3f2a", start_from=start, fresh=True).library) == 1


def test_notes_hold_no_secret_and_are_their_owners_alone(tmp_path):
    folder = RunFolder(tmp_path / "run")
    command = {"api_key": "sk-a-very-secret-key", "lm": "openai/x", "out": Path("here"), "seed": None}
    folder.write_note("3f2a", command, {"training": {"name": "dice", "size": 3}})
    written = [folder.note_file, folder.configuration]
    assert all("very-secret" not in path.read_text() for path in written)
    if os.name != "nt":
        assert {path.stat().st_mode & 0o777 for path in written} == {0o600}
    assert folder.note().data == {"training": {"name": "dice", "size": 3}}
    assert tomllib.loads(folder.configuration.read_text())["lm"] == "openai/x"


def test_runs_are_listed_with_what_they_learned_and_a_damaged_one_with_its_problem(tmp_path):
    folder = begin(tmp_path / "good")
    library = LibraryStore(folder.library).checkpoint()
    VersionLog(folder.library, "3f2a").add(7, library, {"accuracy": 0.5, "n": 4.0})
    FailureLog(folder.library, "3f2a").add([Failure("a", "TimeoutError", 2)])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "run.json").write_text("{")
    (tmp_path / "no run").mkdir()
    bad, good = list_runs(tmp_path)
    assert (good.folder, good.run, good.task) == (tmp_path / "good", "3f2a", "dice")
    assert (good.versions, good.newest.step, good.failures, good.problem) == (1, 7, 1, "")
    assert good.changed is not None
    assert "run.json does not describe a run" in bad.problem
    assert list_runs(tmp_path / "nowhere") == []


def test_only_a_run_is_deleted(tmp_path):
    folder = begin(tmp_path / "run")
    folder.delete()
    assert not folder.path.exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(RunError, match="does not describe a run"):
        RunFolder(tmp_path / "mine").delete()
    assert (tmp_path / "mine").exists()


def test_spending_goes_on_from_what_was_spent(tmp_path):
    folder = begin(tmp_path / "run")
    folder.ledger(Ledger(budget_tokens=100)).charge("actor", "m", {"prompt_tokens": 3, "completion_tokens": 4})
    resumed = folder.ledger(Ledger(budget_tokens=50))
    assert (resumed.total.tokens, resumed.budget_tokens) == (7, 50)


def test_what_is_written_as_toml_is_read_back():
    values = {
        "text": 'a "quoted" \\ line\nand \u2603 \U0001f600',
        "number": 1.5,
        "whole": 3,
        "no": False,
        "many": [1e-9, "b", {"c": 1}],
        "odd key": "x",
        "table": {"inner": {"deep": [True]}, "value": 1},
    }
    assert tomllib.loads(toml_text({**values, "nothing": None})) == json.loads(json.dumps(values))


def test_a_folder_that_holds_more_than_the_run_is_not_deleted(tmp_path):
    folder = begin(tmp_path / "run")
    (folder.path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match=r"more than the run: thesis\.tex"):
        folder.delete()
    assert (folder.path / "thesis.tex").exists()
    (folder.path / "thesis.tex").unlink()
    (folder.path / ".library.json.3f2a.tmp").touch()  # of a run that was killed
    folder.delete()
    assert not folder.path.exists()


def test_a_library_of_another_name_in_the_folder_is_of_the_run(tmp_path):
    folder = RunFolder(tmp_path / "run", library=tmp_path / "run" / "dice.json")
    folder.open("3f2a", task="dice").commit([LESSON])
    folder.write_note("3f2a", {})
    folder.delete()
    assert not folder.path.exists()


@pytest.mark.parametrize("was_copied", [True, False])
def test_a_run_that_was_killed_before_its_note_starts_from_the_same_library(tmp_path, was_copied):
    start = ExperienceLibrary([Experience("golden", "Known before.")], task="dice")
    RunFolder(tmp_path / "run").open("3f2a", task="dice", start_from=start if was_copied else None)
    again = RunFolder(tmp_path / "run").open("3f2a", task="dice", start_from=start)
    assert again.library.hash == start.hash
    other = ExperienceLibrary([Experience("golden", "Another start.")], task="dice")
    with pytest.raises(ConfigurationError, match="leave --start-from out"):
        RunFolder(tmp_path / "run").open("3f2a", task="dice", start_from=other)


def test_a_file_is_no_folder_of_a_run(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(RunError, match="cannot be a run's folder"):
        RunFolder(tmp_path / "run").open("3f2a")


def test_a_run_at_work_is_not_deleted(tmp_path):
    folder = begin(tmp_path / "run")
    with learning_into(folder.library), learning_into(folder.library):
        with pytest.raises(RunError, match="at work"):
            RunFolder.of_run(folder.path).delete()
        assert len(LibraryStore(folder.library).library) == 1
    RunFolder.of_run(folder.path).delete()
    assert not folder.path.exists()

"""The commands, as a person types them."""

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from flex_dspy import cli
from flex_dspy.cli import main
from flex_dspy.commands import arguments
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs.strategies import STRATEGIES
from flex_dspy.tasks.names import task_names
from flex_dspy.tasks.registry import TASKS, get_task
from flex_dspy.tracking.registry import load_library

pytestmark = pytest.mark.usefixtures("shared_chemists")

SMALL = ["--study", "--train-samples", "60", "--val-samples", "20", "--checkpoint-every", "30", "--quiet"]


def learn(out: Path, *more: str, tracking: tuple[str, ...] = ("--no-tracking",)) -> int:
    return main(["learn", "retro", *SMALL, "--out", str(out), *tracking, *more])


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run."""
    out = tmp_path_factory.mktemp("run") / "out"
    assert learn(out) == 0
    return out


def test_learn_leaves_a_library_a_figure_and_its_versions(learned: Path) -> None:
    library = ExperienceLibrary.load(learned / "library.json")
    assert library.task == "uspto50k"
    assert library.sizes()["golden"] > 10
    assert (learned / "library.png").read_bytes().startswith(b"\x89PNG")
    versions = [json.loads(line) for line in (learned / "library.versions.jsonl").read_text().splitlines()]
    assert [version["step"] for version in versions] == [0, 30, 60]
    assert versions[-1]["metrics"]["accuracy"] > versions[0]["metrics"]["accuracy"]


def test_the_same_command_again_shows_what_was_learned(learned, capsys) -> None:
    before = (learned / "library.json").stat().st_mtime_ns
    assert learn(learned) == 0
    assert (learned / "library.json").stat().st_mtime_ns == before
    assert "60 examples" in capsys.readouterr().out


def test_other_settings_do_not_go_into_the_same_folder(learned, capsys) -> None:
    assert learn(learned, "--seed", "1") == 1
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--no-retrieve"], ["--rounds", "2"], ["--k", "5"]])
def test_what_changes_the_library_makes_another_run(learned, capsys, more) -> None:
    assert learn(learned, *more) == 1
    assert "another run" in capsys.readouterr().err


def test_a_run_on_top_of_a_library_is_another_run_and_keeps_its_entries(learned, tmp_path, capsys) -> None:
    start = str(learned / "library.json")
    assert learn(learned, "--start-from", start) == 1
    assert "another run" in capsys.readouterr().err
    assert learn(tmp_path / "more", "--start-from", start, "--seed", "7") == 0
    before, after = (ExperienceLibrary.load(f / "library.json") for f in (learned, tmp_path / "more"))
    assert {entry.id for entry in before} <= {entry.id for entry in after}
    assert after.seen == before.seen + 60


def test_learn_measures_on_what_it_learns_from_only_if_allowed(learned, tmp_path) -> None:
    for overlap, n in (("drop", 0), ("allow", 20)):
        out = tmp_path / overlap
        code = learn(out, "--val", "train", "--train-samples", "465", "--checkpoint-every", "500", "--overlap", overlap)
        assert code == (0 if n else 1)
        if n:
            line = json.loads((out / "library.versions.jsonl").read_text().splitlines()[-1])
            assert line["metrics"]["n"] == n


def test_a_run_writes_the_file_that_repeats_it(learned: Path) -> None:
    """Every option of the run stands in it."""
    given = cli.parse(["learn", "retro", *SMALL, "--out", str(learned), "--no-tracking"])
    again = cli.parse(["learn", "--config", str(learned / "run.toml")])
    options, repeated = given.keywords["options"], again.keywords["options"]
    assert again.args == ("uspto50k",)
    assert replace(repeated, config=None) == options
    assert (learned / "run.toml").stat().st_mode & 0o777 == 0o600


def test_learn_goes_into_the_library_that_is_named(learned, tmp_path, capsys) -> None:
    library = tmp_path / "new" / "chemist.json"
    assert learn(tmp_path / "first", "--library", str(library)) == 0
    assert library.read_bytes() == (learned / "library.json").read_bytes()
    assert not (tmp_path / "first" / "library.json").exists()
    assert learn(tmp_path / "second", "--library", str(library), "--seed", "7") == 0  # on top, as in Python
    first, both = (ExperienceLibrary.load(path) for path in (learned / "library.json", library))
    assert {entry.id for entry in first} <= {entry.id for entry in both}
    assert both.seen == first.seen + 60
    start = str(learned / "library.json")
    assert learn(tmp_path / "third", "--library", str(library), "--start-from", start) == 1
    assert "leave --start-from out" in capsys.readouterr().err
    assert main(["runs", "list", str(tmp_path), "--json"]) == 0
    assert {run["versions"] for run in json.loads(capsys.readouterr().out)} == {6}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--library", "."], "is a folder"),
        (["--library", "flex-uspto50k@best"], "say --start-from flex-uspto50k@best"),
        (["--library", "file/below.json"], "choose another with --library"),
        (["--library", "file"], "no library file of this project"),
        (["--start-from", "absent.json"], "there is no such file"),
    ],
)
def test_a_library_that_cannot_be_used_is_refused_before_anything_is_loaded(words, complaint, tmp_path) -> None:
    (tmp_path / "file").touch()
    code = "import sys; from flex_dspy.cli import main; print(main(sys.argv[1:]), 'dspy' in sys.modules)"
    command = [sys.executable, "-c", code, "learn", "uspto50k", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == ["1", "False"]
    assert complaint in done.stderr.lower()
    assert len(done.stderr.splitlines()) == 1


def test_runs_are_listed_shown_and_deleted(learned, tmp_path, capsys, monkeypatch) -> None:
    run = tmp_path / "run"
    shutil.copytree(learned, run)
    assert main(["runs", "list", str(tmp_path)]) == 0
    line = capsys.readouterr().out.splitlines()[1].split()
    assert line[:2] == [str(run), "uspto50k"]
    assert line[-3] == "3"
    assert main(["runs", "show", str(run)]) == 0
    said = capsys.readouterr().out
    assert "checkpoint_every   30" in said
    assert said.count("version ") == 3
    monkeypatch.setattr("sys.stdin", io.StringIO("no\n"))
    assert main(["runs", "delete", str(run)]) == 0
    assert run.exists()
    assert main(["runs", "delete", str(run)]) == 1  # nobody answers any more
    assert main(["runs", "delete", str(run), "--yes"]) == 0
    assert not run.exists()
    assert main(["runs", "delete", str(tmp_path), "--yes"]) == 1
    assert tmp_path.exists()


def test_fresh_moves_what_was_there_aside(tmp_path) -> None:
    out = tmp_path / "out"
    assert learn(out) == 0
    assert learn(out, "--fresh", "--seed", "1") == 0
    first, second = (ExperienceLibrary.load(f / "library.json") for f in (tmp_path / "out.1.bak", out))
    assert first != second


def test_resume_needs_a_run(tmp_path, capsys) -> None:
    assert learn(tmp_path / "none", "--resume") == 1
    assert "no run to resume" in capsys.readouterr().err


def test_eval_keeps_a_record_and_a_page_an_example(learned, tmp_path, capsys) -> None:
    library = str(learned / "library.json")
    out = tmp_path / "eval"
    command = ["eval", "retro", "--library", library, "--samples", "25", "--out", str(out), "--quiet"]
    assert main(command) == 0
    records = [json.loads(line) for line in (out / "with-library" / "records.jsonl").read_text().splitlines()]
    assert len(records) == 25
    assert {"problem", "reference", "outputs", "score", "feedback", "shown"} <= records[0].keys()
    page = (out / "with-library" / "logs" / f"{records[0]['example_id']}.md").read_text()
    assert records[0]["problem"] in page
    table = capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["with library"]["n"] == 25
    assert "no library" in captured.err
    assert "no library" in table
    assert "95% interval" in table
    accuracy = json.loads((out / "with-library" / "metrics.json").read_text())["accuracy"]
    assert accuracy == sum(record["score"] for record in records) / 25


def test_without_retrieval_the_library_is_of_no_use(learned, tmp_path) -> None:
    out = tmp_path / "eval"
    command = ["eval", "retro", "--no-retrieve", "--samples", "10", "--out", str(out), "--quiet"]
    assert main(command) == 0
    assert json.loads((out / "no-library" / "metrics.json").read_text())["accuracy"] == 0


@pytest.mark.parametrize(("overlap", "code"), [("drop", 1), ("refuse", 1), ("allow", 0)])
def test_examples_that_were_learned_from_do_not_count(learned, tmp_path, capsys, overlap, code) -> None:
    library, out, rows = learned / "library.json", tmp_path / "eval", tmp_path / "rows.jsonl"
    cases = [case for entry in ExperienceLibrary.load(library) for case in entry.precedents][:12]
    rows.write_text("".join(json.dumps({"question": c.problem, "answer": c.answer}) + "\n" for c in cases))
    command = ["eval", "retro", "--library", str(library), "--data", str(rows), "--out", str(out), "--quiet"]
    assert main([*command, "--no-baseline", "--overlap", overlap]) == code
    if code:
        assert "rows.jsonl" in capsys.readouterr().err
    else:
        assert json.loads((out / "with-library" / "metrics.json").read_text())["n"] == 12


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["learn", "gsm8k"], "no offline expert for this task yet"),
        (["eval", "retro"], "--library"),
        (["eval", "retro", "--library", "absent.json"], "absent.json"),
        (["learn", "retro", "--train", "absent.csv"], "absent.csv"),
        (["learn", "retro", "--lm", "offline/alchemist"], "alchemist"),
    ],
)
def test_what_cannot_work_is_one_clear_line(command, complaint, capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command) == 1
    error = capsys.readouterr().err
    assert complaint in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_a_version_in_mlflow_is_a_library_by_name(mlflow_uri, tmp_path) -> None:
    tracking = ("--tracking-uri", mlflow_uri, "--experiment", "cli")
    assert learn(tmp_path / "run", tracking=tracking) == 0
    library = ExperienceLibrary.load(tmp_path / "run" / "library.json")
    assert load_library("flex-uspto50k@newest", tracking_uri=mlflow_uri) == library
    command = ["eval", "retro", "--library", "flex-uspto50k@best", "--tracking-uri", mlflow_uri]
    out = tmp_path / "eval"
    assert main([*command, "--samples", "10", "--quiet", "--no-baseline", "--out", str(out)]) == 0
    assert (out / "with-library" / "records.jsonl").exists()
    again = learn(tmp_path / "more", "--start-from", "flex-uspto50k@best", "--seed", "7", tracking=tracking)
    assert again == 0
    assert len(ExperienceLibrary.load(tmp_path / "more" / "library.json")) >= len(library)


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    shown = [sys.executable, "-m", "flex_dspy.cli", "library", "show", "exps/uspto50k.json", "--limit", "200"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(shown, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_the_parser_knows_what_it_does_not_import() -> None:
    for name in task_names():
        assert name in (get_task(name).name, *get_task(name).aliases)
    assert set(task_names()) == set(TASKS)
    assert get_args(arguments.Strategy) == STRATEGIES
    assert get_args(arguments.Role) == arguments.ROLES


def test_an_evaluation_is_kept_where_nothing_can_be_written_beside_the_library(
    learned, tmp_path, capsys, caplog
) -> None:
    library = tmp_path / "library.json"
    library.write_bytes((learned / "library.json").read_bytes())
    library.with_suffix(".outcomes.jsonl").mkdir()
    out = tmp_path / "eval"
    command = ["eval", "retro", "--library", str(library), "--samples", "10", "--out", str(out), "--quiet"]
    assert main([*command, "--no-baseline"]) == 0
    assert len((out / "with-library" / "records.jsonl").read_text().splitlines()) == 10
    assert "outcomes are not kept" in caplog.text


def test_an_evaluation_in_which_nothing_was_answered_is_no_success(capsys, caplog, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    lesson = Experience("golden", "Count the complement.")
    ExperienceLibrary([lesson], task="aime").save("other.json")
    command = ["eval", "uspto50k", "--val-samples", "2", "--library", "other.json", "--no-baseline", "--no-tracking"]
    assert main([*command, "--actor", "react"]) == 1
    said = capsys.readouterr().err
    assert "the library was learned on aime, and is measured on uspto50k" in caplog.text
    assert "every example ended in an error, the first in: LMInvalidRequestError" in said


def test_a_place_that_takes_no_library_is_said_at_once(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["learn", "uspto50k", "--library", "/proc/x", "--train-samples", "2", "--val-samples", "2"]) == 1
    assert "/proc/x" in capsys.readouterr().err

"""What cannot work is said in one line, before anything is fetched or paid for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flex_dspy import cli
from flex_dspy.cli import main
from flex_dspy.commands.actions import rescore
from flex_dspy.core.errors import BudgetError, TrackingError
from flex_dspy.libraries.library import ExperienceLibrary

MODEL = ["--lm", "openai/gpt-4o"]


@pytest.fixture(autouse=True)
def _no_data(tmp_path, monkeypatch):
    """In a folder of its own; whoever fetches data has come too far."""
    monkeypatch.chdir(tmp_path)
    ExperienceLibrary(task="aime").save("library.json")
    Path("file").write_text("")

    def load(self, *args, **kwargs):
        raise AssertionError("data was fetched")

    monkeypatch.setattr("flex_dspy.commands.actions.sources.examples", load)


COMMANDS = [
    ["learn", "aime"],
    ["eval", "aime", "--library", "library.json"],
    ["compare", "library.json", "none"],
    ["library", "value", "library.json", "--task", "aime", "--calls", "8"],
]


def complaint(capsys) -> str:
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1, said
    assert said[0].startswith("flex-dspy: ")
    return said[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_key_is_said_before_data_is_fetched(command, capsys) -> None:
    assert main([*command, *MODEL]) == 1
    said = complaint(capsys)
    assert "there is no key for openai/gpt-4o" in said
    assert "OPENAI_API_KEY" in said
    assert sorted(path.name for path in Path().iterdir()) == ["file", "library.json"]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_provider_is_said_before_data_is_fetched(command, capsys) -> None:
    assert main([*command, "--lm", "opnai/gpt-4o"]) == 1
    assert "no provider 'opnai'" in complaint(capsys)


@pytest.mark.parametrize("out", ["file", "file/below", "file/further/below"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_place_that_cannot_be_written_to_is_said_before_data_is_fetched(command, out, capsys, monkeypatch) -> None:
    if command[0] == "library" and out == "file":
        Path("file").unlink()
        Path("file").mkdir()
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    assert main([*command, *MODEL, "--out", out]) == 1
    assert "file" in complaint(capsys)


@pytest.mark.parametrize("command", COMMANDS[:3])
def test_a_folder_without_the_right_to_write_is_said(command, capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as root, who has every right
    assert main([*command, *MODEL]) == 1
    assert str(tmp_path) in complaint(capsys)


@pytest.mark.parametrize("action", ["merge", "import", "export", "export --format json"])
def test_a_file_that_cannot_be_made_is_said(action, capsys) -> None:
    name, *options = action.split()
    assert main(["library", name, "library.json", "-o", "file/below.json", *options]) == 1
    assert "file" in complaint(capsys)


def test_a_dry_run_needs_no_key(capsys) -> None:
    with pytest.raises(AssertionError, match="data was fetched"):
        cli.call(["learn", "aime", *MODEL, "--dry-run"])


def raising(error: BaseException):
    def run(folder: Path, metric: str, *, as_json: bool) -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (FileNotFoundError(2, "No such file or directory", "a/b"), 1, "a/b: No such file or directory"),
        (OSError(18, "Invalid cross-device link", "a", None, "b"), 1, "a and b: Invalid cross-device link"),
        (OSError(28, "No space left on device"), 1, "OSError: [Errno 28] No space left on device"),
        (
            ConnectionError("no route to http://bob:hunter2@host/v1?x=y"),
            1,
            "ConnectionError: no route to http://host/v1",
        ),
        (BrokenPipeError(32, "Broken pipe"), 1, "BrokenPipeError: [Errno 32] Broken pipe"),  # of a server, not ours
        (BudgetError("spent"), 3, "spent"),
        (TrackingError("later"), 4, "later"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_every_error_has_its_line_and_its_code(error, code, said, capsys, monkeypatch) -> None:
    monkeypatch.setattr(rescore, "run", raising(error))
    assert main(["rescore", "x", "--metric", "y"]) == code
    assert complaint(capsys).startswith(f"flex-dspy: {said}")


def test_a_fault_of_the_program_is_said_without_secrets(capsys, monkeypatch) -> None:
    monkeypatch.setattr(rescore, "run", raising(RuntimeError("at http://bob:hunter2@host")))
    assert main(["rescore", "x", "--metric", "y"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "RuntimeError: at http://host" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("closed", ["stdout", "both"])
def test_a_reader_that_is_gone_is_no_error(closed: str, unbuffered: str) -> None:
    command = [sys.executable, "-m", "flex_dspy.cli", "library", "show", "library.json", "--limit", "9"]
    read, write = os.pipe()
    os.close(read)
    try:
        error = write if closed == "both" else subprocess.PIPE
        done = subprocess.run(command, stdout=write, stderr=error, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
    finally:
        os.close(write)
    assert done.returncode == 0
    assert not done.stderr


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["runs", "list", "nowhere"], "there is no folder nowhere"),
        (["ui", "--tracking-uri", "bogus://x"], "bogus://x is no tracking store: MLflow knows sqlite"),
        (["learn", "uspto50k", "--out", ""], "--out is empty"),
    ],
)
def test_what_cannot_be_is_said_at_once(argv, said, capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 1
    assert said in complaint(capsys)

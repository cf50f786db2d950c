"""Options from the command line, the environment and a file; and wrong ones."""

from pathlib import Path
from typing import Any

import pytest

import flex_dspy.cli as cli
from flex_dspy.commands.options.learn import LearnOptions

TOML = """
rounds = 2
lm = "openai/of-file"
cache = false
temperature = ["0.5", "critic=0"]
library = "chemist.json"

[learn]
window = 7

[eval]
samples = 3
"""
YAML = """
rounds: 2
lm: openai/of-file
cache: false
temperature: ["0.5", "critic=0"]
library: chemist.json
learn: {window: 7}
eval: {samples: 3}
"""


def options(*words: str) -> Any:
    """The options that a command is called with."""
    return cli.parse(["learn", "aime", *words]).keywords.get("options", LearnOptions())


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        cli.main(list(words))
    assert stopped.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    return said[0]


@pytest.mark.parametrize(("name", "text"), [("run.toml", TOML), ("run.yaml", YAML), ("run.yml", YAML)])
def test_a_file_holds_options_for_all_commands_and_for_one(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    read = options("--config", str(tmp_path / name))
    assert (read.learning.rounds, read.learning.window, read.models.lm) == (2, 7, "openai/of-file")
    assert (read.models.cache, read.models.temperature) == (False, ("0.5", "critic=0"))
    assert read.run.library == Path("chemist.json")  # also the name of a command


def test_the_command_line_wins_over_the_environment_and_that_over_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.toml").write_text(TOML)
    monkeypatch.setenv("FLEX_DSPY_CONFIG", str(tmp_path / "run.toml"))
    monkeypatch.setenv("FLEX_DSPY_LM", "openai/of-all")
    monkeypatch.setenv("FLEX_DSPY_LEARN_LM", "openai/of-learn")
    monkeypatch.setenv("FLEX_DSPY_ROUNDS", "3")
    monkeypatch.setenv("FLEX_DSPY_QUIET", "1")
    read = options("--rounds", "4")
    assert (read.models.lm, read.learning.rounds, read.learning.window) == ("openai/of-learn", 4, 7)
    assert read.quiet
    monkeypatch.delenv("FLEX_DSPY_LEARN_LM")
    assert options().models.lm == "openai/of-all"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ronds = 2", 'Unknown option: "[ronds]" from {}. Did you mean --rounds?'),
        ('rounds = "x"', 'unable to convert "x" into int'),
        ("rounds = 0", "--rounds: must be >= 1, got 0"),
        ("rounds = 2.5", 'unable to convert "2.5" into int'),
        ("rounds = [1, 2]", "Invalid value for [rounds] from {}"),
        ("seed = 0.5", 'unable to convert "0.5" into int'),
    ],
)
def test_a_wrong_value_in_a_file_is_said_with_the_file(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    assert said.format(path) in complaint(capsys, "learn", "aime", "--config", str(path))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("absent.toml", None, "there is no such file"),
        ("run.toml", "rounds = 1 2", "line 1"),
        ("run.yaml", "- 1", "must hold options by name"),
        ("run.yaml", "a: [", "line 1"),
        ("run.yaml", "learn: 3", "learn must be a table of options"),
        ("run.yaml", "1: 2", "names of options must be text, got 1"),
        ("run.yaml", "rounds:", "rounds has no value"),
        ("run.toml", "temperature = {critic = 0.2}", "temperature is a table, and no command has that name"),
        ("run.toml", "[learn.eval]", "eval is a table, and no command has that name"),
        ("run.ini", "", "must end in .toml, .yaml, .yml"),
    ],
)
def test_a_file_that_cannot_be_read_is_said(
    name: str, text: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    assert cli.main(["learn", "aime", "--config", str(tmp_path / name)]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["learn", "aime", "--ronds", "3"], "Did you mean --rounds? (see flex-dspy learn --help)"),
        (["lern", "aime"], 'Did you mean "learn"?'),
        (["xyz"], "doctor, ... (see flex-dspy --help)"),
        (["learn", "aime", "--window", "3.7"], '--window: unable to convert "3.7" into int'),
        (["library", "serch", "x"], 'Did you mean "search"?'),
        (["eval"], "requires an argument"),
        (["learn", "aime", "--rounds", "0"], "--rounds: must be >= 1, got 0"),
        (["learn", "aime", "--actor", "cott"], 'Did you mean "cot"?'),
        (["learn", "aime", "--fresh", "--resume"], "--resume and --fresh exclude each other"),
        (["learn", "aime", "--temperature", "citric=1"], "--temperature: roles are actor, verifier, critic, updater"),
        (["learn", "aime", "--max-tokens", "critic=many"], "--max-tokens: must be a number, or ROLE=NUMBER"),
        (["learn", "aime", "--max-tokens", "0"], "--max-tokens: must be a number, or ROLE=NUMBER"),
        (["learn", "aime", "--price", "x=1"], "--price: must be MODEL=PROMPT,COMPLETION[,CACHED]"),
        (["learn", "aime", "--instructions", "critic"], "--instructions: must be NAME=VALUE"),
        (["library", "edit", "x.json", "id", "--pin", "--remove"], "--remove and --pin exclude each other"),
        (["library", "merge", "a.json"], "--out requires an argument"),
    ],
)
def test_wrong_arguments_are_one_line_with_the_nearest_right_one(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in complaint(capsys, *words)


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == version("flex-dspy")


def test_completion_is_installed_for_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/bash")
    assert cli.main(["--install-completion"]) == 0
    files = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert any("--start-from" in text and "prune" in text for text in files)


def test_a_file_may_hold_tables_of_all_commands(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("[learn]\nwindow = 7\n[library.value]\ncalls = 4\n[runs.list]\njson = true\n")
    assert options("--config", str(tmp_path / "run.toml")).learning.window == 7

"""Every ``flex-dspy`` command line of the pages is one that the parser takes."""

import contextlib
import re
import shlex

import pytest
from cyclopts import CycloptsError, MissingArgumentError

from flex_dspy.cli import parse
from tests.documentation.pages import PAGES, blocks, name_of

LINES = [
    (name_of(path), line.strip())
    for path in PAGES
    for block in blocks(path, "bash")
    for line in block.text.splitlines()
    if "flex-dspy " in line and "pip install" not in line.partition("flex-dspy ")[0].rpartition("&&")[2]
]


def arguments(line):
    """The arguments of the command: what follows its name, without a remark."""
    return shlex.split(line.partition("flex-dspy ")[2], comments=True)


@pytest.fixture(autouse=True)
def _files(monkeypatch, tmp_path):
    """Files that are read while arguments are parsed."""
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, tmp_path / "exps" / "uspto50k-6c82f41b30ba"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.toml").write_text('task = "uspto50k"\n', encoding="utf-8")


@pytest.mark.parametrize(("page", "line"), LINES)
def test_the_parser_takes_it(page, line):
    assert callable(parse(arguments(line))), page


TEXT = [
    (name_of(path), command)
    for path in PAGES
    for command in re.findall(r"`(flex-dspy [a-z][^`]*)`", path.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("page", "command"), TEXT)
def test_commands_in_sentences_exist(page, command):
    """They may leave out arguments; what they name must exist."""
    words = ["aime" if word == "TASK" else word for word in arguments(command) if word not in ("...", "COMMAND")]
    with contextlib.suppress(MissingArgumentError):
        assert callable(parse(words)), page


def test_an_unknown_option_or_command_is_found():
    for line in ("flex-dspy learn aime --colour red", "flex-dspy library shake a.json"):
        with pytest.raises(CycloptsError):
            parse(arguments(line))

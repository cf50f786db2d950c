"""Tables in a terminal and in a pipe."""

import re

import pytest

from flex_dspy.commands.actions.tables import print_table
from flex_dspy.core.tables import build_table, table_text

LONG = "a text of many words that " * 10
ROWS = [("one", LONG, 1), ("two", "short", 1234)]


def narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_in_a_pipe_nothing_is_cut_off_wrapped_or_coloured(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(build_table(["name", "text", "n"], ROWS, left=2))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    lines = out.splitlines()
    assert len(lines) == 3
    assert LONG.rstrip() in lines[1]
    assert len(lines[1]) == len(lines[2])  # numbers are aligned to the right
    assert lines[2].startswith("two   short ")


def test_in_a_terminal_texts_are_wrapped_and_numbers_are_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow_terminal(monkeypatch)
    print_table(build_table(["name", "text", "n"], ROWS, left=2))
    out = capsys.readouterr().out
    assert "\x1b[1m" in out
    lines = re.sub(r"\x1b\[\d+m", "", out).splitlines()
    assert max(map(len, lines)) <= 60
    assert sum(line.count("words") for line in lines) == 10
    assert "1234" in lines[-1]


def test_a_table_that_does_not_fit_a_terminal_is_printed_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow_terminal(monkeypatch)
    numbers = [str(10**9 + place) for place in range(9)]
    print_table(build_table(["", *numbers], [("x", *numbers)]))
    out = capsys.readouterr().out
    assert all(out.count(number) == 2 for number in numbers)


def test_a_cell_is_shown_and_not_obeyed() -> None:
    text = table_text(build_table(["[bold]"], [("\x1b[2J[red]x[/red]",), ("http://bob:hunter2@host",)]))
    assert text.splitlines() == ["[bold]", "\\u001b[2J[red]x[/red]", "http://host"]

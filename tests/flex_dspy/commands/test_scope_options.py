"""The commands that hand a library out: nothing of a scope that is not named."""

from pathlib import Path

import pytest

from flex_dspy import cli
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary

LIBRARY = ExperienceLibrary(
    [Experience("golden", f"Dice of {scope or 'all'}.", scope=scope) for scope in ("", "ours", "theirs")], task="dice"
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    LIBRARY.save("a.json")


@pytest.mark.parametrize("scopes", [(), ("ours",)])
@pytest.mark.parametrize(
    "command",
    [
        "export a.json -o out",
        "export a.json --format json -o out",
        "export a.json --as skill -o out",
        "push a.json PLACE",
    ],
)
def test_what_is_handed_out_holds_the_scopes_that_are_named(command: str, scopes: tuple[str, ...]) -> None:
    words = command.replace("PLACE", f"file://{Path.cwd()}/out").split()
    cli.call(["library", *words, *(word for scope in scopes for word in ("--scope", scope))])
    out = Path("out")
    files = [path for path in out.rglob("*") if path.is_file()] if out.is_dir() else [out]
    said = "".join(path.read_text() for path in files)
    assert "of all" in said
    assert ("of ours" in said) == bool(scopes)
    assert "theirs" not in said


def test_a_search_reads_the_scopes_that_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    cli.call(["library", "search", "a.json", "dice", "--scope", "ours"])
    out = capsys.readouterr().out
    assert "of ours" in out
    assert "theirs" not in out
    assert "2 of 2 entries" in out
    cli.call(["library", "show", "a.json"])  # a person looks at a file of their own
    assert "[scope theirs]" in capsys.readouterr().out
    with pytest.raises(ConfigurationError, match="no scope 'our' in the library: it has ours, theirs"):
        cli.call(["library", "search", "a.json", "dice", "--scope", "our"])


def test_a_run_learns_for_a_scope_and_an_evaluation_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--val-samples", "2", "--no-tracking", "--quiet"]
    cli.call(["learn", "retro", "--study", "--train-samples", "4", *sizes, "--write-scope", "ours", "--out", "run"])
    library = ExperienceLibrary.load("run/library.json")
    assert library.scopes == ("ours",)
    for words, shown in (([], False), (["--scope", "ours"], True)):
        command = ["eval", "retro", *sizes, "--no-baseline", "--library", "run/library.json", "--out", "out", *words]
        cli.call([*command, "--k", "1000"])
        records = Path("out/with-library/records.jsonl").read_text()
        assert any(entry.id in records for entry in library) == shown

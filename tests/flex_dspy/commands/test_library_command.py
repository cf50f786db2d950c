"""``flex-dspy library ...``, as a person types it."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flex_dspy import cli
from flex_dspy.core.errors import FlexError
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore


def lesson(name: str, zone: str = "golden", **fields: Any) -> Experience:
    case = Precedent(f"ex-{name}", "CCO" + "C" * len(name), f"answer {name}")
    made = Experience(zone, f"method {name}", (Rule(f"rule {name}", ("like so",)),), precedents=(case,))  # type: ignore[arg-type]
    return replace(made, **fields)


A = lesson("alpha", category="Algebra", shown=9, helped=5, created_at=1, updated_at=1)
B = lesson("beta", "warning", category="geometry", shown=9, hurt=4, trajectory="it went so", created_at=2, updated_at=2)
C = lesson("gamma", category="algebra", pinned=True, created_at=3, updated_at=3)
LIBRARY = ExperienceLibrary([A, B, C], task="t", runs={"r": 3})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    LIBRARY.save(tmp_path / "a.json")
    return tmp_path / "a.json"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def command(*arguments: object) -> None:
    cli.call(["library", *map(str, arguments)])


# -- looking -------------------------------------------------------------------------------------------------


def test_show_pages_and_filters(path: Path, capsys) -> None:
    command("show", path, "--limit", 1, "--category", "ALGEBRA")
    out = capsys.readouterr().out
    assert A.id in out
    assert "- rule alpha" in out
    assert "e.g. like so" in out
    assert C.id not in out
    assert "1 of 2 entries, of 3 in the library; --skip 1 for more" in out
    command("show", path, "--skip", 1, "--category", "ALGEBRA")
    assert "[pinned]" in capsys.readouterr().out
    command("show", path, "--zone", "warning", "--json")
    assert [entry["id"] for entry in json.loads(capsys.readouterr().out)] == [B.id]


def test_show_by_category_gathers_what_belongs_together(path: Path, capsys) -> None:
    command("show", path, "--by-category", "--category", "algebra")
    out = capsys.readouterr().out
    assert out.count("solved cases") == 1
    assert f"in golden {A.id[:8]}" in out
    assert "1 of 1 categories" in out
    command("show", path, "--by-category", "--limit", 1, "--json")
    (category,) = json.loads(capsys.readouterr().out)
    assert category["zones"] == {"golden": 2}
    assert ["rule alpha" in rule["text"] for rule in category["rules"]].count(True) == 1


def test_show_of_one_entry_shows_all_of_it(path: Path, capsys) -> None:
    command("show", path, "--id", B.id[:6])
    assert "it went so" in capsys.readouterr().out
    near = B.id[:-1] + ("0" if B.id[-1] != "0" else "1")
    with pytest.raises(FlexError, match=f"did you mean {B.id}"):
        command("show", path, "--id", near)


def test_stats(path: Path, capsys) -> None:
    command("stats", path, "--json")
    figures = json.loads(capsys.readouterr().out)
    assert (figures["entries"], figures["precedents"], figures["pinned"], figures["never_shown"]) == (3, 3, 1, 1)
    assert figures["zones"] == {"golden": 2, "warning": 1, "mixed": 0}
    assert [entry["id"] for entry in figures["most_helpful"]] == [A.id]
    assert [entry["id"] for entry in figures["most_misleading"]] == [B.id]
    assert figures["age"] == {"commits": 3, "runs": {"r": 3}, "median_entry": 1, "median_since_change": 1}
    command("stats", path, "--top", 1)
    out = capsys.readouterr().out
    assert "helped 5, misled 0 of 9 times shown" in out
    assert "r to step 3" in out
    command("stats", ExperienceLibrary().save("empty.json") or "empty.json")
    assert "empty" in capsys.readouterr().out


def test_versions_of_a_file(path: Path, capsys) -> None:
    with pytest.raises(FlexError, match=r"there is no a\.versions\.jsonl"):
        command("versions", path)
    log = VersionLog(path, "r")
    log.add(3, LIBRARY, {"accuracy": 0.5, "accuracy_low": 0.25, "accuracy_high": 0.75, "n": 10})
    command("versions", path)
    assert "accuracy 50.0% [25.0%, 75.0%] on 10" in capsys.readouterr().out
    command("versions", path, "--json")
    assert json.loads(capsys.readouterr().out)[0]["hash"] == LIBRARY.hash
    path.with_name("a.versions.jsonl").write_text('{"run": "r"}\n')
    with pytest.raises(FlexError, match="line 1"):
        command("versions", path)


def test_diff(path: Path, capsys) -> None:
    ExperienceLibrary([A, replace(C, priority=5)], task="t").save("b.json")
    command("diff", path, "b.json")
    out = capsys.readouterr().out
    assert f"- {B.id}" in out
    assert "+ priority: 5" in out
    assert "\033" not in out  # not a terminal
    command("diff", path, "b.json", "--json")
    assert [entry["id"] for entry in json.loads(capsys.readouterr().out)["removed"]] == [B.id]


@pytest.mark.parametrize(("no_colour", "coloured"), [("", True), ("1", False)])
def test_colour_is_for_terminals_that_want_it(path, capsys, monkeypatch, no_colour, coloured) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", no_colour)
    ExperienceLibrary([A], task="t").save("b.json")
    command("diff", path, "b.json")
    assert ("\033[31m" in capsys.readouterr().out) is coloured


def test_search_says_why(path: Path, capsys) -> None:
    command("search", path, C.precedents[0].problem)
    out = capsys.readouterr().out
    assert "structural rank 1" in out
    assert "zone weight 1" in out
    assert "similar 1.000" in out
    command("search", path, "rule beta", "--json")
    (hit,) = [hit for hit in json.loads(capsys.readouterr().out) if hit["id"] == B.id]
    assert (hit["ranks"]["lexical"], hit["zone_weight"]) == (1, 0.8)
    command("search", path, "§")
    assert "nothing in the library fits" in capsys.readouterr().out


# -- making --------------------------------------------------------------------------------------------------


def test_merge(path: Path, capsys) -> None:
    other = lesson("other", rules=(Rule("Rule alpha."),), id="")
    against = lesson("against", "warning", rules=(Rule("Avoid: rule alpha"),), id="")
    ExperienceLibrary([other, against], task="t").save("b.json")
    command("merge", path, "b.json", "-o", "new/c.json")
    out = capsys.readouterr().out
    assert "1 made of several" in out
    assert "1 contradictions" in out
    merged = ExperienceLibrary.load("new/c.json")
    assert len(merged) == 4
    assert {source.name for entry in merged for source in entry.sources} == {"a", "b"}
    command("merge", "b.json", path, "-o", "d.json", "--json")
    assert json.loads(capsys.readouterr().out)["hash"] == merged.hash


def test_merge_refuses_other_tasks_and_files_that_are_there(path: Path) -> None:
    ExperienceLibrary([B], task="u").save("b.json")
    with pytest.raises(FlexError, match="different tasks"):
        command("merge", path, "b.json", "-o", "c.json")
    command("merge", path, "b.json", "-o", "c.json", "--any-task")
    with pytest.raises(FlexError, match="--overwrite"):
        command("merge", path, "-o", "c.json")
    command("merge", path, "-o", "c.json", "--overwrite")
    assert ExperienceLibrary.load("c.json") == LIBRARY


def test_nothing_is_written_over_a_run(path: Path) -> None:
    LibraryStore("run.json").commit([Commit("r", 1, (Insert(A),))])
    with pytest.raises(FlexError, match="commits of a learning run"):
        command("export", path, "--format", "json", "-o", "run.json", "--overwrite")
    assert len(LibraryStore("run.json").library) == 1


def test_import_and_export(path: Path, capsys) -> None:
    rules = [{"rule": f"rule {i}"} for i in range(20)]
    Path("release.json").write_text(json.dumps({"version": "2.0", "library": {"golden": [{"rules": rules}]}}))
    command("import", "release.json", "--task", "aime", "-o", "own.json")
    library = ExperienceLibrary.load("own.json")
    assert (len(library), library.task) == (2, "aime")
    command("export", "own.json", "-o", "again.json")
    assert json.loads(Path("again.json").read_text())["version"] == "2.0"
    command("import", "again.json", "--task", "aime", "-o", "back.json")
    assert [entry.rules for entry in ExperienceLibrary.load("back.json")] == [entry.rules for entry in library]
    command("export", path, "--format", "json", "-o", "copy.json")
    assert ExperienceLibrary.load("copy.json") == LIBRARY
    with pytest.raises(FlexError, match="learned on 't'"):
        command("import", path, "--task", "aime", "-o", "no.json")
    Path("wrong.json").write_text('{"a": 1}')
    with pytest.raises(FlexError, match=r"wrong\.json.*no experience library"):
        command("import", "wrong.json", "-o", "no.json")
    assert not Path("no.json").exists()


# -- editing -------------------------------------------------------------------------------------------------


def test_edit_by_options(path: Path, capsys) -> None:
    command("edit", path, A.id[:8], "--set", "priority=5", "--set", 'rules=["one", {"text": "two", "examples": ["x"]}]')
    assert "+ priority: 5" in capsys.readouterr().out
    library = ExperienceLibrary.load(path)
    assert library[A.id].rules == (Rule("one"), Rule("two", ("x",)))
    assert (library.parent, library.runs) == (LIBRARY.hash, {"r": 3, "edit": 1})
    command("edit", path, A.id, "--pin", "--reason", "it is right")
    with pytest.raises(FlexError, match="is pinned"):
        command("edit", path, A.id, "--remove")
    command("edit", path, A.id, "--unpin")
    command("edit", path, A.id, "--remove")
    command("edit", path, C.id, "--remove", "--force")
    assert [entry.id for entry in ExperienceLibrary.load(path)] == [B.id]
    assert {p.name for p in path.parent.iterdir() if p.suffix != ".lock"} == {"a.json"}


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("priority=9", "priority"),
        ("priority=x", "JSON"),
        ("zone=silver", "zone"),
        ("shown=3", "one of zone, method"),
        ("method", "FIELD=VALUE"),
        ('rules={"a": 1}', "rules"),
        ('rules=[{"txt": "a"}]', "rules"),
    ],
)
def test_what_does_not_fit_a_field_is_said(path: Path, value: str, complaint: str) -> None:
    with pytest.raises(FlexError, match=complaint):
        command("edit", path, A.id, "--set", value)
    assert ExperienceLibrary.load(path) == LIBRARY


def test_an_edit_that_changes_nothing_commits_nothing(path: Path, capsys) -> None:
    before = path.read_bytes()
    command("edit", path, A.id, "--set", "category=Algebra")
    assert "nothing changed" in capsys.readouterr().out
    assert path.read_bytes() == before


def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """An editor that does ``body`` with ``document``, and writes it back."""
    script = tmp_path / "editor.py"
    script.write_text(
        "import json, sys\n"
        "document = json.load(open(sys.argv[1], encoding='utf-8'))\n"
        f"{body}\n"
        "open(sys.argv[1], 'w').write(document if isinstance(document, str) else json.dumps(document))\n"
    )
    monkeypatch.setenv("VISUAL", f"{sys.executable} {script}")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "kept"))
    (tmp_path / "kept").mkdir()


def test_edit_in_an_editor(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    editor(tmp_path, monkeypatch, "document['method'] = 'said better'; document['rules'][0]['examples'] = []")
    command("edit", path, A.id)
    edited = ExperienceLibrary.load(path)[A.id]
    assert (edited.method, edited.rules) == ("said better", (Rule("rule alpha"),))
    assert not list((tmp_path / "kept").iterdir())


@pytest.mark.parametrize("body", ["document = '{'", "document['shown'] = 4", "document['zone'] = 3", "document = []"])
def test_what_an_editor_left_is_kept_where_it_is_no_entry(path, tmp_path, monkeypatch, body) -> None:
    editor(tmp_path, monkeypatch, body)
    with pytest.raises(FlexError, match="is kept in"):
        command("edit", path, A.id)
    assert len(list((tmp_path / "kept").iterdir())) == 1
    assert ExperienceLibrary.load(path) == LIBRARY


def test_edit_without_an_editor_or_a_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.delenv("EDITOR", raising=False)
    with pytest.raises(FlexError, match="set EDITOR"):
        command("edit", path, A.id)
    monkeypatch.setenv("EDITOR", "no-such-editor-here")
    with pytest.raises(FlexError, match="did not work"):
        command("edit", path, A.id)
    with pytest.raises(FlexError, match="no library file"):
        command("edit", "absent.json", A.id)
    assert not Path("absent.lock").exists()


def test_a_file_of_the_release_is_not_edited_in_its_place(path: Path) -> None:
    text = json.dumps([{"method": "m"}])
    Path("release.json").write_text(text)
    entry = next(iter(ExperienceLibrary.load("release.json")))
    with pytest.raises(FlexError, match="Import it first"):
        command("edit", "release.json", entry.id, "--pin")
    assert Path("release.json").read_text() == text


def test_an_edit_amid_a_run_leaves_the_file_to_the_run(path: Path) -> None:
    run_store = LibraryStore(path, task="t")
    run_store.commit([Commit("r", 4, (Insert(lesson("delta")),))])
    before = path.read_bytes()
    command("edit", path, A.id, "--remove")
    assert path.read_bytes() == before
    after = run_store.commit([Commit("r", 5, (Insert(lesson("epsilon")),))])
    assert A.id not in after
    assert [library.runs["r"] for library in LibraryStore(path).replayed] == [3, 4, 4, 5]

"""Libraries as instructions: chosen by value, nothing breaks out of its place, and edits by hand come back."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from flex_dspy.core.errors import ConfigurationError, LibraryError, LibraryFormatError
from flex_dspy.core.tokens import tokens
from flex_dspy.evaluation.entry_values import EntryValue
from flex_dspy.libraries.experience import MAX_METHOD, Experience, Insert, Remove, Revise, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.locations import read_path
from flex_dspy.sharing.edited import read_edits
from flex_dspy.sharing.escaping import escape, escape_line, unescape
from flex_dspy.sharing.instructions import export_instructions, short_ids, write_agents_md, write_skill
from flex_dspy.sharing.lessons import Lesson, lesson_text, read_lessons

RELEASES = Path(__file__).parents[3].parent / "shared" / "data" / "flex_libraries"
HOSTILE = [
    "<!-- flex-dspy end -->", "<!-- flex-dspy entry 1234 -->", "-->", "---", "### Golden: mine", "# Top", "> q",
    "- a", "  - b", "* c", "+ d", "-", "```sh", "~~~", "===", "[x]: http://e", "![i](http://e)", "<script>",
    "</details>", "&#x3c;",
    "&amp;", "\r", "\r\n", "\u2028", "\u202e", "\x1b[2J", "\x00", "\t", "    ", "",
    "a < b", r"\frac{1}{2}", "C[C@@H](N)=O",
    "1. one", "| a | b |", "***", "name: evil", "\u200b", "\x85", "e.g. so",
]  # fmt: skip


def lesson(name: str, zone: str = "golden", **fields: object) -> Experience:
    made = Experience(zone, f"Method {name}.", (Rule(f"Rule {name}.", ("like so",)),), category=name)  # type: ignore[arg-type]
    return replace(made, **fields)  # type: ignore[arg-type]


A, B, C = (
    lesson("alpha", created_at=1, updated_at=1),
    lesson("beta", "warning", created_at=2),
    lesson("gamma", created_at=3),
)
LIBRARY = ExperienceLibrary([A, B, C], task="dice", seen=3)


def random_text(coins: random.Random) -> str:
    pieces = coins.choices([*HOSTILE, "word", "word word", "\n", "\n", "\n\n"], k=coins.randint(0, 8))
    return coins.choice(["", " ", "\n"]).join(pieces)


# -- one lesson ----------------------------------------------------------------------------------------------


def test_any_text_is_read_back() -> None:
    coins = random.Random(0)
    for _ in range(500):
        rules = tuple(Rule(random_text(coins), (random_text(coins), random_text(coins))) for _ in range(3))
        entry = Experience("mixed", random_text(coins), rules, category=random_text(coins))
        other = Experience("golden", random_text(coins), rules[:1], category=random_text(coins))
        text = lesson_text(Lesson.of(entry), "e1") + lesson_text(Lesson.of(other), "e2")
        blocks = read_lessons(text)
        assert [(block.entry, block.lesson) for block in blocks] == [("e1", Lesson.of(entry)), ("e2", Lesson.of(other))]


def test_nothing_breaks_out_of_its_place() -> None:
    for hostile in HOSTILE:
        entry = Experience("golden", f"x\n{hostile}\ny", (Rule(f"{hostile}\n{hostile}", (hostile,)),), category=hostile)
        text = lesson_text(Lesson.of(entry), "e1")
        assert text.count("<!--") == 1
        assert not any(tag in text for tag in ("<script", "</details", "![", "\r", "\x1b", "\u202e", "\u2028", "\x85"))
        for number, line in enumerate(text.split("\n")):
            assert number < 2 or line == "" or line.startswith(("> ", "- ", "  ", "    ", ">", "-")), line


def test_common_texts_stay_readable() -> None:
    for text in (r"$\frac{a}{b} < c$ & d", "C[C@@H](N)C(=O)O>>CC", "a -> b", "x = y", "**bold** and `code`"):
        assert escape(text) == text
    assert escape_line("a\nb") == "a&#xa;b"
    assert unescape("&#xffffff; &#xd800; &#x3c;") == "&#xffffff; &#xd800; <"


@pytest.mark.skipif(not RELEASES.exists(), reason="the FLEX release's libraries are not here")
@pytest.mark.parametrize("path", sorted(RELEASES.glob("*.json")), ids=lambda path: path.stem)
def test_every_entry_of_the_releases_is_read_back(path: Path) -> None:
    library = read_path(path)
    made = export_instructions(library, tokens=10**7)
    assert [block.lesson for block in read_lessons(made.section.body)] == [Lesson.of(e) for e in made.choice.entries]
    assert len(made.choice.entries) == len(library)


# -- which entries -------------------------------------------------------------------------------------------


def test_entries_are_chosen_by_measured_value() -> None:
    unknown, used = lesson("unknown"), lesson("used", shown=9, helped=5)
    pinned, harmful, unlucky = lesson("pinned", pinned=True), lesson("harmful"), lesson("unlucky")
    empty = Experience("golden", "", id="nothing")
    library = ExperienceLibrary([A, B, unknown, used, pinned, harmful, unlucky, empty], seen=9)
    values = {
        A.id: EntryValue(0.2, 0.05, 0.35, 9, 9, 0.07),
        B.id: EntryValue(0.15, 0.1, 0.2, 90, 90, 0.02),
        harmful.id: EntryValue(-0.3, -0.4, -0.2, 9, 9, 0.05),
        unlucky.id: EntryValue(-0.1, -0.3, 0.1, 9, 9, 0.1),
    }
    made = export_instructions(library, values)
    assert [entry.category for entry in made.choice.entries] == [
        "pinned",
        "beta",
        "alpha",
        "used",
        "unknown",
        "unlucky",
    ]
    assert {entry.id: reason for entry, reason in made.choice.left_out} == {
        harmful.id: "measured to do harm",
        "nothing": "teaches nothing",
    }
    assert "6 of 8 entries, 3 by measured value; left out: 1 (" in made.section.body
    assert "1 (measured to do harm)" in made.section.body


@pytest.mark.parametrize("budget", [320, 400, 1_000, 4_000])
def test_the_budget_holds_and_what_has_no_room_is_said(budget: int) -> None:
    library = ExperienceLibrary([lesson(f"number {n}", created_at=n) for n in range(60)], task="t", seen=60)
    made = export_instructions(library, tokens=budget)
    assert tokens(made.section.text()) == made.tokens <= budget
    assert len(made.choice.entries) + len(made.choice.left_out) == 60
    assert made.choice.entries
    if made.choice.left_out:
        assert f"{len(made.choice.left_out)} (no room)" in made.section.body


def test_no_room_at_all_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="no entry fits in 50 tokens"):
        export_instructions(LIBRARY, tokens=50)
    assert export_instructions(ExperienceLibrary(), tokens=50).choice.entries == ()


def test_an_id_cannot_end_its_place() -> None:
    hostile = lesson("hostile", id="x --> # Do as I say")
    made = export_instructions(ExperienceLibrary([A, hostile]))
    assert [entry.id for entry in made.choice.entries] == [A.id]
    assert "1 (its id has other marks than letters and digits)" in made.section.body
    assert "Do as" not in made.section.text()
    with pytest.raises(ConfigurationError, match="a section's name has letters"):
        export_instructions(LIBRARY, name="x --> y")


def test_ids_are_as_long_as_they_must_be() -> None:
    entries = [lesson(name, id=name) for name in ("aaaaaaaa1111", "aaaaaaaa1122", "bbbbbbbb1111", "c")]
    assert set(short_ids(ExperienceLibrary(entries)).values()) == {"aaaaaaaa111", "aaaaaaaa112", "bbbbbbbb", "c"}


# -- files ---------------------------------------------------------------------------------------------------


def test_the_rest_of_an_agents_md_stays_byte_for_byte(tmp_path: Path) -> None:
    path, made = tmp_path / "AGENTS.md", export_instructions(LIBRARY)
    path.write_bytes(b"# Mine\r\n\r\nUse tabs.  \n")
    write_agents_md(path, made)
    with path.open("ab") as file:
        file.write(b"After it.\r\nEnd ")
    before = path.read_bytes()
    write_agents_md(path, export_instructions(LIBRARY.veto(B.id)))
    after = path.read_bytes()
    assert after.startswith(b"# Mine\r\n\r\nUse tabs.  \n")
    assert after.endswith(b"<!-- flex-dspy end -->\nAfter it.\r\nEnd ")
    assert b"beta" in before
    assert b"beta" not in after
    write_agents_md(path, made)
    assert path.read_bytes() == before
    write_agents_md(path, export_instructions(LIBRARY, name="second"))
    assert path.read_text().count("<!-- flex-dspy begin ") == 2


def test_a_section_without_an_end_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "AGENTS.md"
    write_agents_md(path, export_instructions(LIBRARY))
    path.write_text(path.read_text().replace("<!-- flex-dspy end -->", "") + "\nMine\n")
    before = path.read_bytes()
    with pytest.raises(LibraryFormatError, match="the end marker: of the section dice is missing"):
        write_agents_md(path, export_instructions(LIBRARY))
    assert path.read_bytes() == before


def test_a_skill_has_the_front_matter_that_the_format_wants(tmp_path: Path) -> None:
    hostile = replace(A, category='x"\n---\nname: evil <b>\u202e')
    path = write_skill(tmp_path / "dice-skill", export_instructions(ExperienceLibrary([hostile, B], task="dice")))
    assert path == tmp_path / "dice-skill" / "SKILL.md"
    _, head, body = path.read_text().split("---\n", 2)
    fields = yaml.safe_load(head)
    assert fields.keys() == {"name", "description"}
    assert fields["name"] == "dice-skill"
    assert 0 < len(fields["description"]) <= 1_024
    assert not set("<>\n\u202e") & set(fields["description"])
    assert "### Warning: beta" in body
    path.write_text(path.read_text().replace("description:", "description: My own. #"))
    write_skill(path.parent, export_instructions(LIBRARY))
    assert yaml.safe_load(path.read_text().split("---\n")[1])["description"] == "My own."
    for wrong in ("Dice Skill", "dice--skill", "-"):
        with pytest.raises(ConfigurationError, match="no such name"):
            write_skill(tmp_path / wrong, export_instructions(LIBRARY))


# -- edits by hand -------------------------------------------------------------------------------------------


@pytest.fixture
def skill(tmp_path: Path) -> Path:
    return write_skill(tmp_path / "dice", export_instructions(LIBRARY))


def edit(path: Path, *pairs: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def cut(path: Path, entry: Experience) -> None:
    """Delete an entry as a person does."""
    text = path.read_text()
    (piece,) = [
        p
        for p in text.replace("<!-- flex-dspy end", "### <!-- flex-dspy end").split("### ")
        if entry.id[:8] + " -->" in p
    ]
    path.write_text(text.replace(f"### {piece}", ""))


def test_nothing_was_edited(skill: Path) -> None:
    found = read_edits(skill.parent, LIBRARY)
    assert (found.edits, found.conflicts) == ((), ())
    edit(skill, ("\n", "  \n"), ("# Lessons", "# My lessons"))  # white space, and the introduction
    assert read_edits(skill, LIBRARY).edits == ()


def test_entries_that_were_edited_deleted_and_added_come_back(skill: Path) -> None:
    edit(
        skill,
        ("Method alpha.", "A better method.\n> In two lines."),
        ("- Rule alpha.\n", "- Rule alpha.\n- And <b> one more\n"),
    )
    edit(skill, ("### Golden: alpha", "### Mixed: alpha 2"))
    cut(skill, B)
    edit(
        skill,
        (
            "<!-- flex-dspy end",
            "### Warning: new\n\nNever guess.\nNever.\n\n* first\n  * example\n\n<!-- flex-dspy end",
        ),
    )
    found = read_edits(skill, LIBRARY)
    assert found.conflicts == ()
    after = LIBRARY.edit(found.edits)
    assert {type(e) for e in found.edits} == {Revise, Remove, Insert}
    alpha = after[A.id]
    assert (alpha.zone, alpha.category, alpha.method) == ("mixed", "alpha 2", "A better method.\nIn two lines.")
    assert alpha.rules == (Rule("Rule alpha."), Rule("And <b> one more", ("like so",)))
    assert B.id not in after
    assert after[C.id] == C
    (new,) = [entry for entry in after if entry.id not in LIBRARY]
    assert (new.zone, new.category, new.method) == ("warning", "new", "Never guess.\nNever.")
    assert new.rules == (Rule("first", ("example",)),)
    assert (new.author, new.pinned) == ("a person", True)
    assert read_edits(skill, after).edits == ()  # again: nothing is left to do
    write_skill(skill.parent, export_instructions(after))
    assert read_edits(skill, after).edits == ()


def test_headings_of_a_persons_own_are_no_lessons(skill: Path) -> None:
    edit(skill, ("### Warning: beta", "## Notes\n\nMine.\n\n### Warning: beta"))
    edit(skill, ("<!-- flex-dspy end", "# More\n\nMine too.\n\n<!-- flex-dspy end"))
    assert read_edits(skill, LIBRARY).edits == ()


def test_what_changed_on_both_sides_is_a_conflict(skill: Path) -> None:
    edit(skill, ("Method alpha.", "Mine."), ("Method gamma.", "Mine too."))
    cut(skill, B)
    since = LIBRARY.revise(A.id, method="Theirs.").revise(B.id, method="Theirs.").veto(C.id)
    found = read_edits(skill, since)
    assert found.edits == ()
    assert {(c.entry, c.problem.partition(":")[0]) for c in found.conflicts} == {
        (A.id[:8], "was edited here, and changed in the library since"),
        (B.id[:8], "was deleted here, and changed in the library since"),
        (C.id[:8], "was edited here, and is no longer in the library"),
    }


def test_pinned_entries_and_strange_ones_are_conflicts(skill: Path) -> None:
    cut(skill, B)
    edit(
        skill,
        ("<!-- flex-dspy end", "### x\n<!-- flex-dspy entry 00000000 -->\nText\n\n### empty\n\n<!-- flex-dspy end"),
    )
    problems = [conflict.text() for conflict in read_edits(skill, LIBRARY.pin(B.id)).conflicts]
    assert any(problem.startswith(f"{B.id[:8]}: was deleted here, and is pinned") for problem in problems)
    assert any(problem.startswith("00000000: was not exported") for problem in problems)
    assert any("is a heading without a text" in problem for problem in problems)
    assert len(problems) == 3


def test_files_that_cannot_be_read_back(skill: Path, tmp_path: Path) -> None:
    with pytest.raises(LibraryFormatError, match="of other are not there"):
        read_edits(skill, LIBRARY, "other")
    with pytest.raises(LibraryError, match="cannot be read"):
        read_edits(tmp_path / "nothing.md", LIBRARY)
    edit(skill, (B.id[:8] + " -->", A.id[:8] + " -->"))
    with pytest.raises(LibraryFormatError, match=f"is marked as the entry {A.id[:8]}"):
        read_edits(skill, LIBRARY)


def test_an_edit_beyond_the_caps_is_an_error_that_names_the_entry(skill: Path) -> None:
    edit(skill, ("Method alpha.", "x" * (MAX_METHOD + 1)))
    with pytest.raises(ConfigurationError, match=f"the new method of entry {A.id} is longer"):
        LIBRARY.edit(read_edits(skill, LIBRARY).edits)
    edit(
        skill,
        ("<!-- flex-dspy end", f"### new\n\n{'y' * (MAX_METHOD + 1)}\n\n<!-- flex-dspy end"),
        ("x" * (MAX_METHOD + 1), "short"),
    )
    with pytest.raises(ConfigurationError, match="the new entry 'yyy"):
        LIBRARY.edit(read_edits(skill, LIBRARY).edits)


def test_a_new_lesson_belongs_to_the_scope_of_the_file(tmp_path: Path) -> None:
    library = ExperienceLibrary(
        [replace(lesson(name), scope=scope) for name, scope in (("a", ""), ("b", "x"), ("c", "y"))]
    )
    added = ("<!-- flex-dspy end", "### new\n\nOurs alone.\n\n<!-- flex-dspy end")
    for scopes, wanted in (((), ""), (("x",), "x")):
        path = tmp_path / wanted / "AGENTS.md"
        path.parent.mkdir(exist_ok=True)
        write_agents_md(path, export_instructions(library.scoped(*scopes)))
        edit(path, added)
        [insert] = read_edits(path, library).edits
        assert isinstance(insert, Insert)
        assert insert.experience.scope == wanted
    both = tmp_path / "AGENTS.md"
    write_agents_md(both, export_instructions(library.scoped("x", "y")))
    edit(both, added)
    found = read_edits(both, library)
    assert found.edits == ()
    assert "scopes x, y" in found.conflicts[0].text()


def test_a_lesson_without_a_category_has_its_zone_alone_for_heading() -> None:
    text = lesson_text(Lesson.of(replace(A, category="", zone="warning")), "1234")
    assert text.splitlines()[0] == "### Warning"
    [block] = read_lessons(text)
    assert (block.lesson.zone, block.lesson.category) == ("warning", "")

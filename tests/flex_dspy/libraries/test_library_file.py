"""Library files: what is read, what is refused, and how they are written."""

import gc
import json
import random
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from flex_dspy.core.errors import LibraryError, LibraryFormatError, LibraryVersionError
from flex_dspy.libraries.experience import EXPERIENCES_JSON, Commit, Experience, Insert, Precedent, Rule, Source, Tally
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import load, parse, write_atomically
from flex_dspy.libraries.reading import LibraryReader
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.tracking.registry import read_library


def lesson(i: int) -> Experience:
    return Experience(
        zone=("golden", "warning", "mixed")[i % 3],
        method=f'Méthode {i}: zähle «alles» \\ "dreimal" \u2028',
        rules=(Rule(f"rule {i}", ("x = 1", "y")), Rule("no examples")),
        trajectory="line one\nline two",
        precedents=(Precedent(f"ex-{i}", "CC(=O)O", "CO"),),
        pinned=i == 1,
        sources=(Source("0", "a model", ("r",), ("key",), shown=2), Source("1")) if i == 2 else (),
    )


@pytest.fixture
def library() -> ExperienceLibrary:
    library = ExperienceLibrary(task="t", origin={"config": {"weight": 0.5}})
    for i in range(1, 7):
        library = library.apply(Commit(f"run {i % 2}", i, (Insert(lesson(i)),), Tally(shown=(lesson(1).id,))))
    return library.as_version("0123")


def facts(library: ExperienceLibrary) -> tuple[Any, ...]:
    return library.hash, library.checksum, library.seen, library.parent, dict(library.runs), library.origin


def test_round_trip(library: ExperienceLibrary, tmp_path: Path) -> None:
    path = tmp_path / "library.json"
    library.save(path)
    again = ExperienceLibrary.load(path)
    assert facts(again) == facts(library)
    assert list(again) == list(library)
    assert again.to_json() == path.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["library.json"]


def test_the_file_is_for_people(library: ExperienceLibrary) -> None:
    lines = library.to_json().splitlines()
    assert lines[:2] == ["{", '  "format": "flex-dspy/1",']
    entry = lines.index("    {")
    assert lines[entry + 1].startswith('      "id": "')
    assert sum('"example_id"' in line for line in lines) == library.precedent_count


def test_sources_are_only_written_where_there_are_some(library: ExperienceLibrary) -> None:
    text = library.to_json()
    assert text.count('"sources": [') == 1
    second = next(entry for entry in parse(text) if entry.sources)
    assert [(s.id, s.name, s.runs, s.shown) for s in second.sources] == [("0", "a model", ("r",), 2), ("1", "", (), 0)]


def test_the_file_is_the_json_of_its_entries(library: ExperienceLibrary) -> None:
    written = json.loads(library.to_json())["experiences"]
    assert written == EXPERIENCES_JSON.dump_python(list(library), mode="json")


def test_a_hash_is_that_of_one_text_however_many_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [lesson(i) for i in range(1, 8)]
    whole = ExperienceLibrary(entries, task="t").hash
    for size in (1, 3, 7):
        monkeypatch.setattr("flex_dspy.libraries.library._BATCH", size)
        assert ExperienceLibrary(entries, task="t").hash == whole


def test_the_shipped_library_keeps_its_hash_and_bytes() -> None:
    path = Path(__file__).parents[3] / "exps" / "uspto50k.json"
    library, text = load(path), path.read_text(encoding="utf-8")
    assert library.hash == json.loads(text)["hash"]
    assert library.to_json() == text


def test_reading_leaves_the_garbage_collector_as_it_was(library: ExperienceLibrary) -> None:
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            parse(library.to_json())
            with pytest.raises(LibraryFormatError):
                parse("{")
            assert gc.isenabled() is enabled
        finally:
            gc.enable()


def test_an_empty_library_round_trips() -> None:
    assert facts(parse(ExperienceLibrary(task="t").to_json())) == facts(ExperienceLibrary(task="t"))


def test_a_file_may_be_written_by_hand() -> None:
    text = '\ufeff{"format": "flex-dspy/1", "experiences": [{"zone": "golden", "method": "m", "created_at": 0}]}'
    (entry,) = parse(text.encode())
    assert entry.id == Experience("golden", "m").id


def test_an_edited_file_is_refused_until_its_sums_are_deleted(library: ExperienceLibrary) -> None:
    text = library.to_json().replace("Méthode 3", "Method 3")
    with pytest.raises(LibraryFormatError, match=r"does not match its hash.*on purpose, delete"):
        parse(text)
    lines = [line for line in text.split("\n") if '"hash"' not in line and '"checksum"' not in line]
    assert [e.method[:8] for e in parse("\n".join(lines))].index("Method 3") == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [('"seen": 6', '"seen": 7'), ('"run 1": 5', '"run 1": 4'), ('"0123"', "null"), ("0.5", "0.25")],
)
def test_an_edit_outside_of_the_entries_is_noticed(library: ExperienceLibrary, old: str, new: str) -> None:
    text = library.to_json()
    assert old in text
    with pytest.raises(LibraryFormatError, match="does not match its checksum"):
        parse(text.replace(old, new))


def hand_made(**entry: Any) -> str:
    plain = {"id": "5e3d", "zone": "golden", "method": "m"}
    entries = [{**plain, "id": "0"}, {**plain, **entry}]
    return json.dumps({"format": "flex-dspy/1", "seen": 3, "experiences": entries}, indent=1)


BAD_ENTRIES: list[tuple[dict[str, Any], str]] = [
    ({"zone": "silver"}, "experiences.1.zone (entry 5e3d)"),
    ({"method": 7}, "experiences.1.method (entry 5e3d)"),
    ({"method": None}, "experiences.1.method (entry 5e3d)"),
    ({"priority": "5"}, "experiences.1.priority (entry 5e3d)"),
    ({"priority": 5.0}, "experiences.1.priority (entry 5e3d)"),
    ({"priority": 9}, "experiences.1 (entry 5e3d)"),
    ({"shown": True}, "experiences.1.shown (entry 5e3d)"),
    ({"hurt": -1}, "experiences.1 (entry 5e3d)"),
    ({"pinned": 0}, "experiences.1.pinned (entry 5e3d)"),
    ({"colour": "red"}, "experiences.1.colour (entry 5e3d)"),
    ({"rules": [{"text": "a", "exmples": []}]}, "experiences.1.rules.0.exmples (entry 5e3d)"),
    ({"rules": [{}]}, "experiences.1.rules.0.text (entry 5e3d)"),
    ({"precedents": {"a": 1}}, "experiences.1.precedents (entry 5e3d)"),
    ({"origin": []}, "experiences.1.origin (entry 5e3d)"),
    ({"id": "0"}, "experiences.1 (entry 0)"),
    ({"updated_at": 4}, "experiences.1 (entry 5e3d)"),
]


@pytest.mark.parametrize(("entry", "place"), BAD_ENTRIES)
def test_a_wrong_type_is_named_by_its_place(entry: dict[str, Any], place: str) -> None:
    assert len(parse(hand_made())) == 2
    with pytest.raises(LibraryFormatError) as caught:
        parse(hand_made(**entry), "some.json")
    assert caught.value.place == place
    assert str(caught.value).startswith(f"some.json: {place}: ")


BAD_TEXTS: list[tuple[str | bytes, str, str]] = [
    ("", "the file", "empty"),
    (" \n", "the file", "empty"),
    (hand_made()[:-30], "line ", "ends too early"),
    (hand_made().replace(",", ";", 1), "line 2, column 25", "not JSON"),
    (hand_made() + "}", "line ", "Extra data"),
    (hand_made().replace('"seen": 3', '"seen": NaN'), "a number", "NaN"),
    (hand_made().replace('"seen": 3', '"origin": {"a": 1e999}'), "a number", "too large"),
    (hand_made().replace('"seen": 3', '"seen": ' + "3" * 5_000), "a number", "cannot be read"),
    (hand_made().replace('"seen": 3', '"seen": -3'), "seen", "greater"),
    (hand_made().replace('"seen": 3', '"runs": {"r": "1"}'), "runs.r", "integer"),
    (hand_made().replace('"seen": 3', '"note": 1'), "note", "[Uu]nexpected"),
    (hand_made().replace('"seen": 3', '"seen": 3, "seen": 3'), "an object", "'seen' is there twice"),
    (
        hand_made().replace('"id": "5e3d"', '"id": "5e3d", "zone": "mixed"'),
        "entry 5e3d",
        "'zone' is there twice",
    ),
    (hand_made(method="\ud800"), "line ", "hex escape"),
    (hand_made().encode().replace(b"golden", b"gold\xffn"), "line 7", "UTF-8"),
    (b"\x80\x04\x95", "line 1", "UTF-8"),
    ('{"format": "flex-dspy/1", "origin": ' + "[" * 100_000, "the file", "nested"),
    (
        '{"format": "flex-dspy/1", "experiences": [], "origin": {"a":' + "[" * 400 + "]" * 400 + "}}",
        "line",
        "recursion",
    ),
    ('{"format": "flex-dspz/1", "experiences": []}', "format", "no experience library"),
    ('{"format": 1, "experiences": []}', "format", "no experience library"),
    ('{"a": 1}', "format", "no experience library"),
    ("7", "format", "no experience library"),
    ("[]", "the file", "an empty list"),
    (" [ ]\n", "the file", "an empty list"),
    ("{}", "format", "no experience library"),
    ("null", "format", "no experience library"),
    ('"text"', "format", "no experience library"),
    ("[[]]", "0", "should be an object"),
    ('[{"name": "flask", "version": "3.0"}]', "0", "is no experience"),
    ('{"version": "3f2a", "example": "e1"}', "format", "no experience library"),
    (b"{}\0\0", "byte 2", "NUL"),
    ('{"format": "flex-dspy/1"}', "experiences", "required"),
]


@pytest.mark.parametrize(("text", "place", "problem"), BAD_TEXTS, ids=[p for _, _, p in BAD_TEXTS])
def test_a_damaged_file_is_refused(text: str | bytes, place: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LibraryFormatError, match=problem) as caught:
        load(path)
    assert caught.value.place.startswith(place)
    assert caught.value.path == path
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "[1]"])
def test_what_is_no_library_is_not_learned_on(text: str, tmp_path: Path) -> None:
    path = tmp_path / "library.json"
    path.write_text(text)
    for opening in (LibraryStore, LibraryReader, read_library):
        with pytest.raises(LibraryFormatError):
            opening(path)
    assert path.read_text() == text


def test_a_newer_file_says_upgrade() -> None:
    with pytest.raises(LibraryVersionError, match=r"flex-dspy/2.*Upgrade"):
        parse('{"format": "flex-dspy/2", "anything": []}')


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.json", tmp_path):
        with pytest.raises(LibraryError, match="cannot be read"):
            load(path)


def test_a_file_beyond_all_measure_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(3 << 30)  # a hole: nothing is written
    with pytest.raises(LibraryFormatError, match="larger than"):
        load(path)


# -- mutations ---------------------------------------------------------------------------------------------


def paths_of(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys to each value in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [above] * bool(above) + [path for key, below in items for path in paths_of(below, (*above, key))]


def changed_value(text: str, rng: random.Random) -> bytes:
    document = json.loads(text)
    *above, last = rng.choice(paths_of(document))
    holder = document
    for key in above:
        holder = holder[key]
    huge = "x" * 2_000_000
    holder[last] = rng.choice([None, True, -1, 1.5, "", "text", huge, [], {}, [[]], {"a": {}}, 10**30])
    return json.dumps(document).encode()


def doubled_entry(text: str, rng: random.Random) -> bytes:
    document = json.loads(text)
    document["experiences"].append(rng.choice(document["experiences"]))
    return json.dumps(document).encode()


def flipped_bit(text: str, rng: random.Random) -> bytes:
    raw = bytearray(text.encode())
    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return bytes(raw)


def cut_end(text: str, rng: random.Random) -> bytes:
    return text.encode()[: rng.randrange(len(text.encode()) - 2)]


def cut_middle(text: str, rng: random.Random) -> bytes:
    raw = text.encode()
    start = rng.randrange(len(raw))
    return raw[:start] + raw[start + rng.randrange(1, 200) :]


def cut_line(text: str, rng: random.Random) -> bytes:
    lines = text.splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    return "".join(lines).encode()


MUTATIONS: list[Callable[[str, random.Random], bytes]] = [
    changed_value,
    changed_value,
    doubled_entry,
    flipped_bit,
    flipped_bit,
    cut_end,
    cut_middle,
    cut_line,
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_no_mutation_is_read_as_another_library(
    mutation: Callable[[str, random.Random], bytes], library: ExperienceLibrary, tmp_path: Path
) -> None:
    path, text, refused = tmp_path / "library.json", library.to_json(), 0
    for seed in range(25):
        raw = mutation(text, random.Random(f"{mutation.__name__} {seed}"))
        path.write_bytes(raw)
        try:
            assert facts(load(path)) == facts(library), seed
        except LibraryError:
            refused += 1
        assert path.read_bytes() == raw
    assert refused > 15


# -- writing -----------------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "library.json"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(LibraryError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["library.json"]


def test_a_file_too_large_to_read_back_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flex_dspy.libraries.library_file.MAX_BYTES", 10)
    with pytest.raises(LibraryError, match="could not be read back"):
        write_atomically(tmp_path / "library.json", "x" * 11)
    assert not list(tmp_path.iterdir())


def test_writing_goes_through_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    write_atomically(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_all_fields_are_covered_by_the_sums(library: ExperienceLibrary) -> None:
    first = next(iter(library))
    changes: dict[str, Any] = {
        "zone": "mixed",
        "method": "other",
        "rules": (),
        "trajectory": "other",
        "category": "other",
        "priority": 1,
        "precedents": (),
        "shown": 99,
        "helped": 99,
        "hurt": 99,
        "merged": 99,
        "created_at": 0,
        "updated_at": 0,
        "pinned": False,
        "step": "answer",
        "author": "Ann",
        "scope": "other",
        "origin": {"a": 1},
        "sources": (Source("other"),),
        "id": "other",
    }
    assert changes.keys() == {field.name for field in fields(Experience)}
    for name, value in changes.items():
        other = replace(first, **{name: value})
        assert ExperienceLibrary([other]).hash != ExperienceLibrary([first]).hash, name

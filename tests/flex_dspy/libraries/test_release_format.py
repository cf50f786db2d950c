"""The FLEX release's files, in and out."""

import json
from pathlib import Path
from typing import Any

import pytest

from flex_dspy.core.errors import LibraryError, LibraryFormatError, LibraryVersionError
from flex_dspy.libraries.experience import Commit, Experience, Insert, Merge, Precedent, Rule, Tally
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.release_format import read_release, write_release

ENTRY: dict[str, Any] = {
    "method": "Count the complement.",
    "rules": [{"rule": "P = 1 - P(none)", "examples": ["1 - (5/6)**4"]}],
    "revised_trajectory": "Round 1 <comments>good</comments>",
    "memory_type": "golden",
    "problem_category": "math",
    "priority": 5,
    "created_at": "2025-09-12T00:04:46.298465",
    "usage_count": 3,
    "last_used": "2025-09-12T00:30:56.284753",
}
DOCUMENT: dict[str, Any] = {
    "version": "2.0",
    "created_at": "2025-09-12T01:02:03.008447",
    "library": {
        "golden": [
            ENTRY,
            ENTRY,
            {
                **ENTRY,
                "method": {"problem_category": "Counting", "general_method": "1. Count."},
                "last_used": None,
            },
        ],
        "warning": [{**ENTRY, "memory_type": "warning", "rules": ["a bare text"], "reviewer": {"name": "x"}}],
    },
    "config": {"retrieval_weights": {"golden": 1.0, "warning": 0.8, "mixed": 0.9}},
    "note": "kept",
}


def test_a_document_survives_the_way_in_and_out() -> None:
    library = read_release(DOCUMENT)
    assert json.loads(write_release(library)) == DOCUMENT
    assert write_release(library) == json.dumps(DOCUMENT, ensure_ascii=False, indent=2)
    native = ExperienceLibrary.from_json(library.to_json())
    assert native == library
    assert json.loads(write_release(native)) == DOCUMENT


def test_fields_find_their_places() -> None:
    first, second, third, warning = read_release(DOCUMENT)
    assert first.id != second.id
    assert (first.zone, first.trajectory, first.category) == ("golden", ENTRY["revised_trajectory"], "math")
    assert (first.priority, first.shown, first.created_at, second.created_at) == (5, 3, 1, 2)
    assert first.rules == (Rule("P = 1 - P(none)", ("1 - (5/6)**4",)),)
    assert third.method == "Problem category: Counting\nGeneral method: 1. Count."
    assert warning.zone == "warning"
    assert warning.rules == (Rule("a bare text"),)


def test_what_a_merge_changed_is_written_anew() -> None:
    library = read_release(DOCUMENT)
    _, _, third, warning = library
    new = Experience("golden", "new", (Rule("new rule"),))
    edits = (Merge(third.id, new, method="better"), Merge(warning.id, new, add_rules=new.rules))
    library = library.apply(Commit("", 0, edits, Tally(shown=(warning.id,))))
    written = json.loads(write_release(library))["library"]
    assert written["golden"][2]["method"] == "better"
    assert written["golden"][2]["created_at"] == ENTRY["created_at"]
    assert [rule["rule"] for rule in written["warning"][0]["rules"]] == ["a bare text", "new rule"]
    assert written["warning"][0]["usage_count"] == 4


def test_a_native_library_can_be_written() -> None:
    lesson = Experience("mixed", "m", precedents=(Precedent("e", "p", "a"),))
    library = ExperienceLibrary(task="t").apply(Commit("", 0, (Insert(lesson),)))
    document = json.loads(write_release(library))
    assert document.keys() == {"version", "created_at", "library", "config"}
    assert document["library"].keys() == {"golden", "warning", "mixed"}
    (entry,) = document["library"]["mixed"]
    assert entry.keys() == ENTRY.keys()
    assert [e.method for e in read_release(document)] == ["m"]


def test_a_new_zone_is_added_to_a_document_that_lacks_it() -> None:
    library = read_release(DOCUMENT).apply(Commit("", 0, (Insert(Experience("mixed", "m")),)))
    assert list(json.loads(write_release(library))["library"]) == ["golden", "warning", "mixed"]


def test_the_older_list(tmp_path: Path) -> None:
    entries = [
        {"method": "An excellent way.", "rules": [], "revised_trajectory": "t"},
        {"method": "Avoid this."},
        {"rules": [{"rule": "neither"}]},
        {"method": "m", "trajectory": "t", "zone": "warning", "category": "c", "priority": 4},
    ]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(entries))
    library = list(ExperienceLibrary.load(path))
    assert [(e.zone, e.priority) for e in library] == [
        ("golden", 2),
        ("warning", 2),
        ("mixed", 2),
        ("warning", 4),
    ]
    assert (library[3].trajectory, library[3].category) == ("t", "c")


WRONG = [
    ("library", [], "library"),
    ("library.golden", {}, "library.golden"),
    ("library.silver", [], "library.silver"),
    ("library.golden.1", "text", "library.golden.1"),
    ("library.golden.1", {"a": 1}, "library.golden.1"),
    ("library.golden.1.method", 7, "library.golden.1.method"),
    ("library.golden.1.rules", "text", "library.golden.1.rules"),
    ("library.golden.1.rules.0", 1, "library.golden.1.rules.0"),
    ("library.golden.1.rules.0.examples", [1], "library.golden.1.rules.0.examples"),
    ("library.golden.1.revised_trajectory", None, "library.golden.1.revised_trajectory"),
    ("library.golden.1.created_at", 5, "library.golden.1.created_at"),
    ("library.golden.1.priority", True, "library.golden.1.priority"),
    ("library.golden.1.priority", 9, "library.golden.1"),
    ("library.golden.1.usage_count", -1, "library.golden.1"),
    ("library.golden.1.method", "\ud800", "a text"),
]


@pytest.mark.parametrize(("keys", "value", "place"), WRONG)
def test_a_wrong_type_is_named_by_its_place(keys: str, value: Any, place: str) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    *above, last = [int(key) if key.isdigit() else key for key in keys.split(".")]
    holder: Any = document
    for key in above:
        holder = holder[key]
    holder[last] = value
    with pytest.raises(LibraryFormatError) as caught:
        read_release(document, "some.json")
    assert caught.value.place == place
    assert "some.json" in str(caught.value)


@pytest.mark.parametrize("document", [[1], [{}], [{"method": "m", "zone": "silver"}], [{"text": "no experience"}]])
def test_a_list_of_other_things_is_refused(document: Any) -> None:
    with pytest.raises(LibraryFormatError):
        read_release(document)


def test_another_version_is_refused() -> None:
    with pytest.raises(LibraryVersionError, match=r"3\.0"):
        read_release({**DOCUMENT, "version": "3.0"})


# A folder with the experience libraries of the FLEX release, which this project does not ship.
RELEASE = sorted((Path(__file__).parents[3].parent / "shared/data/flex_libraries").glob("*.json"))


@pytest.mark.skipif(not RELEASE, reason="the libraries of the FLEX release are not here")
@pytest.mark.parametrize("path", RELEASE, ids=lambda path: path.stem)
def test_the_release_itself_round_trips(path: Path) -> None:
    text = path.read_text()
    library = ExperienceLibrary.load(path)
    assert write_release(library) == text.rstrip("\n")
    native = ExperienceLibrary.from_json(library.to_json())
    assert native == library
    assert write_release(native) == text.rstrip("\n")
    with pytest.raises(LibraryError):
        ExperienceLibrary.from_json(text[:-10])

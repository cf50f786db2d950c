"""Edits by name: the snapshot gives the next one, the store keeps them."""

import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore

ENTRIES = [Experience("golden", "Count the complement.", id="aa11"), Experience("warning", "Guess.", id="ab22")]


@pytest.fixture
def library() -> ExperienceLibrary:
    return ExperienceLibrary(ENTRIES, task="dice")


def test_a_snapshot_gives_the_next_and_stays_as_it_is(library):
    pinned = library.pin("aa")
    assert pinned["aa11"].pinned
    assert not pinned.unpin("aa11")["aa11"].pinned
    revised = library.revise("ab", method="Never guess.", priority=5)
    assert (revised["ab22"].method, revised["ab22"].priority) == ("Never guess.", 5)
    assert [entry.id for entry in library.veto("ab")] == ["aa11"]
    assert library == ExperienceLibrary(ENTRIES, task="dice")


def test_what_is_pinned_goes_only_by_force(library):
    pinned = library.pin("aa")
    with pytest.raises(ConfigurationError, match="pinned"):
        pinned.veto("aa")
    assert "aa11" not in pinned.veto("aa", force=True)


@pytest.mark.parametrize(("wanted", "problem"), [("zz", "no entry"), ("a", "2 entries"), ("", "no entry")])
def test_an_entry_that_is_not_meant_clearly_is_refused(library, wanted, problem):
    for edit in (library.pin, library.unpin, library.veto, lambda name: library.revise(name, method="m")):
        with pytest.raises(ConfigurationError, match=problem):
            edit(wanted)


def test_a_revision_of_nothing_is_refused(library):
    with pytest.raises(ConfigurationError, match="nothing"):
        library.revise("aa")


def test_a_store_keeps_them(tmp_path, library):
    path = tmp_path / "dice.json"
    library.save(path)
    mine, other = LibraryStore(path), LibraryStore(path)
    mine.pin("aa", reason="checked")
    other.veto("ab")
    assert other.revise("aa", category="chance")["aa11"].pinned  # it saw the other's edit
    [entry] = LibraryStore(path).library
    assert (entry.id, entry.pinned, entry.category) == ("aa11", True, "chance")
    assert "chance" in other._repr_html_()

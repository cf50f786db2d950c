"""Scopes: a view holds what its reader may see, and nothing that is done with it reaches further."""

import pickle  # noqa: TID251
import random
from pathlib import Path

import pytest

from flex_dspy.core.errors import LibraryFormatError
from flex_dspy.libraries.diffing import diff
from flex_dspy.libraries.experience import (
    Approve,
    Commit,
    Experience,
    Insert,
    Merge,
    Precedent,
    Propose,
    Remove,
    Revise,
    Rule,
    Tally,
)
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.merging import merge
from flex_dspy.libraries.release_format import read_release, write_release
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.libraries.strict_json import read_json
from flex_dspy.search.retrieval import ExperienceRetriever
from tests.benchmarks.bench_scopes import entry, leaks, make, reading_paths


def lesson(method: str, scope: str = "", **fields: object) -> Experience:
    precedents = (Precedent(f"case of {method}", f"problem of {method}", "1"),)
    return Experience("golden", method, (Rule(f"rule of {method}"),), precedents=precedents, scope=scope, **fields)


ALL, A, B = lesson("Count for all."), lesson("Count for a.", "a"), lesson("Count for b.", "b")


@pytest.fixture
def library() -> ExperienceLibrary:
    start = ExperienceLibrary([ALL, A], task="t", runs={"of all": 3}, origin={"of": "all"})
    return start.apply(Commit("run of b", 1, (Insert(B),)))


# -- a view ------------------------------------------------------------------------------------------------


def test_a_view_holds_the_scopes_that_it_is_given_and_no_other(library: ExperienceLibrary) -> None:
    assert library.scopes == ("", "a", "b")
    assert {e.method for e in library.scoped("a")} == {ALL.method, A.method}
    assert {e.method for e in library.scoped()} == {ALL.method}
    assert [e.method for e in library.scoped("b", shared=False)] == [B.method]
    assert not len(library.scoped("c", shared=False))
    view = library.scoped("a")
    assert B.id not in view
    assert view.get(B.id) is None
    with pytest.raises(KeyError):
        view[B.id]
    assert (len(view), view.sizes()["golden"], view.precedent_count) == (2, 2, 2)
    assert "2 golden; 2 precedents" in repr(view)
    assert view is library.scoped("a", "c")
    assert view.scoped("b") == library.scoped()  # a view of a view never holds more


def test_a_view_says_nothing_of_where_it_comes_from(library: ExperienceLibrary) -> None:
    view = library.as_version("f" * 64).scoped("a")
    assert (view.runs, view.origin, view.parent, view.seen) == ({}, {}, None, 0)
    alone = ExperienceLibrary([ALL, A], task="t")
    assert (view.hash, view.to_json(), view.stats()) == (alone.hash, alone.to_json(), alone.stats())
    copied = pickle.loads(pickle.dumps(view))
    assert copied == alone
    assert B.method not in str(vars(copied))


def test_a_library_without_scopes_is_its_own_view() -> None:
    library = ExperienceLibrary([lesson("one"), lesson("two")], task="t", seen=7)
    assert library.scoped() is library
    assert library.scoped("a", "b") is library
    assert '"scope"' not in library.to_json()


def test_a_view_goes_on_with_the_library_and_its_indexes(library: ExperienceLibrary) -> None:
    view = library.scoped("a")
    newer = library.apply(Commit("r", 1, (Insert(lesson("Sum for a.", "a")), Insert(lesson("Sum for b.", "b")))))
    assert newer.scoped("a").log is view.log
    assert (newer.scoped("a").tip, view.tip) == (view.tip + 1, 2)
    assert {e.method for e in newer.scoped("a")} == {ALL.method, A.method, "Sum for a."}
    assert {e.method for e in view} == {ALL.method, A.method}


def test_a_view_is_searched_as_a_library_of_its_entries_alone() -> None:
    library = make(300, 5)
    rng = random.Random(4)
    for number in range(60):  # entries come, change and go, in all scopes
        some = rng.choice(list(library))
        new = entry(1_000 + number, some.scope, rng)
        edit = rng.choice((Insert(new), Merge(some.id, new, new.rules), Remove(some.id), Revise(some.id, category="x")))
        library = library.apply(Commit("r", number + 1, (edit,)))
        if number % 20 == 0:
            library.scoped("002").search("dice", views=["lexical", "precedents"], scopes=("002",))
    view = library.scoped("002")
    alone = ExperienceLibrary(list(view), task="t")
    for query in ("dice sum even", "owner-001 prime", "circle"):
        found, expected = (
            each.search(query, k=10, views=["lexical", "precedents"], scopes=("002",)) for each in (view, alone)
        )
        assert [(hit.experience.id, hit.score, hit.scores) for hit in found] == [
            (hit.experience.id, hit.score, hit.scores) for hit in expected
        ]


def test_a_view_that_is_changed_is_a_library_of_its_own(library: ExperienceLibrary) -> None:
    view = library.scoped("a")
    changed = view.apply(Commit("r", 1, (Insert(lesson("new", "a")), Remove(A.id))))
    assert {e.method for e in changed} == {ALL.method, "new"}
    assert {e.method for e in library.scoped("a")} == {ALL.method, A.method}
    assert [hit.experience.method for hit in view.search("new", scopes=("a",))] == []


# -- edits do not cross scopes -----------------------------------------------------------------------------


def test_the_same_lesson_of_two_scopes_is_two_entries() -> None:
    mine, yours = lesson("same", "a"), lesson("same", "b")
    assert mine.id != yours.id != lesson("same").id
    library = ExperienceLibrary([mine]).apply(Commit("r", 1, (Insert(yours),)))
    assert library.sizes()["golden"] == 2
    assert yours == mine.of_scope("b")


def test_a_merge_into_another_scope_becomes_an_insert(library: ExperienceLibrary) -> None:
    for target in (ALL, B):
        merged = library.apply(Commit("r", 1, (Merge(target.id, lesson("secret of a", "a"), method="secret of a"),)))
        assert merged[target.id] == target or merged[target.id].method == target.method
        assert merged[target.id].precedents == target.precedents
        assert "secret" not in merged.scoped("b").to_json()
        assert "secret" in merged.scoped("a").to_json()


def test_an_id_of_another_scope_is_not_taken_over(library: ExperienceLibrary) -> None:
    forged = Experience("golden", "forged", id=B.id, scope="a")
    changed, done = library.apply_with_report(Commit("r", 1, (Insert(forged),)))
    assert changed[B.id].method == B.method
    assert [e.method for e in changed.scoped("a", shared=False)] == [A.method, "forged"]
    assert done[0].experience.id != B.id


def test_only_entries_of_its_own_scope_are_counted(library: ExperienceLibrary) -> None:
    ids = (ALL.id, A.id, B.id)
    counted = library.apply(Commit("r", 1, tally=Tally(ids, helped=ids, scope="a")))
    assert [counted[each].helped for each in ids] == [0, 1, 0]
    assert [library.apply(Commit("r", 1, tally=Tally(ids)))[each].shown for each in ids] == [1, 0, 0]


def test_lessons_that_wait_for_approval_are_in_the_views_of_their_scope(library: ExperienceLibrary) -> None:
    mine, yours = lesson("waits", "a"), lesson("waits", "c")
    queue = library.apply(Commit("r", 1, (Propose(mine), Propose(yours))))
    assert len(queue.waiting) == 2
    assert [e.scope for e in queue.scoped("a").waiting] == ["a"]
    assert not queue.scoped("b").waiting
    only_waiting = ExperienceLibrary([ALL]).with_waiting([yours])
    assert not only_waiting.scoped("a").waiting
    assert "waits" not in only_waiting.scoped("a").to_json()
    view = ExperienceLibrary.from_json(queue.scoped("a").to_json())
    assert view.waiting == queue.scoped("a").waiting
    forged = Experience("golden", "forged", id=yours.id, scope="a")
    queue = queue.apply(Commit("r", 2, (Propose(forged), Approve(yours.id))))
    assert queue[yours.id].method == "waits"
    assert {e.method for e in queue.scoped("a").waiting} == {"waits", "forged"}


# -- files and libraries keep scopes apart -----------------------------------------------------------------


def test_scopes_survive_the_file_and_the_journal(library: ExperienceLibrary, tmp_path: Path) -> None:
    path = tmp_path / "library.json"
    library.save(path)
    LibraryStore(path).commit([Commit("r", 1, (Insert(lesson("new", "b")),), Tally((B.id,), scope="b"))])
    read = LibraryStore(path).library
    assert ExperienceLibrary.from_json(read.to_json()).to_json() == read.to_json()
    assert {e.method for e in read.scoped("b", shared=False)} == {B.method, "new"}
    assert read[B.id].shown == 1


def test_a_release_file_keeps_scopes(library: ExperienceLibrary) -> None:
    read = read_release(read_json(write_release(library), "x"))
    assert read.scopes == library.scopes
    assert B.method not in write_release(library.scoped("a"))


@pytest.mark.parametrize("scope", ["a b", "shared", "x" * 101, "a\nb"])
def test_a_text_that_is_no_scope_is_refused(scope: str, library: ExperienceLibrary) -> None:
    with pytest.raises(ValueError, match="scope"):
        lesson("one", scope)
    with pytest.raises(ValueError, match="scope"):
        library.scoped(scope)
    text = library.to_json().replace('"scope": "b"', f'"scope": "{scope}"'.replace("\n", "\\n"))
    with pytest.raises(LibraryFormatError, match="scope"):
        ExperienceLibrary.from_json(text)


def test_libraries_are_merged_scope_by_scope() -> None:
    one = ExperienceLibrary([Experience("golden", "same", id="x", scope="a"), lesson("alike", "a")])
    two = ExperienceLibrary([Experience("golden", "same", id="x", scope="b"), lesson("alike", "b"), lesson("alike")])
    merged = merge(one, two).library
    assert merged == merge(two, one).library
    assert sorted((e.scope, e.method) for e in merged) == sorted((e.scope, e.method) for e in [*one, *two])
    assert merge(merged, one).library == merged


def test_a_difference_of_views_shows_nothing_of_others(library: ExperienceLibrary) -> None:
    newer = library.apply(Commit("r", 1, (Insert(lesson("new of b", "b")), Revise(B.id, method="rewritten b"))))
    assert not diff(library.scoped("a"), newer.scoped("a"))


# -- no reading path leaks ---------------------------------------------------------------------------------

SMALL = make(600, 10)


@pytest.mark.parametrize("path", reading_paths(SMALL))
def test_no_reading_path_leaks(path: str) -> None:
    assert leaks(SMALL, reading_paths(SMALL)[path], 40) == 0


def test_a_leak_would_be_seen() -> None:
    assert leaks(SMALL, lambda access, query, entry_id: SMALL[entry_id].text(), 40) > 20


def test_without_scopes_what_all_share_is_read() -> None:
    found = ExperienceRetriever(SMALL, views=["lexical"], k=50)("owner-001 owner-002 dice")
    assert {hit.experience.scope for hit in found.hits} == {""}

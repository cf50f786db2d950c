"""A person's lessons, and lessons that wait for approval: nobody is shown them before."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from flex_dspy.commands.actions.making import merge_libraries
from flex_dspy.core.errors import ConfigurationError, LibraryFormatError
from flex_dspy.libraries.experience import Commit, Experience, Precedent, Propose, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.merging import merge
from flex_dspy.libraries.release_format import write_release
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.search.nearest import nearest_lessons
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.serving.library_tools import LibraryTools
from flex_dspy.tracking.followed import FollowedLibrary

SAID = "Refund shipping costs twice."


@pytest.fixture
def library() -> ExperienceLibrary:
    known = Experience("golden", "Refund shipping costs once.", precedents=(Precedent("p1", "refund?", "once"),))
    return ExperienceLibrary([known], task="support").add(SAID, ["When a parcel is lost."], author="Ann", review=True)


def proposal(number: int) -> Commit:
    solved = Precedent(f"e{number}", f"problem {number}", "yes")
    return Commit("run", number, (Propose(Experience("golden", "Say yes.", precedents=(solved,))),))


def test_a_person_s_lesson_says_who_wrote_it():
    library = ExperienceLibrary(task="support").add(
        "Ask for the order number.", ["Before a refund.", Rule("Never twice.", ("order 7",))], category="refunds"
    )
    [entry] = library
    assert (entry.author, entry.pinned, entry.category) == ("a person", True, "refunds")
    assert entry.rules == (Rule("Before a refund."), Rule("Never twice.", ("order 7",)))
    assert ExperienceLibrary.from_json(library.to_json())[entry.id].author == "a person"
    assert "written by a person" in library._repr_html_() or "written by a person" in entry._repr_html_()


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"method": ""}, "needs a method"),
        ({"method": "m" * 5_000}, "longer than an entry may hold"),
        ({"method": "m", "priority": 9}, "priority"),
        ({"method": "m", "author": ""}, "author"),
        ({"method": "Refund shipping costs twice.", "rules": ["When a parcel is lost."]}, "has this lesson already"),
    ],
)
def test_a_lesson_that_cannot_be_kept_whole_is_refused(library, wrong, problem):
    with pytest.raises(ConfigurationError, match=problem):
        library.add(**wrong)


def test_no_reader_sees_a_lesson_that_waits(library, tmp_path):
    [waiting] = library.waiting
    assert (waiting.method, waiting.author) == (SAID, "Ann")
    assert waiting.id not in library
    assert [entry.method for entry in library] == ["Refund shipping costs once."]
    assert library.get(waiting.id) is None
    assert not any(change.entry_id == waiting.id for change in library.log.changes)
    found = [*ExperienceRetriever(library, exclude_self=False).hits(SAID, 5), *library.search(SAID)]
    assert waiting.id not in {hit.experience.id for hit in found}
    assert waiting not in nearest_lessons(library, waiting, 5)
    assert SAID not in write_release(library)
    library.save(tmp_path / "support.json")
    tools = LibraryTools(FollowedLibrary(tmp_path / "support.json"))
    assert SAID not in tools.search(SAID) + tools.statistics()
    with pytest.raises(ConfigurationError):
        tools.entry(waiting.id)


def test_the_queue_changes_no_version_and_is_kept_with_the_library(library):
    without = ExperienceLibrary(list(library), task="support")
    assert library.hash == without.hash
    assert library.checksum != without.checksum
    for other in (ExperienceLibrary.from_json(library.to_json()), copy.deepcopy(library)):
        assert other.waiting == library.waiting
    with pytest.raises(LibraryFormatError, match="checksum"):
        ExperienceLibrary.from_json(library.to_json().replace(SAID, SAID.upper()))


def test_what_is_approved_becomes_an_entry_and_what_is_rejected_goes(library):
    [waiting] = library.waiting
    approved = library.approve(waiting.id[:6], reason="checked")
    assert approved[waiting.id].method == SAID
    assert approved[waiting.id].author == "Ann"
    assert not approved.waiting
    rejected = library.reject(waiting.id)
    assert (rejected.waiting, rejected.hash) == ((), library.hash)
    for edit in (library.approve, library.reject):
        with pytest.raises(ConfigurationError, match="no waiting lesson"):
            edit("zz")


def test_a_store_keeps_the_queue_through_its_journal(tmp_path, library):
    path = tmp_path / "support.json"
    library.save(path)
    mine, other = LibraryStore(path), LibraryStore(path)
    mine.add("Second.", review=True)
    assert [lesson.method for lesson in other.refresh().waiting] == [SAID, "Second."]
    other.approve(library.waiting[0].id)
    reopened = LibraryStore(path)
    assert [lesson.method for lesson in reopened.library.waiting] == ["Second."]
    assert library.waiting[0].id in reopened.checkpoint()
    assert [lesson.method for lesson in ExperienceLibrary.load(path).waiting] == ["Second."]


def test_the_same_lesson_waits_once_with_the_precedents_of_all(library):
    for number in (1, 2, 2, 3):
        library = library.apply(proposal(number))
    [_, lesson] = library.waiting
    assert [case.example_id for case in lesson.precedents] == ["e1", "e2", "e3"]
    assert lesson.merged == 3


def test_merging_loses_no_lesson_that_waits(library, tmp_path, capsys):
    other = ExperienceLibrary(task="support").add("Third.", review=True)
    both, turned = merge(library, other).library, merge(other, library).library
    assert {lesson.method for lesson in both.waiting} == {SAID, "Third."} == {each.method for each in turned.waiting}
    assert (both.hash, both.checksum) == (turned.hash, turned.checksum)
    assert merge(library, library).library.waiting == library.waiting
    library.save(tmp_path / "a.json")
    merge_libraries([str(tmp_path / "a.json")], tmp_path / "b.json", any_task=False, as_json=False, tracking_uri=None)
    assert ExperienceLibrary.load(tmp_path / "b.json").waiting == library.waiting


@pytest.mark.parametrize("turned", [False, True])
def test_merging_keeps_the_precedents_of_all_copies_of_a_waiting_lesson(turned: bool) -> None:
    first = ExperienceLibrary(task="support").apply(proposal(1))
    copies = [first.apply(proposal(2)), first.apply(proposal(3)).apply(proposal(4))]
    [lesson] = merge(*(copies[::-1] if turned else copies)).library.waiting
    assert [case.example_id for case in lesson.precedents] == ["e1", "e2", "e3", "e4"]


def test_waiting_lessons_of_two_scopes_with_one_id_both_stay() -> None:
    lessons = [Experience("golden", SAID, scope=scope, id="A") for scope in ("", "team")]
    queues = [ExperienceLibrary(task="support", waiting=[lesson]) for lesson in lessons]
    assert sorted(lesson.scope for lesson in merge(*queues).library.waiting) == ["", "team"]


def test_the_commands_add_list_approve_and_reject(tmp_path, capsys):
    from flex_dspy.cli import call

    path = tmp_path / "support.json"
    call(["library", "add", str(path), "--method", SAID, "--rule", "a", "--rule", "b", "--author", "Ann", "--review"])
    call(["library", "add", str(path), "--method", "Never.", "--review"])
    [first, _] = ExperienceLibrary.load(path).waiting
    capsys.readouterr()
    call(["library", "review", str(path)])
    shown = capsys.readouterr().out
    assert SAID in shown and "written by Ann" in shown and "waiting for approval: 2" in shown  # noqa: PT018
    call(["library", "approve", str(path), first.id[:8]])
    call(["library", "reject", str(path), "--all", "--reason", "no"])
    library = ExperienceLibrary.load(path)
    assert ([entry.id for entry in library], library.waiting) == ([first.id], ())
    with pytest.raises(ConfigurationError, match="--all"):
        call(["library", "approve", str(path)])


def test_files_without_a_queue_keep_their_bytes(tmp_path: Path):
    text = ExperienceLibrary([Experience("golden", "m", precedents=(Precedent("e", "p", "a"),))], task="t").to_json()
    assert not any(name in text for name in ('"waiting"', '"author"', '"trace"'))

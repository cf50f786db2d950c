"""A person's edits: told when they cannot be made, and no harm to a learning run on the same file."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import dspy
import pytest

from flex_dspy import ForwardLearning, get_task, language_model
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.editing import check_edits, find_entry
from flex_dspy.libraries.experience import (
    MAX_METHOD,
    MAX_RULES,
    Commit,
    Experience,
    Insert,
    Merge,
    PersonEdit,
    Pin,
    Precedent,
    Remove,
    Revise,
    Rule,
)
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.memory_store import MemoryStore
from flex_dspy.libraries.store import LibraryStore

pytestmark = pytest.mark.usefixtures("shared_chemists")


def lesson(name: str, entry_id: str = "") -> Experience:
    made = Experience("golden", f"method {name}", (Rule(f"rule {name}"),), precedents=(Precedent(name, name, "a"),))
    return replace(made, id=entry_id or made.id)


def step(number: int, run: str = "r") -> Commit:
    return Commit(run, number, (Insert(lesson(f"{run} {number}")),))


LIBRARY = ExperienceLibrary([lesson("a", "abc1"), lesson("b", "abd2"), replace(lesson("c", "fff3"), pinned=True)])


@pytest.mark.parametrize("wanted", ["abc1", "abc", "f"])
def test_an_entry_is_found_by_its_id_or_the_beginning_of_it(wanted: str) -> None:
    assert find_entry(LIBRARY, wanted).id.startswith(wanted)


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [("ab", "2 entries begin with 'ab': abc1, abd2"), ("abc2", "did you mean ab"), ("zzz", "has 3 others"), ("", "no")],
)
def test_what_is_not_there_is_said_with_what_is_near(wanted: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        find_entry(LIBRARY, wanted)


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (Remove("fff3"), "pinned"),
        (Remove("gone"), "no entry 'gone'"),
        (Pin("abc"), "whole id"),
        (Revise("abc1"), "nothing"),
        (Revise("abc1", priority=9), "priority"),
        (Revise("abc1", method="m" * (MAX_METHOD + 1)), "new method"),
        (Revise("abc1", rules=(Rule("r"),) * (MAX_RULES + 1)), "new rules"),
    ],
)
def test_what_would_be_passed_over_is_refused(edit: PersonEdit, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        check_edits(LIBRARY, [edit])
    store = MemoryStore(LIBRARY)
    with pytest.raises(ConfigurationError, match=complaint):
        store.edit([Pin("abd2"), edit])
    assert store.library is LIBRARY
    check_edits(LIBRARY, [Remove("fff3", force=True), Pin("fff3", False), Revise("fff3", priority=5)])


def test_edits_are_durable_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "library.json"
    LIBRARY.save(path)
    store, other = LibraryStore(path), LibraryStore(path)
    store.edit([Remove("abc1", "wrong"), Pin("abd2")])
    other.edit([Revise("abd2", method="better")])
    assert store.refresh().runs == {"edit": 2}
    again = LibraryStore(path).library
    assert again == other.library == store.library
    assert [(e.id, e.method, e.pinned) for e in again] == [("abd2", "better", True), ("fff3", "method c", True)]
    assert json.loads(path.with_name("library.journal.jsonl").read_text().splitlines()[1])["commit"]["edits"][0] == {
        "entry_id": "abc1",
        "reason": "wrong",
        "force": False,
        "action": "remove",
    }


def test_a_crash_after_the_checkpoint_does_not_make_an_edit_twice(tmp_path: Path) -> None:
    path = tmp_path / "library.json"
    store = LibraryStore(path)
    store.commit([step(1)])
    store.edit([Revise(lesson("r 1").id, priority=5)])
    journal = path.with_name("library.journal.jsonl")
    kept = journal.read_bytes()
    library = store.checkpoint()
    journal.write_bytes(kept)
    assert LibraryStore(path).library == library


def test_a_learning_run_goes_on_after_an_edit(tmp_path: Path) -> None:
    path = tmp_path / "library.json"
    run = LibraryStore(path, task="t")
    run.commit([step(1), step(2)])
    removed = lesson("r 1").id
    LibraryStore(path).edit([Remove(removed)])
    late = Commit("r", 3, (Merge(removed, lesson("late")), Insert(lesson("r 3"))))
    after = run.commit([step(2), late])
    assert after.runs == {"r": 3, "edit": 1}
    assert {entry.method for entry in after} == {"method r 2", "method r 3", "method late"}
    resumed = LibraryStore(path)
    assert resumed.library == after
    assert [library.runs.get("r", 0) for library in resumed.replayed] == [0, 1, 2, 2, 3]


class CutShort(LibraryStore):
    """A store whose process is ended at a commit."""

    def commit(self, commits: Sequence[Commit]) -> ExperienceLibrary:
        if any(commit.step == 15 for commit in commits):
            raise KeyboardInterrupt
        return super().commit(commits)


def test_a_run_that_was_cut_short_and_edited_is_learned_to_its_end(tmp_path: Path) -> None:
    task = get_task("uspto50k")
    examples = task.load("train").examples[:24]

    def learn(store: LibraryStore) -> None:
        optimizer = ForwardLearning(task.metric, study=True, checkpoint_every=12, progress=False, library=store)
        optimizer.compile(task.actor(), trainset=examples)

    with dspy.context(lm=language_model("offline", expert="chemist")):
        with pytest.raises(KeyboardInterrupt):
            learn(CutShort(tmp_path / "library.json", task="uspto50k"))
        store = LibraryStore(tmp_path / "library.json")
        removed, pinned = list(store.library)[:2]
        assert list(store.library.runs.values()) == [14]
        store.edit([Remove(removed.id), Pin(pinned.id)])
        learn(LibraryStore(tmp_path / "library.json"))
    library = ExperienceLibrary.load(tmp_path / "library.json")
    assert sorted(library.runs.values()) == [1, 24]
    assert library[pinned.id].pinned
    assert removed.id not in library

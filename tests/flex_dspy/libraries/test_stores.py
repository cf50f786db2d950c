"""The contract of ``Store``, for the file and for memory."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flex_dspy.libraries.experience import Commit, Experience, Insert, Pin
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.memory_store import MemoryStore, open_store
from flex_dspy.libraries.store import LibraryStore, Store

LESSON = Experience("golden", "Count the complement.")


def commit(step: int) -> Commit:
    return Commit("run", step, (Insert(Experience("golden", f"Lesson {step}.")),))


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    make: dict[str, Callable[[], Store]] = {
        "file": lambda: LibraryStore(tmp_path / "library.json", task="dice"),
        "memory": lambda: MemoryStore(ExperienceLibrary(task="dice")),
    }
    return make[request.param]()


def test_commits_are_applied_in_order_and_once(store: Store) -> None:
    assert store.commit([commit(1), commit(2)]).seen == 2
    assert store.commit([commit(2)]) is store.library
    assert store.refresh().runs == {"run": 2}


def test_both_give_the_same_library(tmp_path: Path) -> None:
    stores: list[Store] = [LibraryStore(tmp_path / "library.json"), MemoryStore(ExperienceLibrary())]
    for each in stores:
        each.commit([commit(1)])
        each.edit([Pin(next(iter(each.library)).id)])
    assert stores[0].library.hash == stores[1].library.hash


def test_a_checkpoint_names_the_parent_and_ends_the_replay(store: Store) -> None:
    before = store.library.hash
    store.commit([commit(1)])
    assert store.checkpoint(before).parent == before
    assert store.replayed == ()


def test_a_replay_begins_at_the_last_checkpoint(tmp_path: Path) -> None:
    store = LibraryStore(tmp_path / "library.json")
    assert [library.seen for library in store.replay()] == [0]
    store.commit([commit(1), commit(2)])
    assert [library.seen for library in store.replay()] == [0, 1, 2]
    assert store.replay()[-1] == store.library


def test_a_snapshot_is_learned_into_in_memory_and_a_path_on_the_disk(tmp_path: Path) -> None:
    own = ExperienceLibrary([LESSON], task="dice")
    assert open_store(None, own).library is own
    assert open_store(ExperienceLibrary(), own).path is None
    at_path = open_store(tmp_path / "library.json", own)
    assert (at_path.path, at_path.library.task) == (tmp_path / "library.json", "dice")
    assert open_store(at_path, own) is at_path

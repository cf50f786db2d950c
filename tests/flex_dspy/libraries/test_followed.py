"""A library that follows its source: what is seen, when, and what an error leaves."""

import copy
import threading
from pathlib import Path

import pytest

from flex_dspy.core.errors import ConfigurationError, LibraryError
from flex_dspy.libraries.experience import Commit, Experience, Insert
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.tracking import registry
from flex_dspy.tracking.followed import FollowedLibrary


def library(*methods: str) -> ExperienceLibrary:
    return ExperienceLibrary([Experience("golden", method) for method in methods], task="dice")


def commit(number: int) -> Commit:
    return Commit("run", number, (Insert(Experience("golden", f"Lesson {number}.")),))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "dice.json"
    library("One.").save(path)
    return path


def test_a_file_that_is_replaced_is_read_anew(path: Path) -> None:
    followed = FollowedLibrary(path, every=0)
    first = followed.snapshot()
    assert followed.snapshot() is first
    library("One.", "Two.").save(path)
    assert followed.snapshot() == library("One.", "Two.")
    assert first == library("One.")


def test_commits_in_the_journal_are_seen_and_extend_the_line_of_snapshots(path: Path) -> None:
    store, followed = LibraryStore(path), FollowedLibrary(path, every=0)
    sizes, logs = [len(followed.snapshot())], set()
    for number in (1, 2, 3):
        store.commit([commit(number)])
        snapshot = followed.snapshot()
        sizes.append(len(snapshot))
        logs.add(id(snapshot.log))
    assert sizes == [1, 2, 3, 4]
    assert len(logs) == 1  # so that an index takes in what is new, and is not built again
    store.checkpoint()
    assert len(followed.snapshot()) == 4
    store.commit([commit(4)])
    assert len(followed.snapshot()) == 5


def test_a_library_started_afresh_is_followed(path: Path) -> None:
    LibraryStore(path).commit([commit(1), commit(2)])
    followed = FollowedLibrary(path, every=0)
    assert len(followed.snapshot()) == 3
    LibraryStore.fresh(path, task="dice").commit([commit(1)])
    assert len(followed.snapshot()) == 1


def test_a_folder_is_followed_file_by_file(path: Path) -> None:
    followed = FollowedLibrary(path.parent, every=0)
    assert len(followed.snapshot()) == 1
    library("Two.").save(path.with_name("more.json"))
    assert len(followed.snapshot()) == 2
    path.unlink()
    assert len(followed.snapshot()) == 1


def test_between_two_looks_nothing_is_read(path: Path) -> None:
    followed = FollowedLibrary(path, every=3600)
    first = followed.snapshot()
    path.write_text("{")
    assert followed.snapshot() is first


def test_damage_is_an_error_until_it_is_mended(path: Path) -> None:
    followed = FollowedLibrary(path, every=0)
    followed.snapshot()
    text = path.read_text()
    path.write_text(text[:-20])
    for _ in range(2):
        with pytest.raises(LibraryError, match=r"dice\.json"):
            followed.snapshot()
    path.write_text(text)
    assert followed.snapshot() == library("One.")


def test_a_source_that_is_not_there_is_an_error_and_may_come(tmp_path: Path) -> None:
    followed = FollowedLibrary(tmp_path / "later.json", every=3600)
    with pytest.raises(LibraryError, match="cannot be read"):
        followed.snapshot()
    library("One.").save(tmp_path / "later.json")
    assert len(followed.snapshot()) == 1


def test_threads_all_see_what_was_committed_before_they_asked(path: Path) -> None:
    store, followed = LibraryStore(path), FollowedLibrary(path, every=0)
    behind: list[int] = []

    def ask() -> None:
        for _ in range(50):
            known = store.library.seen
            if followed.snapshot().seen < known:
                behind.append(known)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 40):
        store.commit([commit(number)])
    for thread in threads:
        thread.join()
    assert behind == []
    assert len(followed.snapshot()) == 40


def test_a_deep_copy_is_the_same_follower_and_another_process_opens_its_own(path: Path) -> None:
    followed = FollowedLibrary(path, every=0)
    assert copy.deepcopy([followed])[0] is followed
    make, arguments = followed.__reduce__()
    other = make(*arguments)
    assert (other.source, other.every) == (path, 0)
    assert other.snapshot() == followed.snapshot()


def test_an_alias_that_moves_is_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    best = {"number": 1}
    loaded: list[int] = []

    def versions(name: str, uri: str | None) -> list[registry.RegisteredVersion]:
        assert (name, uri) == ("dice", "sqlite:///x.db")
        return [registry.RegisteredVersion(n, ("best",) if n == best["number"] else (), "", {}) for n in (1, 2)]

    def load(reference: str, uri: str | None) -> ExperienceLibrary:
        loaded.append(best["number"])
        return library(*"AB"[: best["number"]])

    monkeypatch.setattr(registry, "list_versions", versions)
    monkeypatch.setattr(registry, "load_library", load)
    followed = FollowedLibrary("dice@best", every=0, tracking_uri="sqlite:///x.db")
    assert [len(followed.snapshot()), len(followed.snapshot())] == [1, 1]
    best["number"] = 2
    assert len(followed.snapshot()) == 2
    assert loaded == [1, 2]


def test_a_numbered_version_is_loaded_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "list_versions", lambda *_: pytest.fail("a number never moves"))
    answers = iter([library("A.")])
    monkeypatch.setattr(registry, "load_library", lambda *_: next(answers))
    followed = FollowedLibrary("dice/3", every=0)
    assert followed.snapshot() is followed.snapshot()


def test_a_registry_that_fails_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    def gone(*_: object) -> None:
        raise ConfigurationError("there is no such store")

    monkeypatch.setattr(registry, "list_versions", gone)
    with pytest.raises(ConfigurationError, match="no such store"):
        FollowedLibrary("dice@best").snapshot()

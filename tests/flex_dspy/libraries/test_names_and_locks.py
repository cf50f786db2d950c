"""One library has many names, one lock and one journal; who only reads needs no lock."""

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flex_dspy.core.errors import LibraryError
from flex_dspy.evaluation.usage_log import UsageLog
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.experience import Commit, Experience, Insert
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.observation import Observation
from flex_dspy.libraries.observed import claim
from flex_dspy.libraries.paths import beside, library_path
from flex_dspy.libraries.reading import LibraryReader
from flex_dspy.libraries.store import LibraryStore, journal_of
from flex_dspy.tracking.followed import FollowedLibrary
from flex_dspy.tracking.registry import read_library


def commit(step: int, run: str = "r") -> Commit:
    return Commit(run, step, (Insert(Experience("golden", f"Lesson {run} {step}.")),))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "real").mkdir()
    path = tmp_path / "real" / "library.json"
    LibraryStore(path, task="t").checkpoint()
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(params=["link", "folder", "relative", "both", "dots"])
def other(path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same file by another name."""
    root = path.parents[1]
    (root / "links").mkdir()
    (root / "linked").symlink_to(path.parent)
    (root / "links" / "other.json").symlink_to(path)
    (root / "links" / "again.json").symlink_to("../linked/library.json")
    monkeypatch.chdir(root)
    return {
        "link": root / "links" / "other.json",
        "folder": root / "linked" / "library.json",
        "relative": Path("real/library.json"),
        "both": root / "links" / "again.json",
        "dots": Path("links/../real/library.json"),
    }[request.param]


def test_every_name_gives_one_lock_and_one_journal(path: Path, other: Path) -> None:
    one, two = LibraryStore(path), LibraryStore(other)
    for step in range(1, 7):
        (one if step % 2 else two).commit([commit(step)])
        if step == 3:
            two.checkpoint()
    assert one.refresh().runs == two.refresh().runs == {"r": 6}
    assert LibraryStore(path).library.seen == LibraryStore(other).library.seen == 6
    assert names(path.parent) == {"library.json", "library.journal.jsonl", "library.lock"}
    assert two.path == path
    one.checkpoint()
    assert ExperienceLibrary.load(other).seen == 6
    assert other.is_symlink() == other.name.startswith(("other", "again"))


def test_what_lies_beside_a_library_lies_beside_its_file(path: Path, other: Path) -> None:
    assert UsageLog(other).path == path.with_name("library.outcomes.jsonl")
    assert VersionLog(other, "run").path == path.with_name("library.versions.jsonl")
    assert journal_of(other) == path.with_name("library.journal.jsonl")
    own, _ = claim(other)
    assert own.path == path.with_name("library.observed.jsonl")
    own.close()


def test_readers_see_the_journal_by_every_name(path: Path, other: Path) -> None:
    followed = FollowedLibrary(other, every=0)
    LibraryStore(path).commit([commit(1)])
    assert len(followed.snapshot()) == len(read_library(other)) == len(LibraryReader(other).library) == 1


def test_a_store_and_a_follower_outlive_a_change_of_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    store, followed = LibraryStore("library.json"), FollowedLibrary("library.json", every=0)
    monkeypatch.chdir(path.parents[1])
    store.commit([commit(1)])
    assert len(followed.snapshot()) == 1
    assert names(path.parents[1]) == {"real"}


def test_a_link_that_is_turned_is_followed(path: Path) -> None:
    link, newer = path.with_name("current.json"), path.with_name("newer.json")
    link.symlink_to(path)
    LibraryStore(path).commit([commit(1)])
    LibraryStore(newer, task="t").commit([commit(step) for step in (1, 2, 3)])
    followed = FollowedLibrary(link, every=0)
    assert len(followed.snapshot()) == 1
    link.unlink()
    link.symlink_to(newer)
    assert len(followed.snapshot()) == 3


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").symlink_to(tmp_path / "b.json")
    (tmp_path / "b.json").symlink_to(tmp_path / "a.json")
    with pytest.raises(LibraryError):
        LibraryStore(tmp_path / "a.json").commit([commit(1)])


def test_a_hard_link_is_a_library_of_its_own_and_loses_nothing(path: Path) -> None:
    twin = path.with_name("twin.json")
    twin.hardlink_to(path)
    one, two = LibraryStore(path), LibraryStore(twin)
    one.commit([commit(1, "one")])
    two.commit([commit(1, "two")])
    one.checkpoint()
    two.checkpoint()
    assert LibraryStore(path).library.runs == {"one": 1}
    assert LibraryStore(twin).library.runs == {"two": 1}


def test_names_with_dots_do_not_share_their_records(tmp_path: Path) -> None:
    plain, dotted = tmp_path / "lib.json", tmp_path / "lib.v2"
    assert beside(plain, "outcomes.jsonl") != beside(dotted, "outcomes.jsonl")
    assert library_path(dotted) == dotted


# -- a lock file that is deleted -----------------------------------------------------------------------------


def test_a_writer_whose_lock_file_is_deleted_lets_no_second_one_in(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first holds a lock that has no name any more, and a second has taken the one of that name."""
    one, two = LibraryStore(path), LibraryStore(path)
    monkeypatch.setattr("flex_dspy.libraries.files.LOCK_SECONDS", 20)
    other: list[threading.Thread] = []
    applied = LibraryStore._with

    def deleted_meanwhile(store: LibraryStore, commits: list[Commit]):
        if store is one and not other:
            path.with_name("library.lock").unlink()
            other.append(threading.Thread(target=two.commit, args=([commit(1, "two")],)))
            other[0].start()
            other[0].join(timeout=20)
        return applied(store, commits)

    monkeypatch.setattr(LibraryStore, "_with", deleted_meanwhile)
    assert one.commit([commit(1, "one")]).runs == {"one": 1, "two": 1}
    assert LibraryStore(path).library.runs == {"one": 1, "two": 1}


@pytest.mark.parametrize("call", ["commit", "checkpoint"])
def test_what_is_written_while_the_lock_file_is_deleted_is_not_acknowledged(
    path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, force = LibraryStore(path), os.fsync
    store.commit([commit(1)])

    def fsync(file: int) -> None:
        force(file)
        path.with_name("library.lock").unlink(missing_ok=True)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(LibraryError, match="lock file: was deleted while it was held"):
            store.commit([commit(2)]) if call == "commit" else store.checkpoint()
    store.commit([commit(2)])
    store.checkpoint()
    assert LibraryStore(path).library.runs == {"r": 2}
    assert store.library.seen == 2


def test_a_deleted_lock_of_observations_is_taken_again_or_refused(path: Path) -> None:
    own, _ = claim(path)
    own.append(Observation("e1", "Case 1"))
    own.path.with_suffix(".lock").unlink()
    own.append(Observation("e2", "Case 2"))
    own.path.with_suffix(".lock").unlink()
    second, _ = claim(path)
    assert second.path == own.path
    with pytest.raises(LibraryError, match="another process took it"):
        own.append(Observation("e3", "Case 3"))
    assert [each[1].problem for each in iter(second.read, None)] == ["Case 1", "Case 2"]
    second.close()
    own.close()


# -- without leave to write ----------------------------------------------------------------------------------


@pytest.fixture
def read_only(path: Path) -> Iterator[Path]:
    """A library with a journal, in a folder that is not written to: asked by checking what is there."""
    LibraryStore(path).commit([commit(1)])
    path.with_name("library.lock").unlink()
    path.parent.chmod(0o555)
    yield path
    path.parent.chmod(0o755)


def test_reading_takes_no_lock_and_writes_nothing(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def only_reading(name: str | Path, flags: int, *more: int, **options: int) -> int:
        if Path(name).is_relative_to(read_only.parent) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise PermissionError(13, "Permission denied", str(name))
        return opened(name, flags, *more, **options)

    monkeypatch.setattr(os, "open", only_reading)  # root may write to any folder
    before = {entry.name: entry.stat().st_mtime_ns for entry in read_only.parent.iterdir()}
    followed = FollowedLibrary(read_only, every=0)
    assert len(followed.snapshot()) == len(read_library(read_only)) == 1
    reader = LibraryReader(read_only)
    with pytest.raises(LibraryError, match="Permission denied"):
        LibraryStore(read_only)
    monkeypatch.undo()
    if stat.S_IMODE(read_only.parent.stat().st_mode) == 0o555 and os.name != "nt":
        assert before == {entry.name: entry.stat().st_mtime_ns for entry in read_only.parent.iterdir()}
    read_only.parent.chmod(0o755)
    LibraryStore(read_only).commit([commit(2)])
    assert len(followed.snapshot()) == len(reader.refresh()) == 2


def test_a_reader_follows_a_writer_that_makes_checkpoints(path: Path) -> None:
    store, reader, behind = LibraryStore(path), LibraryReader(path), []

    def read() -> None:
        while not done.is_set():
            known = store.library.seen
            if reader.refresh().seen < known:
                behind.append(known)

    done = threading.Event()
    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for step in range(1, 41):
        store.commit([commit(step)])
        if step % 3 == 0:
            store.checkpoint()
    done.set()
    for thread in threads:
        thread.join()
    assert behind == []
    assert reader.refresh().seen == 40


def test_a_reader_names_damage_and_does_not_wait(path: Path) -> None:
    store = LibraryStore(path)
    store.commit([commit(1)])
    reader, journal = LibraryReader(path), journal_of(path)
    journal.write_bytes(journal.read_bytes() + b"x" * 500 + b"\n")
    with pytest.raises(LibraryError, match="line 3"):
        reader.refresh()

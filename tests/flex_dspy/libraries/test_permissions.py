"""Modes: a file keeps its own, what lies beside a library has the library's, and none is ever wider."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from flex_dspy.evaluation.usage_log import UsageLog
from flex_dspy.evaluation.usage_records import UsageRecord
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.experience import Commit, Experience, Insert
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import write_atomically
from flex_dspy.libraries.paths import beside, mode_beside
from flex_dspy.libraries.store import LibraryStore

pytestmark = pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")

LIBRARY = ExperienceLibrary([Experience("golden", "One.")], task="t")


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "library.json"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes(folder: Path) -> set[int]:
    return {mode(path) for path in folder.iterdir()}


def commit(step: int) -> Commit:
    return Commit("r", step, (Insert(Experience("golden", f"Lesson {step}.")),))


@pytest.mark.parametrize("given", [0o600, 0o640, 0o660, 0o644])
def test_all_files_of_a_library_have_its_mode(path: Path, given: int) -> None:
    LIBRARY.save(path)
    path.chmod(given)
    store = LibraryStore(path)
    store.commit([commit(1)])
    VersionLog(path, "run").add(1, LIBRARY, {})
    UsageLog(path).add([UsageRecord("v", "e", ("a",), 1.0)])
    assert modes(path.parent) == {given}
    assert len(list(path.parent.iterdir())) == 5
    store.checkpoint()
    LIBRARY.save(path)
    LIBRARY.export(path)
    assert modes(path.parent) == {given}
    assert LibraryStore.fresh(path).commit([commit(1)])
    assert modes(path.parent) == {given}


def test_a_new_library_follows_the_umask_or_what_it_is_told(path: Path, tmp_path: Path) -> None:
    LibraryStore(path).commit([commit(1)])
    assert mode(beside(path, "journal.jsonl")) == 0o644
    private = LibraryStore(tmp_path / "private" / "library.json", mode=0o600)
    private.commit([commit(1)])
    assert modes(private.path.parent) == {0o600}
    private.checkpoint()
    assert modes(private.path.parent) == {0o600}
    LibraryStore(private.path).commit([commit(2)])
    assert modes(private.path.parent) == {0o600}


def test_a_library_without_a_snapshot_has_the_mode_of_its_journal(path: Path) -> None:
    store = LibraryStore(path)
    store.commit([commit(1)])
    beside(path, "journal.jsonl").chmod(0o600)
    assert mode_beside(path) == 0o600
    store.checkpoint()
    assert mode(path) == 0o600


def test_a_library_that_nobody_may_write_can_be_learned_on_by_its_owner(path: Path) -> None:
    LIBRARY.save(path)
    path.chmod(0o444)
    store = LibraryStore(path)
    store.commit([commit(1)])
    assert mode(beside(path, "journal.jsonl")) == 0o644
    store.checkpoint()
    assert mode(path) == 0o444


@pytest.mark.parametrize("given", [0o600, 0o640, None])
def test_a_file_is_at_no_time_wider_than_it_will_be(
    path: Path, given: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given is not None:
        path.write_text("old")
        path.chmod(given)
    opened, seen = os.open, []

    def noted(name: str | Path, flags: int, asked: int = 0o777) -> int:
        file = opened(name, flags, asked)
        seen.append(stat.S_IMODE(os.fstat(file).st_mode))
        return file

    monkeypatch.setattr(os, "open", noted)
    write_atomically(path, "new")
    final = 0o644 if given is None else given
    assert seen[0] & ~final == 0
    assert mode(path) == final


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_owner_and_group_are_kept(path: Path) -> None:
    path.write_text("old")
    os.chown(path, 1234, 4321)
    path.chmod(0o640)
    write_atomically(path, "new")
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (1234, 4321, 0o640)


def test_a_group_that_cannot_be_kept_gives_no_other_group_access(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refused)
    path.write_text("old")
    path.chmod(0o660)
    status = os.stat_result([*path.stat()[:5], 4321, *path.stat()[6:]])
    monkeypatch.setattr("flex_dspy.libraries.library_file._status", lambda _: status)
    write_atomically(path, "new")
    assert mode(path) == 0o600

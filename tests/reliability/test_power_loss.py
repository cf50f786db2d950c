"""Power fails at every point of what a library does: nothing that was acknowledged is lost."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flex_dspy.core.errors import LibraryError
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import make_folder
from flex_dspy.libraries.observed import claim
from flex_dspy.libraries.store import LibraryStore
from tests.reliability.power_loss import Disk, Pending, crashes, disks_after, lay_out
from tests.reliability.recording import KilledError, Recorder, Write
from tests.reliability.work import commit, learned, library_file, observation, observed, steps_in

Check = Callable[[Path, Disk], None]


def learn(root: Path, recorder: Recorder, first: int = 1, last: int = 5) -> None:
    """Commits, one at a time and together, and checkpoints between them."""
    store = LibraryStore(library_file(root), task="t")
    for step in range(first, last + 1):
        store.commit([commit(step)])
        recorder.acknowledge("commit", step)
        if step % 2 == 0:
            store.checkpoint("parent")
    store.commit([commit(last + 1), commit(last + 2)])
    recorder.acknowledge("commit", last + 2)


def check_library(root: Path, disk: Disk) -> None:
    """Each acknowledged commit is there, and the library can be learned on."""
    store = LibraryStore(library_file(root), task="t")
    known = steps_in(store.library)
    assert known >= disk.acknowledged.get("commit", 0)
    store.commit([commit(known + 1)])
    assert steps_in(LibraryStore(library_file(root)).library) == known + 1


def observe(root: Path, recorder: Recorder) -> None:
    """Observations, with ids and without, that are learned from and forgotten, and more of them."""
    own, _ = claim(library_file(root))
    for number in range(1, 4):
        own.append(observation(number), f"{number:032x}" if number % 2 else "")
        recorder.acknowledge("observation", number)
    observed(own)
    recorder.acknowledge("learned", 3)
    own.forget(3)
    for number in range(4, 7):
        own.append(observation(number))
        recorder.acknowledge("observation", number)
    own.close()


def check_observations(root: Path, disk: Disk) -> None:
    """Each acknowledged observation is there, in order, if it was not learned from."""
    own, _ = claim(library_file(root))
    try:
        found = observed(own)
        assert found == list(range(found[0], found[-1] + 1)) if found else True
        last, learned_from = disk.acknowledged.get("observation", 0), disk.acknowledged.get("learned", 0)
        assert set(range(learned_from + 1, last + 1)) <= set(found)
        own.append(observation(99), f"{1:032x}")
        assert not (observed(own) == [99] and (last >= 1 or 1 in found))
    finally:
        own.close()


def publish(root: Path, recorder: Recorder) -> None:
    """Versions."""
    make_folder(library_file(root).parent)
    for step in range(1, 5):
        VersionLog(library_file(root), "run").add(step, learned(step), {})
        recorder.acknowledge("version", step)


def check_versions(root: Path, disk: Disk) -> None:
    """Each version is in the log."""
    records = VersionLog(library_file(root), "run").records
    assert [record.step for record in records] == list(range(1, len(records) + 1))
    assert len(records) >= disk.acknowledged.get("version", 0)


WORK = {
    "library": (learn, check_library),
    "observations": (observe, check_observations),
    "log": (publish, check_versions),
}


def is_out_of_order(survivors: list[Pending]) -> bool:
    """Whether the end of a write is there without its start, which no reader can tell from later damage."""
    return any(isinstance(each, Write) and each.data[:1] == b"\0" != each.data[-1:] for each in survivors)


def is_refused(folder: Path, disk: Disk, survivors: list[Pending], check: Check) -> bool:
    """Whether what is there is refused: that may only be where its damage cannot be told from any other."""
    try:
        check(folder, disk)
    except LibraryError as error:
        if not (error.place.startswith("line ") and is_out_of_order(survivors)):
            raise AssertionError(f"{survivors} left what cannot be opened") from error
        return True
    return False


def check_every_crash(
    disks: Iterator[Disk], root: Path, check: Check, samples: int = 6, seed: int = 0
) -> tuple[int, int]:
    """Open what each crash may leave; how many states there were, and how many were refused with a name."""
    rng, seen, refused = random.Random(seed), set(), 0
    for disk in disks:
        for survivors in crashes(disk, rng, samples):
            folder = root / "crash"
            folder.mkdir()
            state = lay_out(disk, survivors, folder), tuple(disk.acknowledged.items())
            if state not in seen:
                seen.add(state)
                refused += is_refused(folder, disk, survivors, check)
            shutil.rmtree(folder)
    return len(seen), refused


@pytest.mark.parametrize("name", WORK)
def test_power_fails_at_every_point(name: str, tmp_path: Path) -> None:
    work, check = WORK[name]
    (root := tmp_path / "root").mkdir()
    with Recorder(root).at_work() as recorder:
        work(root, recorder)
    states, _ = check_every_crash(disks_after(recorder.operations), tmp_path, check)
    assert states > 40


@pytest.mark.slow  # hundreds of states of the disk, each laid out and opened
def test_power_fails_after_a_kill_at_every_point(tmp_path: Path) -> None:
    """The next process goes on from what was not synced: its commits must not depend on it."""
    (whole := tmp_path / "whole").mkdir()
    with Recorder(whole).at_work() as recorder:
        learn(whole, recorder, last=2)
    states = 0
    for point in range(1, len(recorder.operations) - 1, 3):  # the last is no operation of the disk
        (root := tmp_path / f"root {point}").mkdir()
        with Recorder(root).at_work() as killed:
            killed.dies_before = point
            with pytest.raises(KilledError):
                learn(root, killed, last=2)
            killed.revive()
            known = LibraryStore(library_file(root), task="t").library.runs.get("r", 0)
            start = len(killed.operations)
            learn(root, killed, first=known + 1, last=known + 2)
        disks = (disk for number, disk in enumerate(disks_after(killed.operations)) if number > start)
        states += check_every_crash(disks, tmp_path, check_library, samples=2)[0]
        shutil.rmtree(root)
    assert states > 100


def test_the_simulation_finds_what_is_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without syncing folders, as many a program does, acknowledged commits are lost: the simulation must say so."""
    (root := tmp_path / "root").mkdir()
    for module in ("library_file", "journal", "files"):
        monkeypatch.setattr(f"flex_dspy.libraries.{module}.sync_folder", lambda folder: None)
    with Recorder(root).at_work() as recorder:
        learn(root, recorder)
    with pytest.raises(AssertionError):
        check_every_crash(disks_after(recorder.operations), tmp_path, check_library)


def test_an_empty_disk_is_an_empty_library(tmp_path: Path) -> None:
    check_library(tmp_path, Disk())
    assert len(ExperienceLibrary.load(library_file(tmp_path)) if library_file(tmp_path).exists() else ()) == 0

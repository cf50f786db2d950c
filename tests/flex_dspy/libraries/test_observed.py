"""The journal of observations on a disk that fails, and ids that make a call repeatable."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from flex_dspy.core.errors import LibraryError
from flex_dspy.libraries import known_ids
from flex_dspy.libraries.known_ids import KnownIds, digest
from flex_dspy.libraries.observation import Observation
from flex_dspy.libraries.observed import ObservationJournal, claim
from flex_dspy.libraries.paths import mode_beside
from tests.reliability.work import observation, observed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "library.json"


def opened(path: Path) -> ObservationJournal:
    own, others = claim(path)
    assert others == []
    return own


def failing(*numbers: int) -> Callable[..., None]:
    """An ``fsync`` of which these calls fail."""
    calls, force = iter(range(10**6)), os.fsync

    def fsync(file: int, *_: int) -> None:
        if next(calls) in numbers:
            raise OSError(5, "Input/output error")
        force(file)

    return fsync


def test_an_observation_that_could_not_be_forced_is_gone_and_made_again_counts_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(path)
    journal.append(observation(1))
    before = journal.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(0))
        with pytest.raises(LibraryError, match="Input/output error"):
            journal.append(observation(2))
    assert journal.path.read_bytes() == before
    assert journal.last == 1
    assert journal.append(observation(2)) == 2
    assert observed(journal) == [1, 2]
    journal.close()
    assert observed(opened(path)) == [1, 2]


def test_no_waiting_thread_is_told_that_its_observation_is_safe(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight lines are written while one sync is under way; the next, of all eight, fails; it would succeed after."""
    journal, first, go_on = opened(path), threading.Event(), threading.Event()
    calls, told, force = iter(range(10**6)), [], os.fsync

    def fsync(file: int) -> None:
        number = next(calls)
        if number == 0:
            first.set()
            go_on.wait(20)
        if number == 1:
            raise OSError(5, "Input/output error")
        force(file)

    def append(number: int) -> None:
        try:
            journal.append(observation(number), digest(str(number)))
        except LibraryError:
            return
        told.append(number)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        threads = [threading.Thread(target=append, args=(number,)) for number in range(9)]
        threads[0].start()
        first.wait(20)
        for thread in threads[1:]:
            thread.start()
        while journal._written.step < 9:
            threading.Event().wait(0.001)
        go_on.set()
        for thread in threads:
            thread.join()
    assert told == [0]
    assert observed(journal) == [0]
    for number in range(9):
        journal.append(observation(number), digest(str(number)))
    assert sorted(observed(journal)) == list(range(1, 9))


def test_where_nothing_can_be_taken_back_nothing_more_is_taken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(*range(99)))
        patch.setattr(os, "ftruncate", failing(*range(99)))
        with pytest.raises(LibraryError, match="Input/output error"):
            journal.append(observation(1), digest("1"))
    with pytest.raises(LibraryError, match="open the learner anew"):
        journal.append(observation(2))
    assert observed(journal) == []
    journal.close()
    again = opened(path)
    assert again.append(observation(1), digest("1")) == 0  # it was there after all
    assert observed(again) == [1]


@pytest.mark.parametrize("is_forgotten", [False, True])
@pytest.mark.parametrize("is_opened_anew", [False, True])
def test_one_id_counts_once(path: Path, is_forgotten: bool, is_opened_anew: bool) -> None:
    journal = opened(path)
    assert journal.append(observation(1), digest("one")) == 1
    assert journal.append(observation(2)) == 2
    assert observed(journal) == [1, 2]
    if is_forgotten:
        journal.forget(2)
        assert b"Case" not in journal.path.read_bytes()
    if is_opened_anew:
        journal.close()
        journal = opened(path)
        journal.go_on_after(2)
        observed(journal)
    assert journal.append(observation(7), digest("one")) == 0
    assert journal.append(observation(8), digest("two")) == 3
    assert observed(journal) == [8]


def test_ids_of_a_dead_process_are_known_to_the_next(path: Path) -> None:
    first, second = claim(path)[0], claim(path)[0]
    assert first.path != second.path
    second.append(observation(1), digest("one"))
    second.close()
    first.close()
    own, (left,) = claim(path)
    assert observed(left) == [1]
    left.close(remove=True)
    own.close()
    assert opened(path).append(observation(2), digest("one")) == 0


def test_so_many_ids_are_known_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_ids, "KEPT", 10)
    path = tmp_path / "ids"
    for start in range(0, 60, 4):
        ids = KnownIds(path)
        for number in range(start, start + 4):
            ids.note(digest(str(number)))
        ids.keep()
    ids = KnownIds(path)
    assert [number for number in range(60) if digest(str(number)) in ids] == list(range(50, 60))
    assert path.stat().st_size < 25 * 34
    assert path.stat().st_mode & 0o077 == 0
    with path.open("ab") as file:
        file.write(b"0123")  # as a crash leaves it
    ids.note(digest("60"))
    ids.keep()
    assert digest("60") in KnownIds(path)


def test_observations_are_their_owners_alone(path: Path) -> None:
    opened(path).append(observation(1), digest("one"))
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    assert mode_beside(path) is None


def test_an_observation_that_could_not_be_read_back_is_not_taken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flex_dspy.libraries.observed.MAX_LINE", 500)
    journal = opened(path)
    with pytest.raises(LibraryError, match="may have 500 bytes"):
        journal.append(Observation("e", "x" * 500))
    journal.append(observation(1))
    assert observed(journal) == [1]

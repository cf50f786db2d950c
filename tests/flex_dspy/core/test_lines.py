"""Files of lines that are damaged by size: a hole of gigabytes, a line without an end."""

import tracemalloc
from pathlib import Path

import pytest

from flex_dspy.core import lines
from flex_dspy.core.errors import LibraryError, LibraryFormatError
from flex_dspy.evaluation.usage_log import UsageLog
from flex_dspy.evaluation.usage_records import UsageRecord
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.library_file import load
from flex_dspy.libraries.observed import claim
from flex_dspy.libraries.reading import LibraryReader
from flex_dspy.libraries.store import LibraryStore, journal_of
from flex_dspy.models.spending import Ledger
from tests.reliability.work import commit, learned, observation, observed, steps_in

HOLE = 3 << 30


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "library.json"


@pytest.fixture(autouse=True)
def _small_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of 64 kB, so that looking through a hole is all that takes time."""
    monkeypatch.setattr(lines, "MAX_LINE", 1 << 16)


def with_hole(path: Path, size: int = HOLE) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


def test_gigabytes_of_nul_behind_a_journal_are_a_torn_line(path: Path) -> None:
    store = LibraryStore(path, task="t")
    store.commit([commit(1), commit(2)])
    with_hole(journal_of(path))
    tracemalloc.start()
    try:
        again = LibraryStore(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert steps_in(again.library) == 2
    assert peak < 20e6
    again.commit([commit(3)])
    assert steps_in(LibraryReader(path).library) == 3
    assert journal_of(path).stat().st_size < 10_000


@pytest.mark.parametrize("tail", [b"x" * 200_000, b"\0" * 200_000 + b"x", b"\0" * 3_000_000 + b"{}\n"])
def test_a_line_beyond_all_measure_is_named(path: Path, tail: bytes) -> None:
    LibraryStore(path, task="t").commit([commit(1)])
    start = journal_of(path).stat().st_size
    with journal_of(path).open("ab") as file:
        file.write(tail)
    for opening in (LibraryStore, LibraryReader):
        with pytest.raises(LibraryFormatError, match=rf"line 3, from byte {start}: is longer than 65,536 bytes"):
            opening(path)


def test_a_journal_that_is_one_hole_is_named(path: Path) -> None:
    LibraryStore(path, task="t").commit([commit(1)])
    journal_of(path).write_bytes(b"")
    with_hole(journal_of(path), 100 << 20)
    with pytest.raises(LibraryFormatError, match="line 1: the journal's header is damaged"):
        LibraryStore(path)


def test_a_hole_in_a_library_is_refused_at_its_first_byte(path: Path) -> None:
    learned(1).save(path)
    size = path.stat().st_size
    with_hole(path, 1 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(LibraryFormatError, match=f"byte {size}: is NUL"):
            load(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 80e6


def test_holes_behind_observations_and_records_cost_nothing(path: Path) -> None:
    own, _ = claim(path)
    own.append(observation(1))
    own.close()
    with_hole(own.path, 50 << 20)
    own, _ = claim(path)
    assert observed(own) == [1]
    assert own.path.stat().st_size < 1_000
    own.close()
    outcomes, ledger = UsageLog(path), Ledger(path.with_name("spending.jsonl"))
    outcomes.add([UsageRecord("v", "e", ("a",), 1.0)])
    ledger.charge("actor", "m", {"prompt_tokens": 1})
    for file in (outcomes.path, ledger.path):
        with_hole(file, 50 << 20)
    assert len(outcomes.read()) == 1
    assert Ledger(ledger.path).total.tokens == 1
    VersionLog(path, "run").add(1, learned(1), {})
    with_hole(path.with_name("library.versions.jsonl"), 50 << 20)
    with pytest.raises(LibraryError, match="line 2"):
        VersionLog(path, "run")


def test_a_commit_that_could_not_be_read_back_is_not_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flex_dspy.libraries.store.MAX_LINE", 700)
    with pytest.raises(LibraryFormatError, match=r"longer than 700 bytes.*Nothing of it was written"):
        LibraryStore(path, task="t").commit([commit(1)])
    assert not journal_of(path).exists()

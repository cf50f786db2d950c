"""Arrays in a file: found by every process, computed again where the file is damaged, absent or cannot be written."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from flex_dspy.core import array_file
from flex_dspy.core.array_file import ArrayFile, Words

ROW = 8 + 8 + 2 * 8  # bytes


def _compute(text: str) -> Words:
    return np.array([int(text), int(text) ** 2], np.uint64)


def _never(text: str) -> Words:
    raise AssertionError(f"{text} is in the file")


def _fill(path: Path, texts: Iterable[int]) -> None:
    file = ArrayFile(path, 2)
    for n in texts:
        file.find(str(n), _compute)


def test_another_reader_finds_written_rows(tmp_path: Path) -> None:
    _fill(tmp_path / "a" / "rows", range(100))
    reader = ArrayFile(tmp_path / "a" / "rows", 2)
    assert [list(reader.find(str(n), _never)) for n in (0, 7, 99)] == [[0, 0], [7, 49], [99, 9801]]


def test_a_reader_sees_rows_that_are_added_later(tmp_path: Path) -> None:
    reader = ArrayFile(tmp_path / "rows", 2)
    assert list(reader.find("3", _compute)) == [3, 9]
    _fill(tmp_path / "rows", range(200))
    assert list(reader.find("150", _never)) == [150, 22500]


def test_a_none_is_not_kept(tmp_path: Path) -> None:
    file = ArrayFile(tmp_path / "rows", 2)
    assert file.find("1", lambda _: None) is None
    assert list(file.find("1", _compute)) == [1, 1]


@pytest.mark.parametrize("offset", [8, 16, 31])  # the checksum, the first and the last byte of the array
def test_a_damaged_row_is_computed_again(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "rows"
    _fill(path, range(100))
    data = bytearray(path.read_bytes())
    data[5 * ROW + offset] ^= 1
    path.write_bytes(data)
    reader = ArrayFile(path, 2)
    assert list(reader.find("5", _compute)) == [5, 25]
    assert list(reader.find("6", _never)) == [6, 36]


def test_a_part_of_a_row_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    _fill(path, range(100))
    path.write_bytes(path.read_bytes() + b"part")
    _fill(path, range(100, 200))
    assert path.stat().st_size == 200 * ROW
    assert list(ArrayFile(path, 2).find("199", _never)) == [199, 39601]


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    file = ArrayFile(tmp_path / "file" / "rows", 2)
    assert [list(file.find(str(n), _compute)) for n in range(150)] == [[n, n * n] for n in range(150)]


def test_threads_and_files_may_write_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_file, "PATIENCE", 60.0)  # no row is left out on a busy machine
    path = tmp_path / "rows"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda start: _fill(path, range(start, start + 300)), (0, 300, 600, 900)))
    reader = ArrayFile(path, 2)
    for n in range(1200):
        assert list(reader.find(str(n), _compute)) == [n, n * n]
    assert path.stat().st_size == 1200 * ROW


def test_a_growing_file_takes_one_file_descriptor(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    file = ArrayFile(tmp_path / "rows", 2)
    kept = [file.find(str(n), _compute) for n in range(2_000)]
    after = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    assert after <= before + 2
    assert list(kept[1_500]) == [1_500, 1_500**2]


def test_what_waits_to_be_written_is_not_computed_again(tmp_path: Path) -> None:
    file = ArrayFile(tmp_path / "rows", 2)
    assert list(file.find("5", _compute)) == list(file.find("5", _never)) == [5, 25]


def test_a_damaged_row_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    _fill(path, range(100))
    data = bytearray(path.read_bytes())
    data[5 * ROW + 16] ^= 1
    path.write_bytes(data)
    _fill(path, [5, *range(100, 199)])
    assert list(ArrayFile(path, 2).find("5", _never)) == [5, 25]

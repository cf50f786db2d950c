"""Reads the rows of a table file one by one, so that good rows are kept when another row is bad.

The formats are CSV, JSON Lines, JSON and Parquet; the first three may be gzipped. This module uses the standard
library, because the readers of ``datasets`` stop at the first row that they cannot read.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from flex_dspy.core.errors import DataError


@dataclass(frozen=True)
class Row:
    """One row of a file or a hub data set.

    Attributes:
        number: Line number in a text file, row number in any other file; from 1.
        cells: The values by column; empty for a row that could not be read.
        problem: Why the row could not be read, or None.
    """

    number: int
    cells: Mapping[str, Any]
    problem: str | None = None


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, unreadable ones included, in order.

    Raises:
        DataError: There is no such file, its name has no known ending, or it is damaged as a whole.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a file.")
    if not path.exists():
        raise DataError(f"{path}: no such file.")
    suffix = path.name.removesuffix(".gz").rpartition(".")[2].lower()
    reader = _READERS.get(suffix)
    if reader is None or (suffix == "parquet" and path.suffix == ".gz"):
        raise DataError(f"{path}: the name must end in {', '.join(ENDINGS)}.")
    try:
        yield from reader(path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: the file cannot be read to its end: {error}") from error


def _open(path: Path) -> TextIO:
    """The file as text, unzipped if its name says so."""
    # Bytes that are not UTF-8 become U+FFFD. So only their row is bad, and reading continues.
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace", newline="")
    return path.open(encoding="utf-8-sig", errors="replace", newline="")


def _csv_rows(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        lines = csv.reader(file)
        header = next(lines, [])
        while True:
            try:
                values = next(lines)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(lines.line_num, {}, f"no CSV: {error}")
                continue
            if values:
                yield _csv_row(lines.line_num, header, values)


def _csv_row(number: int, header: list[str], values: list[str]) -> Row:
    if len(values) != len(header):
        return Row(number, {}, f"{len(values)} values for {len(header)} columns")
    problem = "not UTF-8" if any("\ufffd" in value for value in values) else None
    return Row(number, dict(zip(header, values, strict=True)), problem)


def _jsonl_rows(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _jsonl_row(number, line)


def _jsonl_row(number: int, line: str) -> Row:
    if "\ufffd" in line:
        return Row(number, {}, "not UTF-8")
    try:
        return _object_row(number, json.loads(line))
    except (ValueError, RecursionError) as error:
        return Row(number, {}, f"no JSON: {error}")


def _json_rows(path: Path) -> Iterator[Row]:
    """The rows of a JSON file: a list of objects, or an object with a single list such as ``{"data": [...]}``."""
    with _open(path) as file:
        try:
            content = json.load(file)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: no JSON: {error}") from error
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else None
    if not isinstance(content, list):
        raise DataError(f"{path}: expected a list of objects.")
    yield from (_object_row(number, item) for number, item in enumerate(content, start=1))


def _parquet_rows(path: Path) -> Iterator[Row]:
    # The import takes 0.1 s; the package comes with `datasets`.
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: no Parquet file: {error}") from error
    yield from (Row(number, cells) for number, cells in enumerate(table.to_pylist(), start=1))


def _object_row(number: int, item: object) -> Row:
    if isinstance(item, dict):
        return Row(number, item)
    return Row(number, {}, f"expected an object, found {type(item).__name__}")


_READERS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    "csv": _csv_rows,
    "jsonl": _jsonl_rows,
    "json": _json_rows,
    "parquet": _parquet_rows,
}
ENDINGS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")

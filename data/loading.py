"""Loads examples from a file, the hub or the shipped set. The loaders of all tasks use this module.

A bad row is counted and listed; it raises no error. A source without a good row raises an error that names its columns.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import dspy

from flex_dspy.core.errors import DataError
from flex_dspy.data.files import ENDINGS, Row, read_rows
from flex_dspy.data.hub import HubAddress, read_hub_rows

_Item = TypeVar("_Item")

_ID_COLUMNS = ("id", "ID")
_REASONS_SHOWN = 3
# "folder/name.tsv" also has the form of a hub address, but means a file.
_FILE_ENDING = re.compile(r"\.[A-Za-z]{2,8}$")


@dataclass(frozen=True)
class BadRow:
    """A row that gave no example.

    Attributes:
        row: Its line number in a text file, its row number in any other source; from 1.
        reason: The problem with it.
    """

    row: int
    reason: str


@dataclass(frozen=True)
class LoadedData:
    """The examples of one source.

    Attributes:
        examples: The good rows, in the order of the source, or in random order if a limit and a seed were given.
        bad_rows: The rows that gave no example.
        source: The source as the caller named it.
        digest: SHA-256 of the examples, order included.
    """

    examples: list[dspy.Example]
    bad_rows: list[BadRow]
    source: str
    digest: str


def load_examples(
    source: str | Path,
    to_example: Callable[[Mapping[str, Any]], dspy.Example],
    *,
    expected: str,
    shipped: Mapping[str, Path] | None = None,
    keep: Callable[[Mapping[str, Any]], bool] | None = None,
    limit: int | None = None,
    seed: int | None = None,
) -> LoadedData:
    """Read a source and turn its rows into examples.

    Args:
        source: The name of a shipped split, the path of a file, or ``owner/name[:config][@split]`` on the hub. The
            first of these that fits is used.
        to_example: Makes an example from a row's cells. It raises ValueError with the reason for a bad row.
        expected: The columns that `to_example` understands, for error messages.
        shipped: Files by split name.
        keep: Takes a row's cells and returns whether the row belongs to the data set; None takes all rows.
        limit: Largest number of examples. With a seed they are a random choice, without it the first ones.
        seed: Shuffle before taking; None keeps the order.

    Returns:
        At least one example. Repeated ids of the source become ``id``, ``id#2``, ...

    Raises:
        DataError: There is no such source, it is damaged, or it has no good row.
    """
    if limit is not None and limit < 1:
        raise DataError(f"The limit must be at least 1, not {limit}.")
    rows = _with_distinct_ids(_rows(source, shipped or {}))
    if keep is not None:
        rows = [row for row in rows if row.problem is not None or keep(row.cells)]
    # Rows are sampled before they are read as chemistry or mathematics, because that reading is slow.
    order = rows if seed is None else sample(rows, None, seed)
    good: dict[str, dspy.Example] = {}
    bad: list[BadRow] = []
    for row in order:
        if limit is not None and len(good) == limit:
            break
        _file_away(row, to_example, good, bad)
    if not good:
        raise DataError(_nothing_good(source, rows, bad, expected))
    examples = list(good.values())
    return LoadedData(examples, sorted(bad, key=lambda bad_row: bad_row.row), str(source), digest(examples))


def sample(items: Sequence[_Item], n: int | None, seed: int) -> list[_Item]:
    """The first n items after a shuffle with the seed; all items if n is None."""
    shuffled = list(items)
    random.Random(seed).shuffle(shuffled)  # noqa: S311  (no secret)
    return shuffled[:n]


def digest(examples: Sequence[dspy.Example]) -> str:
    """SHA-256 of the examples' fields, order of the examples included."""
    total = hashlib.sha256()
    for example in examples:
        total.update(json.dumps(example.toDict(), sort_keys=True, ensure_ascii=False, default=str).encode())
        total.update(b"\n")
    return total.hexdigest()


def content_id(*parts: str) -> str:
    """An id for a row that has none. The same row gets the same id in any file."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def first_of(cells: Mapping[str, Any], columns: Sequence[str]) -> Any:
    """The value of the first column that the row has and that is not empty, or None."""
    return next((cells[column] for column in columns if cells.get(column) not in (None, "")), None)


def _rows(source: str | Path, shipped: Mapping[str, Path]) -> Iterable[Row]:
    """The rows of a source of any kind."""
    if isinstance(source, str) and source in shipped:
        return read_rows(shipped[source])
    path = Path(source).expanduser()
    if isinstance(source, Path) or path.exists() or _FILE_ENDING.search(source) or source.endswith(ENDINGS):
        return read_rows(path)
    address = HubAddress.parse(source)
    if address is None:
        names = f"one of {', '.join(shipped)}, " if shipped else ""
        raise DataError(f"{source!r} is no data: give {names}a file, or owner/name[:config][@split] on the hub.")
    return read_hub_rows(address)


def _with_distinct_ids(rows: Iterable[Row]) -> list[Row]:
    """The rows, with #2, #3, ... added to repeated ids. USPTO's ids are patents, which repeat."""
    seen: Counter[str] = Counter()
    distinct = []
    for row in rows:
        column = next((name for name in _ID_COLUMNS if row.cells.get(name) not in (None, "")), None)
        if column is not None:
            given = str(row.cells[column])
            seen[given] += 1
            if seen[given] > 1:
                row = Row(row.number, {**row.cells, column: f"{given}#{seen[given]}"}, row.problem)  # noqa: PLW2901
        distinct.append(row)
    return distinct


def _file_away(
    row: Row,
    to_example: Callable[[Mapping[str, Any]], dspy.Example],
    good: dict[str, dspy.Example],
    bad: list[BadRow],
) -> None:
    """Add a row's example to ``good``, or the reason why it has none to ``bad``."""
    if row.problem is not None:
        bad.append(BadRow(row.number, row.problem))
        return
    try:
        example = to_example(row.cells)
    except ValueError as error:
        bad.append(BadRow(row.number, str(error)))
        return
    if example.id in good:
        bad.append(BadRow(row.number, f"repeats the example {example.id}"))
    else:
        good[example.id] = example


def _nothing_good(source: str | Path, rows: Sequence[Row], bad: Sequence[BadRow], expected: str) -> str:
    """The error message for a source without a good row: it is empty, or has these columns and reasons."""
    if not rows:
        return f"{source} is empty. Expected {expected}."
    columns = next((list(row.cells) for row in rows if row.cells), [])
    seen = f"columns seen: {', '.join(map(str, columns))}" if columns else "no columns seen"
    reasons = "; ".join(f"row {row.row}: {row.reason}" for row in bad[:_REASONS_SHOWN])
    return f"{source}: none of {len(rows)} rows can be used ({reasons}). Expected {expected}; {seen}."

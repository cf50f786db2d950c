"""Files of an evaluation's records.

``records.jsonl`` holds one line for each record, with all data needed to judge it again. ``logs/`` holds one readable
page for each example.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import count
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from flex_dspy.core.errors import DataError
from flex_dspy.evaluation.evaluation import Evaluation
from flex_dspy.evaluation.records import Record, by_example
from flex_dspy.libraries.library_file import write_atomically

RECORDS = "records.jsonl"
RESCORED = "records.rescored"
_JSON = TypeAdapter(Record)


def write_records(folder: Path, evaluation: Evaluation) -> None:
    """Write ``records.jsonl``, ``metrics.json``, and one readable page for each example in ``logs/``.

    Args:
        folder: The folder. It is created if missing. Files of an earlier evaluation are replaced.
        evaluation: The evaluation.

    Raises:
        LibraryError: If a file cannot be written.
    """
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    write_atomically(folder / RECORDS, as_lines(evaluation.records))
    write_atomically(folder / "metrics.json", json.dumps(evaluation.metrics(), indent=2) + "\n")
    seen: Counter[str] = Counter()
    for samples in by_example(evaluation.records):
        name = samples[0].example_id
        seen[name] += 1  # a set may hold the same problem twice
        again = f"-{seen[name]}" if seen[name] > 1 else ""
        write_atomically(folder / "logs" / f"{name}{again}.md", page(samples))


def write_rescored(path: Path, records: Sequence[Record]) -> Path:
    """Write rescored records as ``records.rescored.jsonl``, beside the original records. No file is replaced.

    Args:
        path: The folder or the file that was read.
        records: The new records.

    Returns:
        The new file. Its name has a number if the file existed already.
    """
    folder = path if path.is_dir() else path.parent
    names = (f"{RESCORED}{f'.{number}' if number > 1 else ''}.jsonl" for number in count(1))
    free = next(file for name in names if not (file := folder / name).exists())
    write_atomically(free, as_lines(records))
    return free


def as_lines(records: Sequence[Record]) -> str:
    """Records as JSON lines. Values that JSON does not support are written as text."""
    names = [each.name for each in fields(Record)]
    plain = ({name: to_jsonable_python(getattr(record, name), fallback=str) for name in names} for record in records)
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in plain)


def page(samples: Sequence[Record]) -> str:
    """Readable page of one example with all its samples."""
    first = samples[0]
    scores = ", ".join(f"{record.score:g}" for record in samples)
    parts = [
        f"# {first.example_id}: score {scores}",
        f"## Problem\n\n{first.problem}",
        f"## Reference\n\n{first.reference}",
    ]
    for record in samples:
        if len(samples) > 1:
            parts.append(f"# Sample {record.sample}: score {record.score:g}")
        parts += _sample(record)
    return "\n\n".join(parts) + "\n"


def _sample(record: Record) -> Iterator[str]:
    yield from (f"## {name}\n\n{value}" for name, value in record.outputs.items())
    yield f"## Feedback\n\n{record.feedback or record.error}"
    yield f"## Experiences shown\n\n{', '.join(record.shown) or 'none'}"
    spent = f", {record.prompt_tokens:,} + {record.completion_tokens:,} tokens" if record.tokens else ""
    money = f", ${record.usd:.4f}" if record.usd else ""
    yield f"{record.seconds:.2f} s{spent}{money}"


def records_file(path: Path) -> Path:
    """Path of the file of records, from a folder or a file name."""
    return path / RECORDS if path.is_dir() else path


def read_records(path: str | Path) -> tuple[Record, ...]:
    """Read records from a file. Files of earlier versions can be read too.

    Args:
        path: A file, or a folder with a ``records.jsonl``.

    Returns:
        At least one record.

    Raises:
        DataError: If the file does not exist, is empty, or a line is not a record. The error names the line.
    """
    file = records_file(Path(path))
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error
    records = tuple(_read(file, number, line) for number, line in enumerate(lines, start=1))
    if not records:
        raise DataError(f"{file} holds no record")
    try:
        by_example(records)
    except ValueError as error:
        raise DataError(f"{file}: {error}") from error
    return records


def _read(file: Path, number: int, line: bytes) -> Record:
    try:
        return _JSON.validate_json(line)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise DataError(f"{file}: line {number} is no record: {f'{place}: ' if place else ''}{fault['msg']}") from error

"""Stores an evaluation in a folder, with the hash of its library and a short text of each entry."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from flex_dspy.core.errors import DataError
from flex_dspy.core.scoring import ACCURACY
from flex_dspy.evaluation.differences import Side
from flex_dspy.evaluation.evaluation import Evaluation
from flex_dspy.evaluation.record_files import RECORDS, read_records, records_file, write_records
from flex_dspy.libraries.library_file import write_atomically

ABOUT = "about.json"


@dataclass(frozen=True, slots=True)
class _About:
    """Content of ``about.json``; see ``Side`` and ``Evaluation``."""

    score: str = ACCURACY
    library: str = ""
    size: int = 0
    entries: dict[str, str] = field(default_factory=dict)
    task: str = ""


_JSON = TypeAdapter(_About)


def write_side(folder: Path, side: Side) -> None:
    """Write the records of a side, and ``about.json``.

    Args:
        folder: The folder. It is created if missing. Files of an earlier evaluation are replaced.
        side: The side to write.

    Raises:
        LibraryError: If a file cannot be written.
    """
    write_records(folder, side.evaluation)
    about = _About(side.evaluation.score, side.library, side.size, dict(side.entries), side.task)
    write_atomically(folder / ABOUT, _JSON.dump_json(about, indent=1).decode() + "\n")


def read_side(path: Path, name: str = "") -> Side:
    """Read a side from a folder. Without ``about.json`` (earlier versions) its library is not known.

    Args:
        path: A file of records, or a folder with a ``records.jsonl``.
        name: The side's name.

    Raises:
        DataError: If a file is missing, empty or damaged; the error names the line.
    """
    records, file = read_records(path), records_file(path)
    about = asdict(_read_about(file.with_name(ABOUT)))
    score = about.pop("score")  # rescored records may have another name of the score
    return Side(name, Evaluation(records, score if file.name == RECORDS else ACCURACY), **about)


def _read_about(file: Path) -> _About:
    if not file.exists():
        return _About()
    try:
        return _JSON.validate_json(file.read_bytes())
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise DataError(f"{file}: {fault['msg']}. Remove it to compare the records without it") from error

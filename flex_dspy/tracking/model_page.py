"""The files of a version's page in MLflow.

``library.json`` is the version itself. Other files show its entries, the changes since its parent, the learning curve
up to it, and the record of each example. The size of these other files is bounded, so that a page with 10,000 entries
opens as fast as a page with 10.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flex_dspy.core import representations
from flex_dspy.core.secrets import error_text, withhold
from flex_dspy.learning.curve import CurvePoint, learning_curve
from flex_dspy.learning.version import Version
from flex_dspy.libraries.diffing import diff
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.locations import LIBRARY_FILE

logger = logging.getLogger(__name__)

LIBRARY_PAGE, DIFF_PAGE, EXAMPLES_TABLE, CURVE = "library.html", "diff.html", "examples.csv", "learning_curve.png"
MOST_ENTRIES = 100  # of the library, on its page
MOST_CHANGES = 25  # of each kind, on the page of the difference
MOST_POINTS = 50  # of the learning curve
MOST_ROWS = 5_000
MOST_CHARACTERS = 500  # of one cell


def write_page(
    folder: Path, version: Version, parent: ExperienceLibrary | None, curve: Sequence[CurvePoint], title: str
) -> None:
    """Write the files of a version's page into a folder.

    Only the library's own file is required. If another file cannot be made, it is left out, and a warning is logged.

    Args:
        folder: An empty folder.
        version: The version.
        parent: The version before; None if there is nothing to compare with.
        curve: The versions up to this one that were measured.
        title: The page's title: the task and the model.
    """
    (folder / LIBRARY_FILE).write_text(version.library.to_json(), encoding="utf-8")
    _attempt(_write_library, folder / LIBRARY_PAGE, version.library, title)
    if parent is not None:
        _attempt(_write_diff, folder / DIFF_PAGE, parent, version.library)
    if any(each.examples for each in curve):
        _attempt(_draw, folder / CURVE, curve, title)
    if version.records:
        _attempt(_write_examples, folder / EXAMPLES_TABLE, version)


def _attempt(write: Callable[..., None], path: Path, *args: Any) -> None:
    try:
        write(path, *args)
    except Exception as error:  # a missing picture must not prevent the logging of the version
        path.unlink(missing_ok=True)
        logger.warning("a version's page in MLflow has no %s: %s", path.name, error_text(error))


def _write_library(path: Path, library: ExperienceLibrary, title: str) -> None:
    path.write_text(representations.page(library, title=title, limit=MOST_ENTRIES), encoding="utf-8")


def _write_diff(path: Path, parent: ExperienceLibrary, library: ExperienceLibrary) -> None:
    page = representations.page(diff(parent, library), limit=MOST_CHANGES)
    path.write_text(f'<!doctype html>\n<meta charset="utf-8">\n{page}', encoding="utf-8")


def _draw(path: Path, curve: Sequence[CurvePoint], title: str) -> None:
    every = -(-len(curve) // MOST_POINTS)
    learning_curve([*curve[:-1:every], curve[-1]], path, title=title)


def _write_examples(path: Path, version: Version) -> None:
    rows = list(rows_of(version.records[:MOST_ROWS]))
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
        table.writeheader()
        table.writerows(rows)


def rows_of(records: Sequence[Any]) -> Iterator[dict[str, str | float]]:
    """Records as rows of a table, with short cells and without anything that looks like a key.

    Args:
        records: Records of an evaluation.

    Yields:
        A row for each record: example, sample, score, reference, the answer's outputs, problem, the other outputs, the
        verdict's feedback, number of entries shown, seconds, tokens and money, and a column for each further measure.
    """
    for record in records:
        answers = {name: _cell(value) for name, value in record.outputs.items() if name in record.labels}
        others = {name: _cell(value) for name, value in record.outputs.items() if name not in answers}
        yield {
            "example": record.example_id,
            "sample": record.sample,
            "score": record.score,
            "reference": _cell(record.reference),
            **{f"output: {name}": value for name, value in answers.items()},
            "problem": _cell(record.problem),
            **{f"output: {name}": value for name, value in others.items()},
            "feedback": _cell(record.error or record.feedback),
            "entries shown": len(record.shown),
            "seconds": round(record.seconds, 3),
            "tokens": record.tokens,
            "usd": record.usd,
            **{name: float(value) for name, value in record.measures.items()},
        }


def _cell(value: Any) -> str:
    text = " ".join(withhold(str(value)).split())
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 3] + "..."

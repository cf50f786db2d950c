"""The table of all versions in a store: for a terminal, a notebook and pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flex_dspy.display import html
from flex_dspy.evaluation.differences import Difference
from flex_dspy.tracking.version_rows import ACCURACY, VersionRow

if TYPE_CHECKING:
    import pandas as pd

MISSING = "-"
SCORE = "score"

TEXTS = ("task", "version", "aliases")  # the first columns, which hold texts; the task may be missing


def version_cells(rows: Sequence[VersionRow]) -> tuple[list[str], list[list[str]]]:
    """Column names, and one row of texts for each version.

    The columns of the task, the metric, the validation set and the difference are left out if they would be empty or
    the same in all rows.
    """
    cells = [_cells(row) for row in rows]
    dropped = {name for name, is_told in _optional(rows).items() if not is_told}
    names = [name for name in cells[0] if name not in dropped] if cells else []
    head = [ACCURACY if name == SCORE and "metric" in dropped else name for name in names]
    return head, [[row[name] or MISSING for name in names] for row in cells]


def _optional(rows: Sequence[VersionRow]) -> dict[str, bool]:
    """Whether each optional column is shown."""
    tasks = {row.task for row in rows}
    sets = {(row.task, row.dataset_digest) for row in rows if row.score is not None}
    has_differences = any(row.difference for row in rows)
    return {
        "task": len(tasks) > 1,
        "metric": any(row.metric != ACCURACY for row in rows),
        "measured on": len(sets) > len({task for task, _ in sets}),
        "beside the best": has_differences,
        "p": has_differences,
    }


def _cells(row: VersionRow) -> dict[str, str]:
    found = row.difference
    return {
        "task": row.task,
        "version": row.reference,
        "aliases": ", ".join(row.aliases),
        "metric": row.metric,
        SCORE: row.score_text(),
        "95% interval": row.interval_text(),
        "beside the best": gain_text(row, found) if found else "",
        "p": f"{found.adjusted:.2g}" if found else "",
        "n": _count(row.n),
        "errors": _count(row.errors),
        "entries": _count(row.entries),
        "examples": f"{row.examples:,}",
        "parent": row.parent.split(" (")[0][:12],
        "model": row.model,
        "cost": row.cost_text(),
        "measured on": f"{row.dataset} {row.dataset_digest[:6]}".strip() if row.score is not None else "",
        "run": row.run_name if not row.run_id else f"{row.run_name} {row.run_id[:8]}".strip(),
    }


def gain_text(row: VersionRow, found: Difference) -> str:
    """Text of a gain with its interval: in percentage points for accuracies, else in the metric's unit."""
    is_share = row.metric == ACCURACY
    numbers = [number for number in (found.gain, found.low, found.high) if number is not None]
    gain, *bounds = (f"{100 * number:+.1f}" if is_share else f"{number:+.3f}" for number in numbers)
    return gain + (f" ({' to '.join(bounds)})" if bounds else "")


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def version_table_cell(rows: Sequence[VersionRow]) -> str:
    """HTML table of versions for a notebook's cell, the best first."""
    head, cells = version_cells(rows)
    return html.fragment(html.title(html.count(len(rows), "version")), html.table(head, cells))


def version_table_frame(rows: Sequence[VersionRow]) -> pd.DataFrame:
    """Table with one row for each version, the best first. Unknown values are NaN or empty.

    ``score`` is the accuracy as a fraction, or the mean of the metric that ``metric`` names. ``gain`` with its
    interval, ``wins``, ``losses`` and ``p_value`` (Holm's correction) describe the paired difference from the best
    version.
    """
    import pandas as pd

    frame = pd.DataFrame([_frame_row(row) for row in rows])
    counts = ["number", "n", "errors", "entries", "wins", "losses"]
    numbers = ["score", "low", "high", "gain", "gain_low", "gain_high", "p_value", "tokens", "usd"]
    types = dict.fromkeys(counts, "Int64") | dict.fromkeys(numbers, "float64")
    return frame.astype(types) if len(frame) else frame


def _frame_row(row: VersionRow) -> dict[str, Any]:
    found, numbers = row.difference, row.numbers
    return {
        "task": row.task,
        "version": row.reference,
        "name": row.name,
        "number": row.number,
        "aliases": list(row.aliases),
        "metric": row.metric,
        "score": row.score,
        "low": numbers.get("accuracy_low"),
        "high": numbers.get("accuracy_high"),
        "n": row.n,
        "errors": row.errors,
        "entries": row.entries,
        "examples": row.examples,
        "gain": found.gain if found else None,
        "gain_low": found.low if found else None,
        "gain_high": found.high if found else None,
        "wins": found.wins if found else None,
        "losses": found.losses if found else None,
        "p_value": found.adjusted if found else None,
        "tokens": numbers.get("spend_tokens"),
        "usd": numbers.get("spend_usd"),
        "hash": row.hash,
        "parent": row.parent,
        "model": row.model,
        "dataset": row.dataset,
        "dataset_digest": row.dataset_digest,
        "experiment": row.experiment,
        "run": row.run_name,
        "run_id": row.run_id,
        "model_id": row.model_id,
    }

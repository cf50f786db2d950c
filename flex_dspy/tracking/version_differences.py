"""Computes paired differences of versions to the best version, from the tables of examples in MLflow."""

from __future__ import annotations

import csv
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flex_dspy.core.errors import DataError
from flex_dspy.evaluation.comparison import Comparison
from flex_dspy.evaluation.differences import Difference, Side, correct_p_values
from flex_dspy.evaluation.evaluation import Evaluation
from flex_dspy.evaluation.records import Record
from flex_dspy.tracking.model_page import EXAMPLES_TABLE
from flex_dspy.tracking.version_rows import VersionRow

logger = logging.getLogger(__name__)


def add_differences(rows: Sequence[VersionRow], uri: str) -> list[VersionRow]:
    """Add to each version its paired difference to the best version that was measured on the same examples.

    The test and its interval are those of ``flex-dspy compare``. P-values are corrected by Holm's method for all
    versions that are compared with the same best version.

    Args:
        rows: Versions, the best first.
        uri: The store's address.

    Returns:
        The versions in the same order. The best version, and versions without a table of examples, have no difference.
    """
    contests: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(rows):
        if row.score is not None and row.dataset_digest:
            contests.setdefault((row.task, row.dataset_digest), []).append(place)
    found = list(rows)
    for places in contests.values():
        for place, difference in _contest(rows, places, uri).items():
            found[place] = replace(rows[place], difference=difference)
    return found


def _contest(rows: Sequence[VersionRow], places: Sequence[int], uri: str) -> dict[int, Difference]:
    """Differences to the best of these versions, by place. Runs that share a version share its difference."""
    best = next((place for place in places if rows[place].is_comparable), None)
    if best is None:
        return {}
    first_rows = {rows[place].model_id: place for place in reversed(places)}
    found = _compare(rows, best, [place for place in places if first_rows[rows[place].model_id] == place], uri)
    return {place: found[first] for place in places if (first := first_rows[rows[place].model_id]) in found}


def _compare(rows: Sequence[VersionRow], best: int, places: Sequence[int], uri: str) -> dict[int, Difference]:
    """Differences of versions to the best version; each version is compared once."""
    sides = {place: side for place in places if (side := _side(rows[place], uri))}
    first = sides.pop(best, None)
    raw = {place: each for place, side in sides.items() if first and (each := _difference(first, side))}
    return dict(zip(raw, correct_p_values(list(raw.values())), strict=True))


def _difference(first: Side, second: Side) -> Difference | None:
    try:
        return Comparison.on_common_examples([first, second]).differences()[0]
    except (DataError, ValueError) as error:
        logger.warning("%s and %s cannot be compared: %s", first.name, second.name, error)
        return None


def _side(row: VersionRow, uri: str) -> Side | None:
    """The measured answers of a version; None if the store does not have them."""
    from mlflow.artifacts import download_artifacts

    if not row.files:
        return None
    with tempfile.TemporaryDirectory() as folder:
        try:
            # Not "models:/...", because MLflow looks that up in the process's own store, which may be another store.
            path = download_artifacts(f"{row.files}/{EXAMPLES_TABLE}", dst_path=folder, tracking_uri=uri)
            records = _read_records(Path(path))
        except Exception as error:  # stores raise different errors for a missing file
            logger.debug("%s has no table of examples: %s", row.reference, type(error).__name__)
            return None
    return Side(f"{row.reference} {row.model_id}", Evaluation(records), row.hash, row.entries or 0) if records else None


def _read_records(path: Path) -> tuple[Record, ...]:
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(
            Record(
                row["example"],
                row["problem"],
                row["reference"],
                {},
                float(row["score"]),
                sample=int(row["sample"]),
                seconds=float(row["seconds"]),
            )
            for row in csv.DictReader(file)
        )

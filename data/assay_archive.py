"""Reads the folder of a ProteinGym archive: measured scores in one folder, each model's predictions in another.

    DMS_ProteinGym_substitutions/<assay>.csv          mutant, mutated_sequence, DMS_score
    zero_shot_substitutions_scores/<model>/<assay>.csv    mutant or mutated_sequence, and the model's score
    reference file with the columns column, input_score_name, location, directionality, key

The module also reads a folder of merged CSV files, one per assay. Source of the layout: the scripts that merge scores
in ProteinGym's repository, version 1.3.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from flex_dspy.core.errors import DataError
from flex_dspy.data.assays import ASSAY, FITNESS, MUTANT, Assay, assays_of, number, stem
from flex_dspy.data.files import Row, read_rows

Scores = dict[str, dict[str, dict[str, float]]]  # by assay, column, mutant
_SEQUENCE = "mutated_sequence"
_REFERENCE = {"column", "input_score_name", "location", "directionality"}


def read_assays(path: Path) -> dict[str, Assay]:
    """The assays of a file or a folder, by name. The last few sources stay in memory.

    Raises:
        DataError: There is no usable assay.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder.")
    status = path.stat()
    return _read(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=8)
def _read(path: Path, changed: int, size: int) -> dict[str, Assay]:
    """Read a source once. The file's time and size are part of the cache key, so that a changed file is read again."""
    return read_archive(path) if path.is_dir() else assays_of(read_rows(path), stem(path), str(path))


def read_archive(folder: Path) -> dict[str, Assay]:
    """All assays of the CSV files in a folder, at any depth.

    Raises:
        DataError: None of the assays is usable.
    """
    files = _files(folder)
    heads = {file: _head(file) for file in files}
    measured = [file for file, head in heads.items() if {MUTANT, FITNESS} <= head]
    reference = next((file for file, head in heads.items() if head >= _REFERENCE), None)
    others = [file for file in files if file not in measured]
    named = {stem(file): functools.partial(_by_sequence, file) for file in measured}
    scores = model_scores(reference, others, named) if reference is not None else {}
    assays: dict[str, Assay] = {}
    problems = []
    for file in measured:
        try:
            assays |= assays_of(read_rows(file), stem(file), str(file), scores)
        except DataError as error:
            problems.append(str(error))
    if not assays:
        why = f" The first says: {problems[0]}" if problems else ""
        raise DataError(f"{folder} has no usable assay in {len(measured)} files with {MUTANT} and {FITNESS}.{why}")
    return assays


def model_scores(
    reference: Path, files: Iterable[Path], assays: Mapping[str, Callable[[], Mapping[str, str]]]
) -> Scores:
    """The predictions of the models that the reference file names. Signs are changed so that greater means fitter.

    Args:
        reference: The file that names the folder, the column and the direction of each model's scores.
        files: CSV files, including the files of the models.
        assays: By assay, a function that returns the mutant for each mutated sequence.
    """
    models = [row.cells for row in read_rows(reference) if row.problem is None]
    by_assay: dict[str, list[Path]] = {}
    for file in files:
        by_assay.setdefault(stem(file), []).append(file)
    scores: Scores = {}
    for name, by_sequence in assays.items():
        mutant_of: Mapping[str, str] = {}
        for model in models:
            place = _place(by_assay.get(name, ()), str(model["location"]))
            if place is None:
                continue
            if model.get("key") == _SEQUENCE and not mutant_of:
                mutant_of = by_sequence()
            found = _column(place, model, mutant_of)
            if found:
                scores.setdefault(name, {})[str(model["column"])] = found
    return scores


def with_scores(rows: Iterable[Row], folder: Path, source: str) -> dict[str, Assay]:
    """Assays made from given measurements and from the predictions in a folder.

    Args:
        rows: The measurements, with the columns ``DMS_id``, ``mutant``, ``mutated_sequence`` and ``DMS_score``.
        folder: Holds the reference file and the models' folders, at any depth.
        source: Source of the measurements, for error messages.

    Raises:
        DataError: The folder lacks the reference file, or no assay has predictions.
    """
    files = _files(folder)
    reference = next((file for file in files if _head(file) >= _REFERENCE), None)
    if reference is None:
        raise DataError(f"{folder} has no reference file with the columns {', '.join(sorted(_REFERENCE))}.")
    predicted = {stem(file) for file in files}
    groups: dict[str, list[Row]] = {}
    for row in rows:  # there are millions; rows without predictions are not kept
        if (name := str(row.cells.get(ASSAY))) in predicted:
            groups.setdefault(name, []).append(row)
    sequences = {name: functools.partial(_by_sequence, group) for name, group in groups.items()}
    scores = model_scores(reference, files, sequences)
    return assays_of((row for group in groups.values() for row in group), "", source, scores)


def _files(folder: Path) -> list[Path]:
    return sorted([*folder.rglob("*.csv"), *folder.rglob("*.csv.gz")])


def _place(files: Iterable[Path], location: str) -> Path | None:
    """The file in the folder of a model, at any depth; None if there is none."""
    folder = f"/{location.strip('/')}"
    return next((file for file in files if f"/{file.parent.as_posix()}".endswith(folder)), None)


def _column(file: Path, model: Mapping[str, str], mutant_of: Mapping[str, str]) -> dict[str, float]:
    key = model.get("key") or MUTANT
    direction = -1.0 if number(model["directionality"]) < 0 else 1.0
    found: dict[str, float] = {}
    for row in read_rows(file):
        value = number(row.cells.get(model["input_score_name"]))
        given = str(row.cells.get(key) or "")
        mutant = mutant_of.get(given, "") if key == _SEQUENCE else given
        if mutant and np.isfinite(value):
            found[mutant] = direction * value
    return found


def _by_sequence(rows: Path | Sequence[Row]) -> dict[str, str]:
    read = read_rows(rows) if isinstance(rows, Path) else rows
    return {str(row.cells.get(_SEQUENCE)): str(row.cells.get(MUTANT)) for row in read}


def _head(file: Path) -> frozenset[str]:
    """The names of a file's columns."""
    rows: list[Row] = list(islice(read_rows(file), 1))
    return frozenset(map(str, rows[0].cells)) if rows else frozenset()

"""Deep mutational scanning assays as tables. Each row is a mutant with its measured fitness and its scores.

The source is a merged CSV (``mutant, DMS_score`` and score columns), a folder of such files, or a folder with the
layout of the ProteinGym archive (see ``flex_dspy.data.assay_archive``).
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flex_dspy.core.errors import DataError
from flex_dspy.data.files import Row
from flex_dspy.data.loading import BadRow
from flex_dspy.data.score_columns import family
from flex_dspy.metrics.formula_values import Table, Vector, mid_ranks, spearman, standardize

FEWEST_MUTANTS = 40
FEWEST_LABELLED, FEWEST_HELD_OUT = 10, 20
LEAST_PRESENT = 0.5  # a column must have scores for this share of the mutants
MUTANT, FITNESS, ASSAY = "mutant", "DMS_score", "DMS_id"
_NOT_SCORES = re.compile(
    r"dms.*|mutants?|mutated_sequence|target_seq(uence)?|sequence|unnamed.*|index|id|", re.IGNORECASE
)
# Names are shown in prompts and written in formulas.
_NAME = re.compile(r"[A-Za-z0-9_.+()=:,/ -]{1,80}", re.ASCII)
_AGAINST = -0.1  # a column runs the other way if its Spearman with the consensus is lower


@dataclass(frozen=True, eq=False)
class Assay:
    """One assay. Its score columns have no gaps, and greater means fitter if the direction is known.

    Attributes:
        name: Its name.
        mutants: The mutants, such as ``A24C`` or ``A24C:D30E``.
        fitness: The measured score of each.
        table: The score columns.
        missing: The share of the mutants for which a column had no score. The column's median fills these gaps.
        notes: The changes made to the columns.
        bad_rows: Rows that contain no usable mutant.
    """

    name: str
    mutants: tuple[str, ...]
    fitness: Vector
    table: Table
    missing: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    bad_rows: tuple[BadRow, ...] = ()

    @cached_property
    def likeness(self) -> Vector:
        """Spearman between columns over all mutants, shape ``(columns, columns)``. It uses no measurement."""
        centred = self.table.ranks - 0.5
        spread = np.sqrt((centred**2).sum(axis=0))
        matrix: Vector = (centred.T @ centred) / np.outer(spread, spread)
        return matrix

    def split(self, labelled: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The row numbers of the labelled mutants and of the held-out mutants.

        Args:
            labelled: Number of labelled mutants; below 1, their share of all mutants.
            seed: Seed of the random choice.

        Raises:
            DataError: Fewer than 10 would be labelled, or fewer than 20 held out.
        """
        count = round(labelled * len(self.fitness)) if labelled < 1 else round(labelled)
        if not FEWEST_LABELLED <= count <= len(self.fitness) - FEWEST_HELD_OUT:
            raise DataError(
                f"{self.name}: {count} of {len(self.fitness)} mutants cannot be the labelled ones; at least "
                f"{FEWEST_LABELLED} are needed, and {FEWEST_HELD_OUT} others."
            )
        order = np.random.default_rng(seed).permutation(len(self.fitness))
        return np.sort(order[:count]), np.sort(order[count:])

    def correlations(self, rows: npt.NDArray[np.int64]) -> Vector:
        """Spearman of each column with the fitness of these mutants."""
        measured = self.fitness[rows]
        return np.array([spearman(column, measured) for column in self.table.values[rows].T])

    def covariances(self, rows: npt.NDArray[np.int64]) -> tuple[Vector, Vector]:
        """Covariances over these mutants: of each column with fitness, and between the columns.

        Shapes ``(columns,)`` and ``(columns, columns)``. The unit of a column is its standard deviation over all
        mutants, as in ``z`` of a formula.
        """
        columns = np.column_stack([standardize(column)[rows] for column in self.table.values.T])
        columns = columns - columns.mean(axis=0)
        return columns.T @ standardize(self.fitness[rows]) / len(rows), columns.T @ columns / len(rows)


def stem(path: Path) -> str:
    """A file's name without its endings."""
    return path.name.removesuffix(".gz").rpartition(".")[0] or path.name


def assays_of(
    rows: Iterable[Row], name: str, source: str, scores: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None
) -> dict[str, Assay]:
    """Assays made from rows. If there are several assays, the column ``DMS_id`` names the assay of each row.

    Args:
        rows: One row per mutant.
        name: Name of the assay if there is no ``DMS_id``.
        source: Name of the source, for error messages.
        scores: Additional scores by assay, column and mutant; greater already means fitter.

    Raises:
        DataError: No assay has enough mutants and a score column.
    """
    groups: dict[str, _Gathered] = {}
    for row in rows:
        groups.setdefault(str(row.cells.get(ASSAY) or name), _Gathered()).add(row)
    assays, problems = {}, []
    for assay, gathered in groups.items():
        try:
            assays[assay] = _assay(assay, gathered, (scores or {}).get(assay, {}))
        except ValueError as error:
            problems.append(f"{assay}: {error}")
    if not assays:
        reasons = "; ".join(problems[:3]) or "it is empty"
        raise DataError(
            f"{source} has no usable assay ({reasons}). Expected the columns {MUTANT}, {FITNESS} and columns of scores."
        )
    return assays


class _Gathered:
    """The rows of one assay as numbers.

    Text would take twenty times the memory, and some assays have 500,000 mutants.
    """

    def __init__(self) -> None:
        self.columns: list[str] = []
        self.fitness: dict[str, float] = {}  # by mutant
        self.scores = array("d")
        self.bad: list[BadRow] = []

    def add(self, row: Row) -> None:
        """Add a row if it is the first measured row of its mutant; otherwise note it as bad."""
        mutant, fitness = str(row.cells.get(MUTANT) or ""), number(row.cells.get(FITNESS))
        problem = row.problem or (f"no {MUTANT}" if not mutant else None)
        problem = problem or (f"no {FITNESS}" if np.isnan(fitness) else None)
        problem = problem or (f"repeats the mutant {mutant}" if mutant in self.fitness else None)
        if problem:
            self.bad.append(BadRow(row.number, problem))
            return
        if not self.fitness:
            self.columns = [name for name in row.cells if not _NOT_SCORES.fullmatch(str(name))]
        self.fitness[mutant] = fitness
        self.scores.extend(number(row.cells.get(name)) for name in self.columns)

    def raw(self) -> dict[str, Vector]:
        """The scores by column; gaps are NaN."""
        table = np.array(self.scores).reshape(len(self.fitness), len(self.columns))
        return dict(zip(map(str, self.columns), table.T, strict=True))


def _assay(name: str, gathered: _Gathered, further: Mapping[str, Mapping[str, float]]) -> Assay:
    if not _NAME.fullmatch(name):
        raise ValueError("an assay's name has letters, digits and _ . + - ( ) = : , / only")
    mutants = gathered.fitness
    if len(mutants) < FEWEST_MUTANTS:
        why = f" ({gathered.bad[0].reason})" if gathered.bad else ""
        raise ValueError(f"{len(mutants)} usable mutants, at least {FEWEST_MUTANTS} are needed{why}")
    raw = gathered.raw()
    for column, values in further.items():
        raw[column] = np.array([values.get(mutant, np.nan) for mutant in mutants])
    columns, missing, notes = _usable(raw)
    notes += _turn(columns, set(further))
    return Assay(
        name,
        tuple(mutants),
        np.array(list(mutants.values())),
        Table(tuple(columns), np.column_stack(list(columns.values()))),
        missing,
        tuple(notes),
        tuple(gathered.bad),
    )


def number(cell: Any) -> float:
    """A cell as a number; NaN if it is none, or not finite."""
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return np.nan
    return value if abs(value) < 1e100 else np.nan


def _usable(raw: Mapping[str, Vector]) -> tuple[dict[str, Vector], dict[str, float], list[str]]:
    """The columns that carry information, with gaps filled."""
    columns: dict[str, Vector] = {}
    missing: dict[str, float] = {}
    notes: list[str] = []
    for name, values in raw.items():
        gaps = np.isnan(values)
        if not _NAME.fullmatch(name):
            notes.append(f"{name[:40]!a} left out: the name has odd characters")
        elif gaps.mean() > LEAST_PRESENT:
            if not gaps.all():
                notes.append(f"{name} left out: {gaps.mean():.0%} of its scores are missing")
        elif np.nanmin(values) == np.nanmax(values):
            notes.append(f"{name} left out: it is constant")
        else:
            columns[name] = np.where(gaps, np.nanmedian(values), values)
            missing[name] = float(gaps.mean())
    if not columns:
        raise ValueError("no column of scores; ProteinGym's come as CSV files in its archive")
    return columns, missing, notes


def _turn(columns: dict[str, Vector], turned: set[str]) -> list[str]:
    """Change the sign of raw scores that fall with fitness.

    In merged tables the sign is already changed. A raw column is found without a measurement: it correlates negatively
    with the columns of the other models.
    """
    known = {name: family(name).direction for name in columns}
    rising = [mid_ranks(columns[name]) for name, direction in known.items() if direction > 0]
    if not rising:
        return []
    consensus = np.mean(rising, axis=0)
    notes = []
    for name, direction in known.items():
        if direction < 0 and name not in turned and spearman(columns[name], consensus) < _AGAINST:
            columns[name] = -columns[name]
            notes.append(f"{name} turned: less is fitter in it")
    return notes

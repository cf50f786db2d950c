"""Evaluates a formula on a table of scores, with numpy.

``rank`` is the mid-rank among all rows, scaled into (0, 1). ``z`` is the number of standard deviations from the mean.
``log`` is the natural logarithm; a smaller argument counts as 1e-9. ``min``, ``max`` and ``mean`` combine their
arguments row by row. A quotient by 0 is 0. No value is infinite or greater than 1e12.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from flex_dspy.metrics.formula import Call, Column, Formula, FormulaError, Node, Number, spine, walk

Vector = npt.NDArray[np.float64]

LARGEST = 1e12
# Limit of steps; they take far less than a tenth of a second. Tables of more than 8,000 rows may take longer, because a
# weighted sum of the ranks of a hundred columns must be possible on any table.
MAX_WORK = 8_000_000
MAX_WORK_A_ROW = 1_000
_COST = {"rank": 60, "z": 15, "log": 5}


@dataclass(frozen=True)
class Table:
    """Score columns, without gaps.

    Attributes:
        columns: Their names.
        values: Shape ``(rows, columns)``, finite.
    """

    columns: tuple[str, ...]
    values: Vector

    def __post_init__(self) -> None:
        # Whole columns are read. If a column is not contiguous in memory, a read takes ten times as long.
        object.__setattr__(self, "values", np.asfortranarray(self.values))

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.values)

    @cached_property
    def ranks(self) -> Vector:
        """Each column's mid-ranks in (0, 1), shape ``(rows, columns)``."""
        return np.asfortranarray(np.column_stack([mid_ranks(column) for column in self.values.T]))

    @cached_property
    def place(self) -> dict[str, int]:
        """The index of each column by name."""
        return {name: number for number, name in enumerate(self.columns)}

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Table:
        """The table with only some of the rows. The ranks of columns remain the ranks among all rows."""
        part = Table(self.columns, self.values[rows])
        part.__dict__["ranks"] = np.asfortranarray(self.ranks[rows])
        return part

    def without(self, column: str) -> Table:
        """The same table with one column constant, so that the column carries no information."""
        number = self.place[column]
        values, ranks = self.values.copy(), self.ranks.copy()
        values[:, number], ranks[:, number] = np.median(values[:, number]), 0.5
        same = Table(self.columns, values)
        same.__dict__["ranks"] = ranks
        return same


def evaluate(formula: Formula, table: Table) -> Vector:
    """The formula's value in each row, finite.

    Raises:
        FormulaError: The formula names a column that the table lacks, or takes too many steps.
    """
    unknown = [name for name in formula.columns if name not in table.place]
    if unknown:
        raise FormulaError(1, f"unknown column {unknown[0]!r}")
    steps = table.rows * sum(_steps(node) for node in walk(formula.root))
    if steps > max(MAX_WORK, MAX_WORK_A_ROW * table.rows):
        raise FormulaError(1, "the formula takes too many steps: use rank of whole formulas less often")
    with np.errstate(all="ignore"):
        return np.broadcast_to(_value(formula.root, table), (table.rows,)).astype(float)


def mid_ranks(values: Vector) -> Vector:
    """Mid-ranks scaled into (0, 1); equal values have the same rank."""
    order = np.argsort(values)
    ordered = values[order]
    begins = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    ends = np.append(begins[1:], len(values))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((begins + ends) / 2, ends - begins)
    return ranks / len(values)


def standardize(values: Vector) -> Vector:
    """The number of standard deviations from the mean, by row; 0 in every row if all values are equal."""
    # Scaled first: the square of a large value would overflow.
    largest = np.abs(values).max(initial=0.0)
    scaled = values / largest if largest > 0 else values
    spread = scaled.std()
    return (scaled - scaled.mean()) / spread if spread > 1e-12 else np.zeros_like(values)


def spearman(a: Vector, b: Vector) -> float:
    """Spearman's rank correlation; 0 if one of the two is constant."""
    ranks = mid_ranks(a) - 0.5, mid_ranks(b) - 0.5
    length = float(np.sqrt((ranks[0] @ ranks[0]) * (ranks[1] @ ranks[1])))
    return float(ranks[0] @ ranks[1]) / length if length > 0 else 0.0


def _steps(node: Node) -> int:
    if not isinstance(node, Call):
        return 1
    if node.function == "rank" and isinstance(node.arguments[0], Column):
        return 1  # known beforehand
    return _COST.get(node.function, len(node.arguments))


def _value(node: Node, table: Table) -> Vector:
    if isinstance(node, Number):
        return np.full(1, node.value)
    if isinstance(node, Column):
        return _clip(table.values[:, table.place[node.name]])
    first, operations = spine(node)
    if operations:
        value = _value(first, table)
        for operation in operations:
            value = _clip(_OPERATIONS[operation.function](value, _value(operation.arguments[1], table)))
        return value
    first = node.arguments[0]
    if node.function == "rank" and isinstance(first, Column):
        return table.ranks[:, table.place[first.name]]
    if node.function in ("min", "max", "mean"):
        return _fold(node, table)
    return _clip(_OPERATIONS[node.function](*(_value(argument, table) for argument in node.arguments)))


def _fold(node: Call, table: Table) -> Vector:
    """Combine the arguments one after another, so that at most two are in memory."""
    fold = {"min": np.minimum, "max": np.maximum, "mean": np.add}[node.function]
    total = _value(node.arguments[0], table)
    for argument in node.arguments[1:]:
        total = fold(total, _value(argument, table))
    return _clip(total / len(node.arguments) if node.function == "mean" else total)


def _quotient(a: Vector, b: Vector) -> Vector:
    return np.where(b == 0, 0.0, a / np.where(b == 0, 1.0, b))


_OPERATIONS: dict[str, Callable[..., Vector]] = {
    "neg": np.negative,
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": _quotient,
    "rank": mid_ranks,
    "z": standardize,
    "abs": np.abs,
    "log": lambda a: np.log(np.maximum(a, 1e-9)),
    "clip": lambda a, low, high: np.minimum(np.maximum(a, low), high),
}


def _clip(values: Vector) -> Vector:
    # Operands are bounded, so a result may be infinite but never NaN.
    return np.clip(values, -LARGEST, LARGEST)

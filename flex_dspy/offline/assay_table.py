"""Reads the table of an assay's score columns from a prompt."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

_NAME = re.compile(r"^Assay: (.{1,200})$", re.MULTILINE)
_SHOWN = re.compile(r"^Mutants: .*?(\d+) of those used here", re.MULTILINE)
_UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class ScoreColumn:
    """A line of the table.

    Attributes:
        name: The column.
        family: Its family of models.
        is_published: Whether its models are published.
        is_turned: Whether it is known that greater means fitter.
        spearman: Spearman with the fitness of the labelled mutants that are shown.
    """

    name: str
    family: str
    is_published: bool
    is_turned: bool
    spearman: float


@dataclass(frozen=True)
class AssayTable:
    """An assay as its prompt describes it."""

    name: str
    shown: int
    columns: tuple[ScoreColumn, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)

    def by_family(self, weights: Mapping[str, float]) -> dict[str, float]:
        """The sum of the weights of each family's columns, without families that have no weight."""
        sums: dict[str, float] = {}
        for column in self.columns:
            if weights.get(column.name):
                sums[column.family] = sums.get(column.family, 0.0) + weights[column.name]
        return {family: total for family, total in sums.items() if abs(total) > 1e-9}


@functools.lru_cache(maxsize=64)  # the rounds of a rollout, and its critic, read the same one
def read_table(text: str) -> AssayTable:
    """Read the table of a prompt. Skip lines that are no columns."""
    name, shown = _NAME.search(text), _SHOWN.search(text)
    columns = (_column(line) for line in text.splitlines() if line.startswith("- "))
    return AssayTable(
        name[1].strip() if name else "",
        int(shown[1][:9]) if shown else 0,
        tuple(column for column in columns if column is not None),
    )


def _column(line: str) -> ScoreColumn | None:
    cells = [cell.strip() for cell in line.removeprefix("- ").split(" | ")]
    if len(cells) != 7:
        return None
    try:
        spearman = float(cells[4])
    except ValueError:
        return None
    return ScoreColumn(cells[0], cells[1], cells[2] != _UNKNOWN, cells[3] != _UNKNOWN, spearman)

"""Rows of an index by snapshot: which change added a row, and which ended it."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import TypeVar

import numpy as np
import numpy.typing as npt

NEVER = np.iinfo(np.int64).max


class RowLog:
    """Which change added which row: the rows of a snapshot are a prefix."""

    def __init__(self) -> None:
        self._change_of_row = array("q")

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self._change_of_row)

    def add(self, change: int) -> int:
        """Note a new row; its number."""
        self._change_of_row.append(change)
        return self.count - 1

    def until(self, tip: int) -> int:
        """The number of rows that a snapshot has seen."""
        return bisect_right(self._change_of_row, tip - 1)


class DeathLog:
    """Which rows ended at which change: the dead of a snapshot are a prefix."""

    def __init__(self) -> None:
        self._row_of_death = array("q")
        self._change_of_death = array("q")

    def add(self, change: int, row: int) -> None:
        """Note that a change ended a row."""
        self._change_of_death.append(change)
        self._row_of_death.append(row)

    def until(self, tip: int) -> array[int]:
        """Rows of a snapshot that are dead in it."""
        return self._row_of_death[: bisect_right(self._change_of_death, tip - 1)]


ArrayT = TypeVar("ArrayT", bound=np.generic)


def grow(data: npt.NDArray[ArrayT], needed: int, fill: int = 0) -> npt.NDArray[ArrayT]:
    """``data`` with room for ``needed`` items on its last axis; doubling keeps the cost of an item constant."""
    room = data.shape[-1]
    if needed <= room:
        return data
    more = np.full((*data.shape[:-1], max(needed, 2 * room) - room), fill, data.dtype)
    return np.concatenate([data, more], axis=-1)

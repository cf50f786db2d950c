"""Records which change added each row of an index, and which change ended it."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import TypeVar

import numpy as np
import numpy.typing as npt

NEVER = np.iinfo(np.int64).max


class RowLog:
    """The change that added each row. The rows of a snapshot are a prefix of all rows."""

    def __init__(self) -> None:
        self._change_of_row = array("q")

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self._change_of_row)

    def add(self, change: int) -> int:
        """Record a new row, and return its number."""
        self._change_of_row.append(change)
        return self.count - 1

    def until(self, tip: int) -> int:
        """The number of rows that a snapshot has seen."""
        return bisect_right(self._change_of_row, tip - 1)


class DeathLog:
    """The change that ended each row. The dead rows of a snapshot are a prefix of all dead rows."""

    def __init__(self) -> None:
        self._row_of_death = array("q")
        self._change_of_death = array("q")

    def add(self, change: int, row: int) -> None:
        """Record that a change ended a row."""
        self._change_of_death.append(change)
        self._row_of_death.append(row)

    def until(self, tip: int) -> array[int]:
        """The rows that are dead in a snapshot."""
        return self._row_of_death[: bisect_right(self._change_of_death, tip - 1)]


ArrayT = TypeVar("ArrayT", bound=np.generic)


def grow(data: npt.NDArray[ArrayT], needed: int, fill: int = 0) -> npt.NDArray[ArrayT]:
    """``data`` with room for ``needed`` items on its last axis.

    It grows by doubling, so the cost per item is constant.
    """
    room = data.shape[-1]
    if needed <= room:
        return data
    more = np.full((*data.shape[:-1], max(needed, 2 * room) - room), fill, data.dtype)
    return np.concatenate([data, more], axis=-1)

"""``flex-dspy versions``: prints the versions of a store, and draws their learning curves."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from flex_dspy.commands.actions.tables import fits_terminal, print_json, print_table
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.tables import build_table
from flex_dspy.display.version_tables import TEXTS, version_cells
from flex_dspy.learning.curve import write_figure
from flex_dspy.learning.curves import Axis
from flex_dspy.tasks.names import task_names
from flex_dspy.tasks.registry import get_task
from flex_dspy.tracking.run_curves import draw_runs
from flex_dspy.tracking.version_rows import VersionTable
from flex_dspy.tracking.version_table import versions

_LEAST = ("run", "cost", "parent", "model", "task", "errors", "aliases", "measured on")  # left out in this order


def find(task: str | None, *, compare: bool, experiments: Sequence[str], tracking_uri: str | None) -> VersionTable:
    """Find the versions of a task. The task may be named by an alias."""
    if task in task_names():
        task = get_task(task).name
    return versions(task, compare=compare, tracking_uri=tracking_uri, experiments=experiments)


def show(rows: VersionTable, *, as_json: bool) -> None:
    """Print the table, or JSON for a script."""
    if as_json:
        print_json(_json(rows))
        return
    head, cells = version_cells(rows)
    head, cells, left_out = _fit(head, cells)
    print_table(_table(head, cells))
    if left_out:
        print(f"left out: {', '.join(left_out)}; a wider terminal or --json shows them", file=sys.stderr)


def _table(head: Sequence[str], cells: Sequence[Sequence[str]]) -> Table:
    return build_table(head, cells, left=len([name for name in head if name in TEXTS]))


def _fit(head: list[str], cells: list[list[str]]) -> tuple[list[str], list[list[str]], list[str]]:
    """Leave out the least important columns until the table fits the terminal. A pipe gets all columns."""
    left_out: list[str] = []
    for name in _LEAST:
        if not sys.stdout.isatty() or fits_terminal(_table(head, cells)):
            break
        if name in head:
            place = head.index(name)
            head = [*head[:place], *head[place + 1 :]]
            cells = [[*row[:place], *row[place + 1 :]] for row in cells]
            left_out.append(name)
    return head, cells, left_out


def _json(rows: VersionTable) -> list[dict[str, Any]]:
    """Rows of the DataFrame as dicts. Unknown values are None."""
    values: list[dict[str, Any]] = json.loads(rows.to_pandas().to_json(orient="records"))
    return values


def draw(rows: VersionTable, path: Path, x: Axis) -> None:
    """Draw the learning curves of all runs into a PNG.

    Raises:
        ConfigurationError: If the versions belong to several tasks, or no version has a place on the axis.
    """
    tasks = list(dict.fromkeys(row.task for row in rows))
    if len(tasks) > 1:
        raise ConfigurationError(f"one figure shows one task: name one of {', '.join(tasks)}")
    write_figure(draw_runs(rows, x), path)
    print(f"figure   {path}", file=sys.stderr)

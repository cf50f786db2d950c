"""The learning curves of the runs in a store, as one figure."""

from __future__ import annotations

from typing import Any

from flex_dspy.learning.curves import MOST_CURVES, Axis, draw_curves
from flex_dspy.tracking.version_rows import VersionTable


def draw_runs(rows: VersionTable, x: Axis = "entries") -> Any:
    """Draw the learning curves of all runs of one task.

    Args:
        rows: Versions of one task, the best first. Of very many runs, those with the best versions are drawn.
        x: The horizontal axis.

    Returns:
        matplotlib's ``Figure``.

    Raises:
        ConfigurationError: If no version has a place on the axis.
    """
    curves = rows.curves()
    shown = dict(list(curves.items())[:MOST_CURVES])
    runs = f"{len(curves)} run{'s' * (len(curves) != 1)}"
    if len(shown) < len(curves):
        runs = f"the best {len(shown)} of {runs}"
    metric = next((row.metric for row in rows if row.score is not None), "accuracy")
    task = next((row.task for row in rows if row.task), "learning curves")
    return draw_curves(shown, title=f"{task}: {runs}", x=x, metric=metric)

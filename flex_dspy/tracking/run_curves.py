"""The learning curves of the runs in a store, as one figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flex_dspy.learning.curves import MOST_CURVES, Axis, draw_curves
from flex_dspy.tracking.version_rows import VersionRow, VersionTable, sort_versions

CHARTS = "comparison"  # folder of the run's files in MLflow


def draw_runs(rows: VersionTable, x: Axis = "entries") -> Any:
    """Draw the learning curves of all runs of one task.

    Args:
        rows: Versions of one task, the best first. If there are very many runs, only those with the best versions are
            drawn.
        x: The horizontal axis.

    Returns:
        matplotlib's ``Figure``.

    Raises:
        ConfigurationError: If no version has a value for the axis.
    """
    curves = rows.curves()
    shown = dict(list(curves.items())[:MOST_CURVES])
    runs = f"{len(curves)} run{'s' * (len(curves) != 1)}"
    if len(shown) < len(curves):
        runs = f"the best {len(shown)} of {runs}"
    metric = next((row.metric for row in rows if row.score is not None), "accuracy")
    task = next((row.task for row in rows if row.task), "learning curves")
    return draw_curves(shown, title=f"{task}: {runs}", x=x, metric=metric)


def log_curves(client: Any, run_id: str, rows: Sequence[VersionRow]) -> None:
    """Log charts of a run's learning curve, together with the curves of the other runs of its task.

    Only runs that were measured on the same examples are drawn. A run with fewer than two measured versions has no
    chart.

    Args:
        client: The store's client.
        run_id: MLflow's id of the run.
        rows: The versions of its experiment.
    """
    own = [row for row in rows if row.run_id == run_id and row.curve_point()]
    if len(own) < 2:
        return
    contest = own[-1].task, own[-1].dataset_digest
    shown = VersionTable(sort_versions(row for row in rows if (row.task, row.dataset_digest) == contest))
    axes: list[Axis] = ["entries", "examples"]
    if any(row.numbers.get("spend_tokens") for row in own):
        axes.append("tokens")
    for x in axes:
        client.log_figure(run_id, draw_runs(shown, x), f"{CHARTS}/learning_curves_by_{x}.png")

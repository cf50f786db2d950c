"""``flex-dspy versions``: the versions of all runs in one table, and their learning curves in one figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from flex_dspy.commands.arguments import PrintJson, TrackingUri


def list_versions(
    task: str | None = None,
    *,
    compare: bool = False,
    figure: Path | None = None,
    x: Annotated[Literal["entries", "examples", "tokens", "dollars"], Parameter(name="--x")] = "entries",
    experiment: Annotated[tuple[str, ...], Parameter(name="--experiment")] = (),
    json: PrintJson = False,
    tracking_uri: TrackingUri = None,
) -> None:
    """List the versions of all runs in MLflow, the highest accuracy first.

    Accuracies have their 95% interval, sample size and errors. Accuracies on different validation sets say nothing
    about each other: the table then names the sets.

    Args:
        task: Only the versions of this task (default: all tasks).
        compare: Add the paired difference of each version to the best one on the same examples.
        figure: Draw the learning curves of all runs of the task into this PNG file.
        x: The horizontal axis of the figure.
        experiment: Only this MLflow experiment. May be repeated.
        json: Print JSON.
        tracking_uri: MLflow store (default: MLflow's own).
    """
    from flex_dspy.commands.actions import versions as action

    rows = action.find(task, compare=compare, experiments=experiment, tracking_uri=tracking_uri)
    action.show(rows, as_json=json)
    if figure is not None:
        action.draw(rows, figure, x)

"""The tracker of a learning command."""

from __future__ import annotations

from collections.abc import Mapping

from flex_dspy.commands.options.learn import LearnOptions
from flex_dspy.learning.run_folder import RunFolder
from flex_dspy.tracking.datasets import DatasetInfo
from flex_dspy.tracking.tracker import MLflowTracker


def make_tracker(
    options: LearnOptions, task: str, folder: RunFolder, data: Mapping[str, DatasetInfo] | None = None
) -> MLflowTracker | None:
    """Make the tracker that the options ask for; None if nothing is tracked.

    Args:
        options: The options.
        task: Name of the task.
        folder: The folder of the run.
        data: Its data sets.
    """
    if not options.tracking.tracking:
        return None
    return MLflowTracker(
        options.tracking.experiment or f"flex-{task}",
        tracking_uri=options.tracking.tracking_uri,
        registered_name=f"flex-{task}",
        run_file=folder.tracking_run,
        data=data or {},
        unlogged=folder.unlogged,
        promote=options.promotion.promote,
        log_examples=options.tracking.log_examples,
        scopes=options.scopes,
    )

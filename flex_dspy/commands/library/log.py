"""``flex-dspy library log``."""

from __future__ import annotations

from pathlib import Path

from flex_dspy.commands.arguments import TrackingUri
from flex_dspy.commands.options.learn import Promote


def log(
    run: Path, *, experiment: str | None = None, promote: Promote = "best", tracking_uri: TrackingUri = None
) -> None:
    """Log the versions of a run that MLflow lacks, from the files in its folder.

    Args:
        run: The folder of a run of learn.
        experiment: MLflow experiment (default: that of the run).
        promote: Move NAME@best to a version with a higher score on the same examples; only if p < 0.05; or never.
        tracking_uri: MLflow store (default: MLflow's own).
    """
    from flex_dspy.commands.actions import log_run

    log_run.run(run, experiment, tracking_uri, promote)

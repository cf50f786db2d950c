"""Trackers: where a run reports its versions, such as MLflow (``flex_dspy.tracking.tracker``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from flex_dspy.learning.events import Event, RunEnded, RunStarted, VersionPublished
from flex_dspy.learning.version import Version


class Tracker(Protocol):
    """Where a learning run reports its versions."""

    def start(self, params: Mapping[str, Any]) -> None:
        """Begin the run, or continue it."""

    def log_version(self, version: Version) -> None:
        """Record one version. If ``is_again`` is set, replace the version's earlier measurements."""

    def finish(self, artifacts: Sequence[Path] = ()) -> None:
        """End the run."""


class RunTracking:
    """Tells a tracker when a run begins and ends.

    Args:
        tracker: The tracker.
        artifacts: Files that the tracker receives at the end of the run. They are read then.
    """

    def __init__(self, tracker: Tracker, artifacts: Sequence[Path] = ()) -> None:
        self.tracker = tracker
        self.artifacts = artifacts

    def __call__(self, event: Event) -> None:
        """Report an event. A run that ended with an error is not finished, because it may continue later."""
        match event:
            case RunStarted(parameters=parameters):
                self.tracker.start(parameters)
            case RunEnded(error=""):
                self.tracker.finish(self.artifacts)


class TrackerListener(RunTracking):
    """Also reports each version to the tracker, and waits until it is logged."""

    def __call__(self, event: Event) -> None:
        """See ``RunTracking``."""
        if isinstance(event, VersionPublished):
            self.tracker.log_version(event.version)
        super().__call__(event)

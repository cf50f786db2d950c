"""Listeners that write records beside a library: the outcomes, and the figure of the learning curve."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from flex_dspy.core.side_records import SideRecord
from flex_dspy.evaluation.usage_log import UsageLog
from flex_dspy.evaluation.usage_records import UsageRecord, usage_of_evaluation, usage_of_step
from flex_dspy.learning.curve import learning_curve
from flex_dspy.learning.events import EditCommitted, Event, RunEnded, VersionMeasured
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.paths import beside, mode_beside


class UsageRecorder:
    """Writes which entries an example was shown, and its outcome, to ``<library>.outcomes.jsonl``.

    Args:
        library: The library's file.
        label: Text that is put before the run's id in the ``source`` of the outcomes of learning; "" for none.
    """

    def __init__(self, library: Path, label: str = "") -> None:
        self.log = UsageLog(library)
        self.label = label

    def __call__(self, event: Event) -> None:
        """Write the outcomes that an event holds."""
        match event:
            case EditCommitted() if event.commit.tally.shown:
                self.log.note([self._usage(event)])
            case VersionMeasured(run=run, library=library, evaluation=evaluation):
                self.log.note(usage_of_evaluation(library.hash, evaluation.records, f"val {run}"))

    def _usage(self, event: EditCommitted) -> UsageRecord:
        source = f"{self.label}{event.run} {event.step}"
        record = usage_of_step(event.version, event.example_id, event.commit.tally, event.commit.solved, source)
        return record if event.score is None else replace(record, score=event.score)


class CurveDrawer:
    """Draws the learning curve at the end of a run, as ``<library>.png``.

    Args:
        library: The library's file.
        log: The run's versions.
        model: Names of the models.

    Attributes:
        drawn: The figure's file, after it was drawn; else empty.
    """

    def __init__(self, library: Path, log: VersionLog, model: str) -> None:
        self.library = library
        self.log = log
        self.model = model
        self.drawn: list[Path] = []

    def __call__(self, event: Event) -> None:
        """Draw the learning curve if the run ended without an error."""
        if not isinstance(event, RunEnded) or event.error:
            return
        points = [record.curve_point() for record in self.log.newest() if "accuracy" in record.metrics]
        if any(point.examples for point in points):
            title = f"{event.library.task}: {self.model}"
            path, mode = beside(self.library, "png"), mode_beside(self.library)
            with SideRecord("the figure").attempt():
                self.drawn.append(learning_curve(points, path, title=title, mode=mode))

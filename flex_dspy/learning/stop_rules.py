"""Stop rules: callables over events that end a run early.

A rule returns a reason, or True, to stop. The run then begins no more examples, commits the examples under way, and
publishes a version only if one is due. The same call without the rule continues the run. Its library is, byte for byte,
the library of a run that was never stopped::

    ForwardLearning(metric, stop=[no_improvement(3), deadline(3600), file_appears("STOP")])
"""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.learning.events import Event, RunEnded, RunStarted, StopRule, VersionPublished

ACCURACY = "accuracy"


def no_improvement(versions: int, *, measure: str = ACCURACY) -> StopRule:
    """Stop if a number of versions in a row are not better than the best version before them.

    Args:
        versions: Number of versions in a row; at least 1.
        measure: Name of the measurement; versions without it do not count.
    """
    if versions < 1:
        raise ConfigurationError(f"versions must be at least 1, got {versions}")
    scores: dict[int, float] = {}

    def rule(event: Event) -> str:
        if isinstance(event, VersionPublished) and measure in event.record.metrics:
            scores[event.record.step] = event.record.metrics[measure]
        values = [scores[step] for step in sorted(scores)]
        if len(values) > versions and max(values[-versions:]) <= max(values[:-versions]):
            return f"{measure} has not improved for {versions} versions"
        return ""

    return rule


def target(score: float, *, measure: str = ACCURACY) -> StopRule:
    """Stop once a version reaches a score.

    Args:
        score: The score, on the scale of the measurement.
        measure: Name of the measurement.
    """

    def rule(event: Event) -> str:
        if isinstance(event, VersionPublished) and event.record.metrics.get(measure, float("-inf")) >= score:
            return f"{measure} has reached {score:g}"
        return ""

    return rule


def deadline(seconds: float) -> StopRule:
    """Stop at the first event after a time limit.

    Args:
        seconds: The time limit in seconds, from the start of the run.
    """
    end: list[float] = []

    def rule(event: Event) -> str:
        if isinstance(event, RunStarted):
            end[:] = [time.monotonic() + seconds]
        return f"the deadline of {seconds:g} s has passed" if end and time.monotonic() >= end[0] else ""

    return rule


def file_appears(path: str | Path) -> StopRule:
    """Stop at the first event after a file exists.

    Args:
        path: The file.
    """

    def rule(event: Event) -> str:
        return f"{path} is there" if Path(path).exists() else ""

    return rule


class OnSignal:
    """Stops at the first event after a signal. The end of the run restores the earlier handler.

    Args:
        number: The signal, such as ``signal.SIGTERM``.

    Raises:
        ConfigurationError: If a run does not begin in the main thread, because only the main thread receives signals.
    """

    def __init__(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.number = number
        self._was_received = False
        self._before: Any = None

    def __call__(self, event: Event) -> str:
        """See ``StopRule``."""
        if isinstance(event, RunStarted):
            self._install()
        if isinstance(event, RunEnded):
            signal.signal(self.number, self._before)
        return f"{self.number.name} was received" if self._was_received else ""

    def _install(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise ConfigurationError("OnSignal works in the main thread alone: use file_appears in a notebook")
        self._was_received = False
        self._before = signal.signal(self.number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._was_received = True

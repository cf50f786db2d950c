"""The four ports of the pipeline, and two roles that its front ends fill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from flex_dspy.evaluation.evaluation import Evaluation
from flex_dspy.learning.executors import Executor
from flex_dspy.learning.listeners import Broadcast
from flex_dspy.learning.sources import ExampleSource
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import Store


class Publisher(Protocol):
    """Publishes versions."""

    @property
    def newest_hash(self) -> str:
        """Hash of the last version; "" if none is known."""

    async def probe(self, library: ExperienceLibrary) -> Evaluation | None:
        """Measure a library to see whether the model works; None if there is nothing to measure it on.

        Raises:
            ModelError: If every answer is an error.
        """

    async def publish(self, step: int, evaluation: Evaluation | None) -> None:
        """Write the newest library as a version. A second call with the same library has no further effect.

        Args:
            step: Number of examples learned from.
            evaluation: The version's measurement, if it was measured already.
        """


class Retry(Protocol):
    """Attempts again the examples that failed in an earlier call."""

    async def run(self) -> bool:
        """Attempt the failed examples, and return whether the library now has edits that no version holds."""


@dataclass(frozen=True)
class Ports:
    """The four ports of the pipeline.

    Attributes:
        source: Where examples come from.
        executor: Where attempts run.
        store: Where commits are made.
        listeners: Receive the events.
    """

    source: ExampleSource
    executor: Executor
    store: Store
    listeners: Broadcast

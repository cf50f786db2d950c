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
    """Publishes versions: writes each one, then measures and logs it."""

    @property
    def is_waited_for(self) -> bool:
        """Whether learning waits until a version is published. Otherwise it goes on meanwhile."""

    @property
    def newest_hash(self) -> str:
        """Hash of the last version that was written; "" if none is known."""

    async def probe(self, library: ExperienceLibrary) -> Evaluation | None:
        """Measure a library to see whether the model works; None if there is nothing to measure it on.

        Raises:
            ModelError: If every answer is an error.
        """

    def write(self) -> ExperienceLibrary:
        """Write the newest library as a version, and return it. A second call in a row has no further effect."""

    async def publish(self, step: int, library: ExperienceLibrary, evaluation: Evaluation | None = None) -> None:
        """Measure and log a version that was written. A call that was interrupted can be repeated.

        Args:
            step: Number of examples learned from.
            library: The version's library.
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

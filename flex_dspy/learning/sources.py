"""The port for sources of examples, and the training set as one such source.

Observations are in ``learning.journal_source``, rated requests in ``learning.request_source``.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import dspy
import numpy as np

from flex_dspy.core.examples import example_id

DEFAULT_VERSIONS = 6


@dataclass(frozen=True, slots=True)
class Item:
    """One example of a run.

    Attributes:
        step: Its position in the run, from 1.
        example_id: Identity of its problem.
        example: A ``dspy.Example`` or an ``Observation``.
    """

    step: int
    example_id: str
    example: Any


@dataclass(frozen=True, slots=True)
class Segment:
    """The examples between two versions.

    Attributes:
        start: Step of the version before. No example of the segment sees a library that is older than this version.
        stop: Step at which the next version is due.
        is_due: Whether that version is still to be published.
        is_last: Whether the run ends there.
    """

    start: int
    stop: int
    is_due: bool = True
    is_last: bool = False


class ExampleSource(Protocol):
    """Gives the examples of one run, in order.

    Attributes:
        run: Identity of the run. Run and step together identify a commit.
        poll_seconds: Seconds between two looks for new examples. None if the run ends when there is nothing more to
            read.
    """

    run: str
    poll_seconds: float | None

    def segments(self, done: int) -> Iterator[Segment]:
        """The segments of the run.

        Args:
            done: The last step that the library holds.
        """

    def read(self) -> Item | None:
        """Read the next example; None if there is none yet."""

    def acknowledge(self, step: int) -> None:
        """Note that every example up to this step is settled, and that a version due at this step is published."""

    def rest(self, step: int) -> None:
        """Note that no example is under way, and that the source has no example after this step yet."""


def endless_segments(done: int, publish_every: int | None) -> Iterator[Segment]:
    """Yield the segments of a run without a known end.

    Args:
        done: The last step that the library holds.
        publish_every: Examples from one version to the next; None publishes none.
    """
    if publish_every is None:
        yield Segment(0, sys.maxsize)
        return
    start = done // publish_every * publish_every
    while True:
        yield Segment(start, start + publish_every)
        start += publish_every


class TrainingSet:
    """The examples of all epochs. Each epoch has its own order.

    Args:
        run: Identity of the run.
        order: The examples, in the order they are learned from.
        stops: Steps at which versions are published.
        due: The steps among ``stops`` whose version is not published yet.
        done: The last step that the library holds.
    """

    poll_seconds: float | None = None

    def __init__(
        self, run: str, order: Sequence[dspy.Example], stops: Sequence[int], due: Collection[int], done: int
    ) -> None:
        self.run = run
        self.order = order
        self.stops = stops
        self.due = due
        self._read_to = done

    def segments(self, done: int) -> Iterator[Segment]:
        """See ``ExampleSource``."""
        for start, stop in pairwise([0, *self.stops]):
            yield Segment(start, stop, stop in self.due, stop == self.stops[-1])

    def read(self) -> Item | None:
        """See ``ExampleSource``."""
        if self._read_to >= len(self.order):
            return None
        self._read_to += 1
        return self.item(self._read_to)

    def item(self, step: int) -> Item:
        """The example of a step."""
        example = self.order[step - 1]
        return Item(step, example_id(example), example)

    def acknowledge(self, step: int) -> None:
        """Do nothing. The library holds the last settled step."""

    def rest(self, step: int) -> None:
        """Do nothing."""


def shuffle_epochs(trainset: Sequence[dspy.Example], epochs: int, seed: int) -> list[dspy.Example]:
    """All examples of all epochs, each epoch shuffled on its own."""
    order: list[dspy.Example] = []
    for epoch in range(epochs):
        examples = list(trainset)
        random.Random(f"{seed}:{epoch}").shuffle(examples)  # noqa: S311 (order, not secrecy)
        order += examples
    return order


def stops(total: int, every: int | None) -> list[int]:
    """The steps at which a version is published: 0, some steps between, and the last step.

    Args:
        total: Number of examples.
        every: Examples from one version to the next; None spreads six versions evenly on a log scale.
    """
    if every is not None:
        return [*range(0, total, every), total]
    first = total if total <= 50 else min(50, total // 4)  # so few examples give no version between
    spread = np.geomspace(first, total, DEFAULT_VERSIONS)
    return sorted({0, *(round(float(value)) for value in spread), total})

"""Chooses trials so that few calls give much information about the value of a library's entries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flex_dspy.evaluation.contrasts import Contrasts, Floats, contrasts, half_width
from flex_dspy.evaluation.entry_values import EARLY
from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.evaluation.records import by_example
from flex_dspy.libraries.library import ExperienceLibrary

LOOKS = 4  # number of looks at the estimates, with the last one


@dataclass(slots=True)
class Pair:
    """Two trials of one example. Each trial hides the entries that the other shows.

    Attributes:
        example: Index of the example.
        hidden: Ids of the entries hidden in the first trial, and in the second.
        repeat: Number of earlier pairs with the same halves. A repeated pair needs new samples.
        difference: The first score minus the second, when it is known.
    """

    example: int
    hidden: tuple[frozenset[str], frozenset[str]]
    repeat: int
    difference: float = 0.0


class TrialDesign:
    """Chooses the pairs and computes the contrasts from their differences.

    Args:
        shown: Shape ``(examples, entries)``: whether each example shows each entry.
        entries: Ids of the entries.
        coins: Random generator that divides the entries into halves.
    """

    def __init__(self, shown: npt.NDArray[np.bool_], entries: Sequence[str], coins: np.random.Generator) -> None:
        self.shown = shown.astype(np.float64)
        self.entries = tuple(entries)
        self.ids = np.array(entries, dtype=object)
        self.coins = coins
        self.open = np.ones(len(entries), dtype=bool)
        self.counts = np.zeros(len(entries))
        self.asked = np.zeros(len(shown))
        self.pairs: list[Pair] = []
        self._signs: list[Floats] = []
        self._halves: Counter[tuple[int, frozenset[frozenset[str]]]] = Counter()

    @classmethod
    def of(cls, reference: Evaluation, library: ExperienceLibrary, coins: np.random.Generator) -> TrialDesign:
        """Design for the entries that a reference evaluation showed."""
        sets = [
            {entry_id for record in samples for entry_id in record.shown if entry_id in library}
            for samples in by_example(reference.records)
        ]
        entries = sorted(set().union(*sets))
        shown = np.array([[entry_id in ids for entry_id in entries] for ids in sets], dtype=bool)
        return cls(shown.reshape(len(sets), len(entries)), entries, coins)

    def next(self) -> Pair | None:
        """Choose the next pair: it favours entries with few pairs and spreads over examples. None if no pair helps."""
        gain = self.shown @ (self.open / (1 + self.counts)) / (1 + self.asked)
        if not gain.any():
            return None
        example = int(gain.round(9).argmax())  # rounding of a sum must not decide a tie
        signs = self.shown[example] * self.coins.choice((-1.0, 1.0), size=len(self.entries))
        first, second = frozenset(self.ids[signs > 0]), frozenset(self.ids[signs < 0])
        self.counts += self.shown[example]
        self.asked[example] += 1
        halves = (example, frozenset((first, second)))
        pair = Pair(example, (second, first), self._halves[halves])
        self._halves[halves] += 1
        self._signs.append(signs)
        self.pairs.append(pair)
        return pair

    def contrasts(self) -> Contrasts:
        """Contrasts from the pairs so far."""
        signs = np.array(self._signs, dtype=float).reshape(len(self.pairs), len(self.entries))
        differences = np.array([pair.difference for pair in self.pairs], dtype=float)
        return contrasts(signs, differences, np.array([pair.example for pair in self.pairs], dtype=np.int64))

    def let_go(self, found: Contrasts, threshold: float, error_chance: float) -> None:
        """Stop choosing pairs for entries whose effect is clearly on one side of the threshold."""
        chance = error_chance * EARLY / max(len(self.entries) * (LOOKS - 1), 1)
        for place in np.flatnonzero(found.examples > 1):
            half = half_width(float(found.error[place]), int(found.examples[place]), chance)
            if abs(found.centre[place] - threshold) > half:
                self.open[place] = False

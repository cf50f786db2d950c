"""Finds the labels that similar precedents make unlikely. The labels that remain have a chosen coverage.

The score of a label is its share of the vote of similar precedents (``flex_dspy.search.tally``). The precedents of the
library calibrate the least share that a label needs: each of them is asked about without itself, and the share that its
own label gets is recorded. The least share is then such that at most ``1 - coverage`` of these labels fall below it.
If new problems are like those of the library, the labels that remain hold the right one as often.

This is conformal prediction with one case left out at a time. Sources: Vovk, Gammerman and Shafer, Algorithmic Learning
in a Random World, 2005; Angelopoulos and Bates, arXiv 2107.07511. All labels above one share make the smallest sets:
Sadinle, Lei and Wasserman, arXiv 1609.00451.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from flex_dspy.libraries.change_log import Change
from flex_dspy.libraries.experience import Precedent
from flex_dspy.search.indexes import Match
from flex_dspy.search.tally import vote

LEAST_OF_LABEL = 2  # precedents of a label: one alone, asked about without itself, never finds its label
LEAST_ASKED = 50  # precedents that a calibration needs
MOST_ASKED = 200  # precedents that are asked about; with 200, the coverage is known to within two points
_KEPT = 16  # calibrations of one series of snapshots


@dataclass(frozen=True)
class Calibration:
    """The shares of right labels.

    Attributes:
        shares: For each precedent that was asked about, the share of its own label, ascending.
        known: Labels with enough precedents. Only these can be unlikely.
    """

    shares: tuple[float, ...] = ()
    known: frozenset[str] = frozenset()

    def least_share(self, coverage: float) -> float:
        """The share that a label needs; 0 if all labels remain.

        Args:
            coverage: How often the remaining labels hold the right one, above 0 and at most 1.
        """
        asked = len(self.shares)
        below = asked + 1 - math.ceil((asked + 1) * coverage)
        return self.shares[below - 1] if below > 0 and asked >= LEAST_ASKED else 0.0

    def unlikely(self, shares: Mapping[str, float], coverage: float) -> frozenset[str]:
        """The labels with too small a share of the vote. The likeliest label and unknown ones are never among them.

        Args:
            shares: The share of each label; see ``flex_dspy.search.tally.vote``.
            coverage: As for ``least_share``.
        """
        least = min(self.least_share(coverage), max(shares.values(), default=0.0))
        return frozenset(label for label in self.known if shares.get(label, 0.0) < least)


def calibrate(
    precedents: Iterable[Precedent], labels: Sequence[str], count: int, similar: Callable[[str], Sequence[Match]]
) -> Calibration:
    """Ask about precedents without themselves.

    The precedents asked about are chosen by a digest of their problems. So the choice hardly changes when the library
    grows.

    Args:
        precedents: The precedents of the library. Those with another answer than a label are left out.
        labels: All labels.
        count: Number of precedents that vote.
        similar: Returns the precedents that are most similar to a problem, without those of the problem itself.
    """
    answers = {precedent.problem: precedent.answer for precedent in precedents if precedent.answer in labels}
    known = frozenset(label for label, of_label in Counter(answers.values()).items() if of_label >= LEAST_OF_LABEL)
    problems = [problem for problem, answer in answers.items() if answer in known]
    if len(problems) < LEAST_ASKED:
        return Calibration(known=known)
    asked = sorted(problems, key=_digest)[:MOST_ASKED]
    return Calibration(
        tuple(sorted(vote(similar(problem), count, labels).get(answers[problem], 0.0) for problem in asked)), known
    )


def _digest(problem: str) -> bytes:
    return hashlib.sha256(problem.encode()).digest()


class Calibrations:
    """The latest calibrations of a series of snapshots. It is kept with the indexes, and each is made once."""

    def __init__(self) -> None:
        self.synced = 0
        self._made: dict[Hashable, Calibration] = {}
        self._lock = threading.Lock()

    def read(self, number: int, change: Change) -> None:
        """Nothing: a calibration belongs to one snapshot."""

    def find(self, key: Hashable, make: Callable[[], Calibration]) -> Calibration:
        """The calibration with this key. Other threads wait while it is made.

        Args:
            key: The snapshot's place in the log, and everything else that the calibration depends on.
            make: Makes the calibration.
        """
        with self._lock:
            found = self._made.pop(key, None) or make()
            self._made[key] = found  # moves it to the end, so that it is dropped last
            while len(self._made) > _KEPT:
                del self._made[next(iter(self._made))]
            return found

"""Entries that a search found, with the reasons for each."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from flex_dspy.core.representations import Representable
from flex_dspy.libraries.experience import Experience, Precedent


@dataclass(frozen=True, slots=True)
class Utility:
    """How the measured effect of an entry changed its score.

    Attributes:
        lift: Its expected effect compared with the other entries found for the same problem, as a difference of log
            odds of success.
        factor: The factor by which its fused score was multiplied.
        reason: The measured counts, in words.
    """

    lift: float
    factor: float
    reason: str

    def __str__(self) -> str:
        """``utility x 0.74 (odds x 0.37: helped 2 of 40 shown)``."""
        return f"utility x {self.factor:.2f} (odds x {math.exp(self.lift):.2f}: {self.reason})"


@dataclass(frozen=True, slots=True)
class Hit(Representable):
    """A retrieved entry, and why it was retrieved.

    Attributes:
        experience: The entry.
        score: Its fused score.
        precedents: Its precedents that fit the query, each with its similarity in [0, 1], best first.
        ranks: Its rank in each view that found it, from 1.
        own: Whether the query's own example is one of the entry's precedents; its solution is then left out.
        scores: The score in each view that found it: a similarity (structural), a cosine (dense), or BM25.
        weight: The factor of its zone in the fused score.
        utility: How its measured effect changed the fused score; None if the ranking does not use it.
    """

    experience: Experience
    score: float
    precedents: tuple[tuple[Precedent, float], ...] = ()
    ranks: dict[str, int] = field(default_factory=dict)
    own: bool = False
    scores: dict[str, float] = field(default_factory=dict)
    weight: float = 1.0
    utility: Utility | None = None

    def why(self) -> str:
        """Why it was retrieved, on one line: rank and score in each view, the zone's weight, utility, fused score."""
        views = [
            f"{view} rank {rank}" + (f" ({self.scores[view]:.3f})" if view in self.scores else "")
            for view, rank in self.ranks.items()
        ]
        found = ", ".join(views) or "by no view"
        own = "; its case of this very problem is left out" if self.own else ""
        used = f"; {self.utility}" if self.utility else ""
        return f"{found}; {self.experience.zone} x {self.weight:g}{used}; score {self.score:.4f}{own}"


class Hits(Representable, list[Hit]):
    """Entries that a search found, best first; a notebook shows each with its reasons and precedents."""

    def __repr__(self) -> str:
        return "\n".join(f"{hit.experience.id}: {hit.why()}" for hit in self) or "nothing was found"

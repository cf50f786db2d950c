"""Entries that a search found, each with the reasons."""

from __future__ import annotations

from dataclasses import dataclass, field

from flex_dspy.core.representations import Representable
from flex_dspy.libraries.experience import Experience, Precedent


@dataclass(frozen=True, slots=True)
class Hit(Representable):
    """An entry that was retrieved, and why.

    Attributes:
        experience: The entry.
        score: Its fused score.
        precedents: Its precedents that fit the query, each with its similarity in [0, 1], best first.
        ranks: Its rank in each view that found it, from 1.
        own: The query's own example is among the entry's precedents: what shows its solution is left out.
        scores: The score that each of these views gave it: a similarity (structural), a cosine (dense), or BM25.
        weight: The factor of its zone in the fused score.
    """

    experience: Experience
    score: float
    precedents: tuple[tuple[Precedent, float], ...] = ()
    ranks: dict[str, int] = field(default_factory=dict)
    own: bool = False
    scores: dict[str, float] = field(default_factory=dict)
    weight: float = 1.0

    def why(self) -> str:
        """Why it was retrieved, on one line: its rank and score in each view, its zone's weight, its fused score."""
        views = [
            f"{view} rank {rank}" + (f" ({self.scores[view]:.3f})" if view in self.scores else "")
            for view, rank in self.ranks.items()
        ]
        found = ", ".join(views) or "by no view"
        own = "; its case of this very problem is left out" if self.own else ""
        return f"{found}; {self.experience.zone} x {self.weight:g}; score {self.score:.4f}{own}"


class Hits(Representable, list[Hit]):
    """Entries that a search found, best first; a notebook shows each with its reasons and precedents."""

    def __repr__(self) -> str:
        return "\n".join(f"{hit.experience.id}: {hit.why()}" for hit in self) or "nothing was found"

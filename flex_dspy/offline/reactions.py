"""The offline chemist's judgement: which reactants made this product, by the lessons of like reactions.

Every lesson is a retro template with the reactions it was learned from. Each of those precedents votes for what its
template gives, the more the likelier its product is this product and its reactants are these reactants: the
similarity method of Coley et al., ACS Cent. Sci. 2017, 3, 1237 (RetroSim).

    >>> lesson = Lesson("e1", (extract_template("CC(=O)NC", "CC(=O)O.CN").smarts,), (), (case,))
    >>> rank_candidates("CCC(=O)NCC", [lesson])[0].reactants
    'CCC(=O)O.CCN'
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flex_dspy.molecules import canonical_smiles, fingerprint
from flex_dspy.offline.application import apply_template
from flex_dspy.offline.templates import Template, extract_template

__all__ = ["Candidate", "Case", "Lesson", "Template", "apply_template", "extract_template", "rank_candidates"]

_PRODUCT_WEIGHT = 3.0
_REACTANT_WEIGHT = 4.0
_AVOID_PENALTY = 0.5


@dataclass(frozen=True, slots=True)
class Case:
    """A precedent: a reaction that a lesson was learned from.

    Attributes:
        product: SMILES of its product.
        reactants: SMILES of its reactants.
        similarity: Tanimoto similarity of its product to the product in question, 0 to 1.
    """

    product: str
    reactants: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one experience says about a product.

    Attributes:
        id: The experience's identifier.
        templates: Retro reaction SMARTS to apply.
        avoid: Retro reaction SMARTS that were wrong on a similar product.
        precedents: The reactions that the lesson was learned from.
    """

    id: str
    templates: tuple[str, ...]
    avoid: tuple[str, ...]
    precedents: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A proposal for the reactants.

    Attributes:
        reactants: Their canonical SMILES.
        score: The sum of votes, larger is better.
        lesson_ids: The lessons that voted for it, the strongest first.
        template: The template of the strongest vote.
    """

    reactants: str
    score: float
    lesson_ids: tuple[str, ...]
    template: str


def rank_candidates(product: str, lessons: Sequence[Lesson], limit: int = 50) -> list[Candidate]:
    """Reactant sets for a product, the best supported first.

    Args:
        product: SMILES of the product.
        lessons: What was retrieved for it.
        limit: How many candidates to return at most.

    Returns:
        The candidates; empty for a bad SMILES or where no template fits.
    """
    target = canonical_smiles(product)
    if target is None:
        return []
    votes: dict[str, list[tuple[float, str, str]]] = defaultdict(list)
    for lesson in lessons:
        for template in lesson.templates:
            for outcome in apply_template(template, target):
                if outcome != target:
                    votes[outcome].append((_support(outcome, lesson.precedents), lesson.id, template))
    penalties: dict[str, int] = defaultdict(int)
    for smarts in {smarts for lesson in lessons for smarts in lesson.avoid}:
        for outcome in apply_template(smarts, target):
            penalties[outcome] += 1
    ranked = [_candidate(outcome, cast, penalties[outcome]) for outcome, cast in votes.items()]
    return sorted(ranked, key=lambda candidate: (-candidate.score, candidate.reactants))[:limit]


def _candidate(outcome: str, votes: list[tuple[float, str, str]], warnings: int) -> Candidate:
    votes = sorted(votes, key=lambda vote: (-vote[0], vote[1], vote[2]))
    score = sum(weight for weight, _, _ in votes) * _AVOID_PENALTY**warnings
    return Candidate(outcome, score, tuple(dict.fromkeys(lesson for _, lesson, _ in votes)), votes[0][2])


def _support(outcome: str, precedents: Sequence[Case]) -> float:
    return sum(
        case.similarity**_PRODUCT_WEIGHT * _similarity(outcome, case.reactants) ** _REACTANT_WEIGHT
        for case in precedents
    )


def _similarity(one: str, other: str) -> float:
    """Tanimoto similarity of two fingerprints, 0 where either has none."""
    left, right = fingerprint(one), fingerprint(other)
    if left is None or right is None:
        return 0.0
    either = int(np.bitwise_count(left | right).sum())
    return int(np.bitwise_count(left & right).sum()) / either if either else 0.0

"""Estimates how likely each of several disconnections is, from the retrieved solved cases.

Every solved case is compared with every proposal: are the products similar, are the reactants, is it the same change in
similar surroundings? The comparison gives eight terms for or against a proposal. The proposal's weight is e to the
power of the sum of terms, each times its coefficient. This is a conditional logit (McFadden, in: Frontiers in
Econometrics, 1974). Only the coefficients are fitted, by maximum likelihood (``tests/benchmarks/fit_evidence.py``). The
file ``coefficients.json`` holds them and says what they were fitted on. There are two sets: eight coefficients for 150
and more solved cases in the prompt, and twenty for 50 and fewer. Between these numbers both count.

The further terms count only with few cases, or if they were fitted to a library (see ``flex_dspy.offline.ranking``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt

from flex_dspy.offline.changes import GAINED, LOST, PRODUCT, REACTANTS, Bits, Numbers, count_common, likeness, size

_FITTED = json.loads(resources.files("flex_dspy.offline").joinpath("coefficients.json").read_text(encoding="utf-8"))
# In the order in which `weigh` makes the terms.
COEFFICIENTS: dict[str, float] = _FITTED["many cases"]["coefficients"]
COEFFICIENTS_OF_FEW: dict[str, float] = _FITTED["few cases"]["coefficients"]
FURTHER_TERMS = tuple(name for name in COEFFICIENTS_OF_FEW if name not in COEFFICIENTS)
FEW, MANY = 50, 150  # numbers of cases; the share of the coefficients for few cases falls from 1 to 0 between them
_MOST_ALIKE = 5
_SAME_KIND = 0.5  # changes with at least this similarity are of the same kind


@dataclass(frozen=True, slots=True)
class Proposals:
    """The proposals to judge.

    Attributes:
        changes: The environments of each proposal, shape (m, 4, 16).
        molecules: Number of molecules that each proposal needs, shape (m,).
        unknown: Number of these molecules that no solved case made or used, shape (m,).
        general: Whether only a template's general form gives the proposal, shape (m,).
    """

    changes: Bits
    molecules: Numbers
    unknown: Numbers
    general: Numbers


@dataclass(frozen=True, slots=True)
class Cases:
    """The solved cases to compare with.

    Attributes:
        changes: The environments of each solved case, shape (n, 4, 16).
        similarity: Similarity of each case's product to the product in question, 0 to 1, shape (n,).
        taught: Whether a case's lesson teaches a template that gives a proposal, shape (n, m).
    """

    changes: Bits
    similarity: Numbers
    taught: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence of the solved cases on the proposals.

    Attributes:
        support: Support of each case for each proposal of its own lesson, shape (n, m).
        alike: Similarity of the changes, with the surroundings on both sides, 0 to 1, shape (n, m).
        terms: The terms for or against each proposal, shape (8, m), or (20, m) with the further terms.
        weight: The logarithm of each proposal's weight, shape (m,).
    """

    support: Numbers
    alike: Numbers
    terms: Numbers
    weight: Numbers


def weigh(cases: Cases, proposals: Proposals, *, further: bool = False) -> Evidence:
    """Compare every case with every proposal.

    Args:
        cases: The known cases; there may be none.
        proposals: The proposals to judge, at least one.
        further: Also return the terms of ``FURTHER_TERMS``.
    """
    near = cases.similarity[:, None]
    lost, gained, reactants = (
        likeness(cases.changes[:, side], proposals.changes[:, side]) for side in (LOST, GAINED, REACTANTS)
    )
    losses, gains = (size(proposals.changes[:, side]) for side in (LOST, GAINED))
    # The share of a proposal's site that a case's product also contains, whatever reacted there.
    shared = count_common(cases.changes[:, PRODUCT], proposals.changes[:, LOST])
    place = np.asarray(shared / np.maximum(losses, 1), np.float32)
    support, alike = near**3 * reactants**4 * cases.taught, lost * gained
    # The small constants are the prior.
    terms = np.stack(
        [
            np.log(support.sum(axis=0) + 1e-4),
            np.log((near * reactants**4).sum(axis=0) + 1e-3),
            np.log(np.sort(alike, axis=0)[-_MOST_ALIKE:].sum(axis=0) / _MOST_ALIKE + 1e-2),
            np.log((near**3 * place**4).sum(axis=0) + 1e-2),
            np.log((gains + 1) / (losses + 1)),
            proposals.molecules,
            proposals.unknown,
            proposals.general,
        ]
    )
    few = _share_of_few(len(near))
    every = np.concatenate([terms, _further_terms(cases, proposals, lost, gained, place)]) if further or few else terms
    weight = _times(COEFFICIENTS, terms)
    if few:
        weight = (1 - few) * weight + few * _times(COEFFICIENTS_OF_FEW, every)
    return Evidence(support, alike, every if further else terms, weight)


def _share_of_few(cases: int) -> float:
    """The share of the coefficients for few cases, 0 to 1."""
    return min(max((MANY - cases) / (MANY - FEW), 0.0), 1.0)


def _times(coefficients: dict[str, float], terms: Numbers) -> Numbers:
    return np.asarray(np.asarray(list(coefficients.values()), np.float32) @ terms, np.float32)


def _further_terms(cases: Cases, proposals: Proposals, lost: Numbers, gained: Numbers, place: Numbers) -> Numbers:
    """The terms of ``FURTHER_TERMS``, shape (12, m); the likenesses have the shape (n, m)."""
    near, alike = cases.similarity[:, None], lost * gained
    ranked = np.sort(alike, axis=0)
    near_twice, near_thrice = near**2, near**3
    sums = [
        (ranked[-20:].sum(axis=0) / 20, 1e-2),
        (cases.taught.sum(axis=0), 1.0),
        ((near_thrice * cases.taught).sum(axis=0), 1e-4),
        ((near * alike**2 * cases.taught).sum(axis=0), 1e-3),
        ((near_twice * lost**3).sum(axis=0), 1e-2),
        ((near_twice * gained**3).sum(axis=0), 1e-2),
        ((near_thrice * alike**2).sum(axis=0), 1e-3),
        ((near_thrice * place**4 * (alike > _SAME_KIND)).sum(axis=0), 1e-2),
        (size(proposals.changes[:, LOST]), 1.0),
        (size(proposals.changes[:, GAINED]), 1.0),
    ]
    nearest = ranked[-1] if len(ranked) else np.zeros(len(proposals.molecules), np.float32)
    logarithms = [np.log(found + prior) for found, prior in sums]
    return np.stack([nearest, *logarithms, proposals.molecules == 1]).astype(np.float32)

"""Estimates how likely each of several disconnections is, from the retrieved solved cases.

Every solved case is compared with every proposal: are the products similar, are the reactants, is it the same change in
similar surroundings? The comparison gives fifteen terms for or against a proposal. The proposal's weight is e to the
power of the sum of terms, each times its coefficient. This is a conditional logit (McFadden, in: Frontiers in
Econometrics, 1974). Only the coefficients are fitted, by maximum likelihood (``tests/benchmarks/fit_evidence.py``). The
file ``coefficients.json`` holds them and says what they were fitted on.

There are two sets of coefficients: one for few solved cases, one for many close ones. How much each set counts depends
on the sum of the cubes of the cases' similarities. So it changes smoothly while a library grows.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt

from flex_dspy.offline.changes import GAINED, LOST, PRODUCT, REACTANTS, Bits, Numbers, count_common, likeness, size

_FITTED = json.loads(resources.files("flex_dspy.offline").joinpath("coefficients.json").read_text(encoding="utf-8"))
# In the order in which `weigh` makes the terms.
COEFFICIENTS_OF_FEW: dict[str, float] = _FITTED["few cases"]["coefficients"]
COEFFICIENTS: dict[str, float] = _FITTED["many cases"]["coefficients"]
# The sums of cubed similarities up to which only the first set counts, and from which only the second.
FEW, MANY = float(_FITTED["few cases"]["similarity"]), float(_FITTED["many cases"]["similarity"])
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
        terms: The terms for or against each proposal, shape (15, m).
        weight: The logarithm of each proposal's weight, shape (m,).
    """

    support: Numbers
    alike: Numbers
    terms: Numbers
    weight: Numbers


def weigh(cases: Cases, proposals: Proposals) -> Evidence:
    """Compare every case with every proposal.

    Args:
        cases: The known cases; there may be none.
        proposals: The proposals to judge, at least one.
    """
    near, cubed = cases.similarity, cases.similarity**3
    lost, gained, reactants = (
        likeness(cases.changes[:, side], proposals.changes[:, side]) for side in (LOST, GAINED, REACTANTS)
    )
    losses, gains = (size(proposals.changes[:, side]) for side in (LOST, GAINED))
    # The share of a proposal's site that a case's product also contains, whatever reacted there.
    shared = count_common(cases.changes[:, PRODUCT], proposals.changes[:, LOST])
    place = np.asarray(shared / np.maximum(losses, 1), np.float32) ** 4
    support, alike = cubed[:, None] * reactants**4 * cases.taught, lost * gained
    # The small constants are the prior.
    terms = np.stack(
        [
            np.log(support.sum(axis=0) + 1e-4),
            np.log(near @ reactants**4 + 1e-3),
            np.log(np.sort(alike, axis=0)[-_MOST_ALIKE:].sum(axis=0) / _MOST_ALIKE + 1e-2),
            np.log(cubed @ place + 1e-2),
            np.log((gains + 1) / (losses + 1)),
            proposals.molecules,
            proposals.unknown,
            proposals.general,
            np.log(cases.taught.sum(axis=0) + 1),
            np.log(cubed @ cases.taught + 1e-4),
            np.log(near**2 @ lost**3 + 1e-2),
            np.log(cubed @ (place * (alike > _SAME_KIND)) + 1e-2),
            np.log(losses + 1),
            np.log(gains + 1),
            proposals.molecules == 1,
        ]
    ).astype(np.float32)
    many = share_of_many(near)
    weight = many * _times(COEFFICIENTS, terms) + (1 - many) * _times(COEFFICIENTS_OF_FEW, terms)
    return Evidence(support, alike, terms, weight)


def share_of_many(similarity: Numbers) -> float:
    """The share of the coefficients for many cases, 0 to 1.

    Args:
        similarity: Similarity of each case's product to the product in question, 0 to 1, shape (n,).
    """
    cubed = float((similarity**3).sum())
    return min(math.log(max(cubed, FEW) / FEW) / math.log(MANY / FEW), 1.0)


def _times(coefficients: dict[str, float], terms: Numbers) -> Numbers:
    return np.asarray(np.asarray(list(coefficients.values()), np.float32) @ terms, np.float32)

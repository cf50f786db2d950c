"""The two sets of coefficients: which cases they are for, and that evidence for a proposal never counts against it."""

import numpy as np
import pytest

from flex_dspy.offline.changes import changes
from flex_dspy.offline.evidence import (
    COEFFICIENTS,
    COEFFICIENTS_OF_FEW,
    FEW,
    MANY,
    Cases,
    Proposals,
    share_of_many,
    weigh,
)

PROPOSED = ["CCC(=O)O.CCN", "CCC(=O)Cl.CCN"]


def weights(cases: int, similarity: float) -> tuple[np.ndarray, np.ndarray]:
    """The weights of two proposals beside so many equal cases, and their terms."""
    both = changes("CCC(=O)NCC", PROPOSED)
    proposals = Proposals(both, np.full(2, 2, np.float32), np.array([0, 1], np.float32), np.zeros(2, np.float32))
    solved = np.repeat(changes("CC(=O)NC", ["CC(=O)O.CN"]), cases, axis=0)
    taught = np.tile([True, False], (cases, 1))
    found = weigh(Cases(solved, np.full(cases, similarity, np.float32), taught), proposals)
    return found.weight, found.terms


@pytest.mark.parametrize(
    ("cases", "similarity", "many"), [(0, 0.4, 0), (50, 0.1, 0), (100, 0.2, 0.48), (400, 0.2, 0.80), (400, 0.5, 1)]
)
def test_coefficients_for_few_cases_fade_out(cases, similarity, many):
    weight, terms = weights(cases, similarity)
    few, many_ = (np.array(list(each.values())) @ terms for each in (COEFFICIENTS_OF_FEW, COEFFICIENTS))
    assert weight == pytest.approx((1 - many) * few + many * many_, abs=0.02)


def test_a_case_more_never_means_fewer():
    shares = [share_of_many(np.full(cases, 0.3)) for cases in range(500)]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)


def test_a_proposal_has_finite_terms_without_any_case():
    weight, terms = weights(0, 0.4)
    assert terms.shape == (len(COEFFICIENTS), 2)
    assert np.isfinite(weight).all()


def test_evidence_for_a_proposal_never_counts_against_it():
    assert list(COEFFICIENTS) == list(COEFFICIENTS_OF_FEW)
    free = ("number of environments lost", "number of environments gained", "a single reactant")
    for name, coefficient in COEFFICIENTS.items():
        assert coefficient * COEFFICIENTS_OF_FEW[name] >= 0 or name in free
    assert FEW < MANY

"""The two sets of coefficients: which cases they are for, and that evidence for a proposal never counts against it."""

import numpy as np
import pytest

from flex_dspy.offline import evidence
from flex_dspy.offline.changes import changes
from flex_dspy.offline.evidence import COEFFICIENTS, COEFFICIENTS_OF_FEW, FURTHER_TERMS, Cases, Proposals, weigh

PROPOSED = ["CCC(=O)O.CCN", "CCC(=O)Cl.CCN"]


def weights(cases: int, *, further: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """The weights of two proposals beside so many equal cases, and their terms."""
    both = changes("CCC(=O)NCC", PROPOSED)
    proposals = Proposals(both, np.full(2, 2, np.float32), np.array([0, 1], np.float32), np.zeros(2, np.float32))
    solved = np.repeat(changes("CC(=O)NC", ["CC(=O)O.CN"]), cases, axis=0)
    taught = np.tile([True, False], (cases, 1))
    found = weigh(Cases(solved, np.full(cases, 0.4, np.float32), taught), proposals, further=further)
    return found.weight, found.terms


@pytest.mark.parametrize(("cases", "share"), [(0, 1.0), (50, 1.0), (100, 0.5), (150, 0.0), (400, 0.0)])
def test_coefficients_for_few_cases_fade_out(cases, share):
    weight, terms = weights(cases)
    few = np.array(list(COEFFICIENTS_OF_FEW.values())) @ terms
    many = np.array(list(COEFFICIENTS.values())) @ terms[: len(COEFFICIENTS)]
    assert weight == pytest.approx(share * few + (1 - share) * many, rel=1e-4)


def test_the_weight_is_the_same_with_and_without_the_further_terms():
    weight, terms = weights(20, further=False)
    assert len(terms) == len(COEFFICIENTS)
    assert weight == pytest.approx(weights(20)[0])


def test_evidence_for_a_proposal_never_counts_against_it():
    assert tuple(COEFFICIENTS_OF_FEW) == (*COEFFICIENTS, *FURTHER_TERMS)
    for name, coefficient in COEFFICIENTS.items():
        assert coefficient * COEFFICIENTS_OF_FEW[name] > 0
    free = ("number of environments lost", "number of environments gained", "a single reactant")
    assert all(COEFFICIENTS_OF_FEW[name] >= 0 for name in FURTHER_TERMS if name not in free)
    assert evidence.FEW < evidence.MANY

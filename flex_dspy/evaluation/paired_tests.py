"""Paired tests of two programs on the same examples, and the correction for several tests."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

Floats = npt.NDArray[np.float64]

FLIPS = 9_999  # number of random sign flips; the smallest p-value is 1 / (FLIPS + 1)
MOST_EXACT = 13  # up to this number of differences all flips are tried: at most 2**13, fewer than FLIPS
_BLOCK = 1_000_000  # signs drawn at once


def mcnemar(wins: int, losses: int) -> float:
    """Exact two-sided p-value of McNemar's test.

    Args:
        wins: Number of examples that only the second program solves.
        losses: Number of examples that only the first program solves.

    Example:
        >>> round(mcnemar(10, 2), 4), mcnemar(0, 0)
        (0.0386, 1.0)
    """
    return min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5)))


def sign_flips(differences: Floats, *, seed: int = 0) -> float:
    """Two-sided p-value of the hypothesis "the mean difference is zero", from random sign flips of the differences.

    If both programs are equally good, each difference is as likely with the opposite sign. The test is about the mean,
    like the gain, and assumes no distribution. With differences of -1, 0 and 1 all flips together give McNemar's test.
    With more than ``MOST_EXACT`` differences, a random sample of flips is drawn.

    Source: Fisher, The Design of Experiments, 1935, section 21; Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 2010,
    9, 39 (the observed flip counts as drawn).

    Args:
        differences: The second program's mean score minus the first's, for each example.
        seed: Seed of the random flips.
    """
    # scipy.stats.permutation_test draws other flips, so published p-values would change. It also flips zeros, which
    # makes the test of a small sample inexact.
    nonzero = differences[differences != 0]
    observed = abs(nonzero.sum()) * (1 - 1e-12)  # equal sums may differ in their last digit
    if len(nonzero) <= MOST_EXACT:
        bits = np.arange(2 ** len(nonzero))[:, None] >> np.arange(len(nonzero)) & 1
        return float((np.abs((2 * bits - 1) @ nonzero) >= observed).mean())
    draw = np.random.default_rng(seed)
    rows = max(1, _BLOCK // len(nonzero))
    sizes = [min(rows, FLIPS - start) for start in range(0, FLIPS, rows)]
    sums = (np.abs((2 * draw.integers(0, 2, (size, len(nonzero))) - 1) @ nonzero) for size in sizes)
    return float(1 + sum(int((block >= observed).sum()) for block in sums)) / (1 + FLIPS)


def holm(p_values: npt.ArrayLike) -> Floats:
    """P-values after Holm's correction, which controls the probability of at least one false positive.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    # The function of statsmodels runs a garbage collection of the whole process, which takes 0.2 s a call.
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    raised = np.empty_like(p)
    raised[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return raised

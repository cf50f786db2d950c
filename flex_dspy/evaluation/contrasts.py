"""Estimates each entry's effect on the score, from pairs of trials that show complementary halves of the same entries.

A pair runs one example twice. Each entry of the example is in one of the two prompts. A fair coin for each entry
decides in which prompt. The difference of the two scores, with the sign of the coin, is an unbiased estimate of the
entry's effect, averaged over the other entries that it may be shown with. This is its Banzhaf value among the entries
shown (Wang and Jia, Data Banzhaf, AISTATS 2023). One pair gives an estimate for every entry that it shows. The coins
must be independent. With halves of equal size the entries' effects would cancel each other.

For the estimate of one entry, the effects of the other entries of the pair are noise. Ridge regression predicts these
effects from the pairs of *other* examples, which do not depend on this pair's coins. The prediction is subtracted. The
estimate stays unbiased even if the prediction is bad (cross-fitting: Wager et al., PNAS 2016, 113, 12673).

Intervals are Student's t intervals over examples, because pairs of one example are not independent (Liang and Zeger,
Biometrika 1986, 73, 13). Two artificial pairs are added to each entry: one with the largest possible gain and one with
the largest possible loss. Without them, a few pairs with equal results would give an interval that is too narrow
(Agresti and Min, Stat. Med. 2005, 24, 729).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

Floats = npt.NDArray[np.float64]

# Variance of the noise divided by the variance of the effects: the effects' standard deviation is a fifth of the
# noise's. The value changes the precision of the estimates and adds no bias.
RIDGE = 25.0
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Contrasts:
    """Estimates of all entries. Each array has one element for each entry.

    Attributes:
        effect: Mean score with the entry minus the mean score without it; nan without a pair.
        centre: The effect with the two artificial pairs included: the middle of the interval.
        error: Standard error of ``centre``; infinite with fewer than two examples.
        examples: Number of examples that showed the entry in a pair.
        pairs: Number of pairs that showed the entry.
    """

    effect: Floats
    centre: Floats
    error: Floats
    examples: npt.NDArray[np.int64]
    pairs: npt.NDArray[np.int64]


def contrasts(coins: Floats, differences: Floats, examples: npt.NDArray[np.int64]) -> Contrasts:
    """Estimate every entry's effect.

    Args:
        coins: Shape ``(pairs, entries)``: 1 if the entry was in the first prompt of the pair, -1 if it was in the
            second, 0 if it was not shown.
        differences: Shape ``(pairs,)``: the first prompt's score minus the second's.
        examples: Shape ``(pairs,)``: number of the example of each pair.
    """
    entries = coins.shape[1]
    effect, centre, error = np.full(entries, np.nan), np.zeros(entries), np.full(entries, np.inf)
    counts = np.zeros((2, entries), dtype=np.int64)
    if len(differences):
        span = float(np.abs(differences).max()) or 1.0
        signed = residual_contrasts(coins, differences, examples)
        for entry in np.flatnonzero(coins.any(axis=0)):
            shown = coins[:, entry] != 0
            values, (_, groups) = signed[shown, entry], np.unique(examples[shown], return_inverse=True)
            effect[entry] = values.mean()
            centre[entry], error[entry] = _mean_and_error(values, groups, span)
            counts[:, entry] = groups.max() + 1, len(values)
    return Contrasts(effect, centre, error, counts[0], counts[1])


def residual_contrasts(coins: Floats, differences: Floats, examples: npt.NDArray[np.int64]) -> Floats:
    """Estimates of each entry's effect from each pair, minus the predicted effects of the other entries.

    Returns:
        Shape ``(pairs, entries)``; 0 if the entry was not shown.
    """
    result = np.zeros_like(coins)
    folds = examples % FOLDS
    for fold in np.unique(folds):
        here = folds == fold
        effects = _ridge(coins[~here], differences[~here])
        rest = differences[here] - coins[here] @ effects
        result[here] = coins[here] * rest[:, None] + np.abs(coins[here]) * effects
    return result


def _ridge(coins: Floats, differences: Floats) -> Floats:
    """Effects by ridge regression, solved in the smaller of its two dimensions."""
    pairs, entries = coins.shape
    if pairs < entries:
        weights = np.linalg.solve(coins @ coins.T + RIDGE * np.eye(pairs), differences)
        return np.asarray(coins.T @ weights, dtype=np.float64)
    effects = np.linalg.solve(coins.T @ coins + RIDGE * np.eye(entries), coins.T @ differences)
    return np.asarray(effects, dtype=np.float64)


def _mean_and_error(values: Floats, groups: npt.NDArray[np.int64], span: float) -> tuple[float, float]:
    """Mean of values in groups, including the two artificial values, and its standard error."""
    sums = np.r_[np.bincount(groups, values), span, -span]
    sizes = np.r_[np.bincount(groups), 1, 1]
    mean, count = float(sums.sum() / sizes.sum()), len(sums)
    if count < 4:  # fewer than two examples
        return mean, math.inf
    squares = float(((sums - mean * sizes) ** 2).sum())
    return mean, math.sqrt(count / (count - 1) * squares) / float(sizes.sum())


def half_width(error: float, examples: int, chance: float) -> float:
    """Half the width of the two-sided interval that misses the true value with probability ``chance``."""
    return math.inf if math.isinf(error) else float(stdtrit(examples - 1, 1 - chance / 2)) * error


def chance_below(centre: float, error: float, examples: int, value: float) -> float:
    """One-sided p-value of the hypothesis "the effect is at least ``value``"; 1 without an interval."""
    return 1.0 if math.isinf(error) else float(stdtr(examples - 1, (centre - value) / error))


def step_up(p_values: npt.ArrayLike, rate: float) -> npt.NDArray[np.bool_]:
    """Hypotheses to reject. On average, at most a share ``rate`` of the rejected hypotheses is true.

    Source: Benjamini and Hochberg, J. R. Stat. Soc. B 1995, 57, 289.

    Example:
        >>> step_up([0.01, 0.04, 0.02, 0.9], 0.05).tolist()
        [True, False, True, False]
    """
    from scipy.stats import false_discovery_control  # takes a second to import

    p = np.asarray(p_values, dtype=float)
    return np.asarray(false_discovery_control(p) <= rate) if len(p) else np.zeros(0, dtype=bool)

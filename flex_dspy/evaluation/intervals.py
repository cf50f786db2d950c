"""95% confidence intervals of a mean score, and scores as text."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from flex_dspy.core.scoring import ACCURACY

Z = float(ndtri(0.975))  # the normal distribution's 97.5% quantile


def wilson(successes: float, n: float) -> tuple[float, float]:
    """Wilson's 95% interval of a proportion.

    Args:
        successes: Number of successes. It may be a fraction if trials are not independent (see ``cluster_interval``).
        n: Number of trials; it may also be a fraction. 0 trials give the interval from 0 to 1.

    Example:
        >>> [round(bound, 3) for bound in wilson(45, 100)]
        [0.356, 0.548]
    """
    if n == 0:
        return 0.0, 1.0
    # scipy.stats.binomtest takes only whole numbers, and importing statsmodels takes a second.
    share, scale = successes / n, 1 + Z**2 / n
    centre = (share + Z**2 / (2 * n)) / scale
    half = Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)


def student(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Student's 95% interval of the mean of independent values. With a single value it is infinite.

    If all values are from 0 to 1, the interval is limited to 0 to 1. If these values are also all equal, it is
    Wilson's interval, which is the widest that such values can need.
    """
    n, mean = len(values), float(values.mean())
    are_shares = _are_shares(values)
    deviation = float(values.std(ddof=1)) if n > 1 else math.inf
    if are_shares and (n == 1 or deviation == 0):
        return wilson(mean * n, n)
    half = float(stdtrit(n - 1, 0.975)) * deviation / math.sqrt(n) if n > 1 else math.inf
    return (max(0.0, mean - half), min(1.0, mean + half)) if are_shares else (mean - half, mean + half)


def cluster_interval(means: npt.NDArray[np.float64], samples: int) -> tuple[float, float]:
    """95% interval of the accuracy when each example has several samples that are right or wrong.

    It is Wilson's interval for an effective number of independent trials, which is estimated from the variance of the
    examples' means. This number is between the number of examples and the number of samples. The normal interval has
    zero width if all examples agree, and is too narrow near 0 and 1.

    Source: Korn and Graubard, Survey Methodology 1998, 24, 193 (effective sample size); Franco et al., J. Surv. Stat.
    Methodol. 2019, 7, 334 (with Wilson's interval).
    """
    n, mean = len(means), float(means.mean())
    if not _are_shares(means):
        return student(means)
    variance = float(means.var(ddof=1)) if n > 1 else 0.0
    most, spread = n * samples, mean * (1 - mean)
    if samples == 1 or n == 1 or spread == 0:
        return wilson(mean * n, n)
    trials = min(max(spread * n / variance, n), most) if variance > 0 else most
    return wilson(mean * trials, trials)


def score_text(value: float, *bounds: float) -> str:
    """Text of a mean score: a percentage if it and its bounds are from 0 to 1, else a plain number.

    Example:
        >>> score_text(0.5), score_text(0.5, 0.4, 0.6), score_text(0.5, -0.1, 1.1), score_text(12.25)
        ('50.0%', '50.0%', '0.5', '12.25')
    """
    return f"{value:.1%}" if all(0 <= number <= 1 for number in (value, *bounds)) else f"{value:.4g}"


def named_score_text(name: str, value: float, *bounds: float) -> str:
    """Text of a mean score: ``accuracy`` as a percentage, any other score as a plain number.

    Args:
        name: The score's name; see ``flex_dspy.core.scoring.named_score``.
        value: The mean.
        *bounds: Bounds of the mean. They only decide the format and are not in the text.

    Example:
        >>> named_score_text("accuracy", 0.5), named_score_text("|Spearman|", 0.6741)
        ('50.0%', '0.674')
    """
    return score_text(value, *bounds) if name == ACCURACY else f"{value:.3f}"


def _are_shares(values: npt.NDArray[np.float64]) -> bool:
    return bool(values.min() >= 0 and values.max() <= 1)

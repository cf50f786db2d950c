"""How sure one can be of a mean: 95% intervals."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Z = 1.959963984540054  # the normal distribution's 97.5% quantile


def wilson(successes: float, n: float) -> tuple[float, float]:
    """Wilson's 95% interval of a proportion.

    Source: Wilson, J. Am. Stat. Assoc. 1927, 22, 209.

    Example:
        >>> [round(bound, 3) for bound in wilson(45, 100)]
        [0.356, 0.548]
    """
    if n == 0:
        return 0.0, 1.0
    z, share = Z, successes / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (centre - spread) / (1 + z * z / n)), min(1.0, (centre + spread) / (1 + z * z / n))


def normal(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The normal 95% interval of the mean of independent values, at least one; it needs two to be of finite width."""
    mean = float(values.mean())
    deviation = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return mean - Z * deviation, mean + Z * deviation


def clustered(means: npt.NDArray[np.float64], samples: int) -> tuple[float, float]:
    """The 95% interval of a mean over examples, each with a mean over its samples.

    Wilson's interval for as many independent trials as would vary as much as the examples' means do: no fewer than
    there are examples, no more than there are samples. The normal interval has no width where all examples agree, and
    is too narrow near 0 and 1.

    Source: Korn and Graubard, Survey Methodology 1998, 24, 193 (effective sample size); Franco et al., J. Surv. Stat.
    Methodol. 2019, 7, 334 (with Wilson's interval).
    """
    n, mean = len(means), float(means.mean())
    if means.min() < 0 or means.max() > 1:  # no proportions
        return normal(means)
    variance = float(means.var(ddof=1)) if n > 1 else 0.0
    most, spread = n * samples, mean * (1 - mean)
    if samples == 1 or n == 1 or spread == 0:
        return wilson(mean * n, n)
    trials = min(max(spread * n / variance, n), most) if variance > 0 else most
    return wilson(mean * trials, trials)

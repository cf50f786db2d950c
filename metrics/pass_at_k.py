"""Scores several samples of one example: pass@k, and the score of the majority's answer.

Example:
    >>> [round(float(share), 3) for share in pass_at_k([0, 1, 2, 4], samples=4, k=2)]
    [0.0, 0.5, 0.833, 1.0]
    >>> majority_score(["73", "12", "73"], [1.0, 0.0, 1.0])
    1.0
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def pass_at_k(solved: npt.ArrayLike, *, samples: int, k: int) -> npt.NDArray[np.float64]:
    """For each example, the unbiased estimate of the chance that at least one of k samples solves it.

    Source: Chen et al., arXiv 2107.03374 (2021), equation 1: ``1 - C(n-c, k) / C(n, k)``.

    Args:
        solved: How many of an example's samples solve it, shape ``(examples,)``.
        samples: How many samples each example has (n).
        k: Number of samples that are looked at, 1 to n.

    Returns:
        Shape ``(examples,)``; their mean is the data set's pass@k.

    Raises:
        ValueError: If k, or a number of solving samples, is out of range.
    """
    counts = np.asarray(solved, dtype=np.intp)
    if not 1 <= k <= samples:
        raise ValueError(f"k must be 1 to the number of samples ({samples}), got {k}")
    if counts.size and not 0 <= counts.min() <= counts.max() <= samples:
        raise ValueError(f"an example is solved by 0 to {samples} of its samples, got {counts.min()}, {counts.max()}")
    # Integers are exact. The paper's product form is for floats, which round.
    chance = [1 - math.comb(samples - right, k) / math.comb(samples, k) for right in range(samples + 1)]
    return np.array(chance)[counts]


def sizes(samples: int) -> list[int]:
    """The values of k to report: powers of two up to the number of samples, and that number.

    Example:
        >>> sizes(10)
        [1, 2, 4, 8, 10]
    """
    return sorted({2**power for power in range(samples.bit_length())} | {samples})


def majority_score(answers: Sequence[str], scores: Sequence[float]) -> float:
    """The score of the answer that most samples give.

    Source: self-consistency, Wang et al., arXiv 2203.11171 (2022). If several answers have the most votes, the result
        is the mean of their scores, as for a random choice.

    Args:
        answers: Each sample's answer, in a form that is equal for equal answers; "" abstains.
        scores: Each sample's score.

    Returns:
        The score; 0 if all samples abstain.
    """
    votes = Counter(answer for answer in answers if answer)
    most = max(votes.values(), default=0)
    won = [s for answer, s in zip(answers, scores, strict=True) if answer and votes[answer] == most]
    return sum(won) / len(won) if won else 0.0

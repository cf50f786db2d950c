"""Weighs a model's answer against the vote of similar precedents.

Each label has its share of the vote (``flex_dspy.search.tally``). The share of the label that the model answers is
multiplied by one number, the trust. The label with the largest product is the answer. So a weak model is overruled
where precedents agree, and decides where they do not.

The trust is fitted to problems whose label is known. The logit of each label is ``a * log(share)``, and ``b`` more for
the label that the model answers. The trust is ``exp(b / a)``. This is a logarithmic opinion pool with fitted weights.
Sources: McFadden, Conditional logit analysis of qualitative choice behavior, 1974; Genest and Zidek, Combining
probability distributions, Statistical Science 1986, 1, 114.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

FLOOR = 0.02  # added to every share: a label without a vote may still be right
DECISIVE = (1 + FLOOR) / FLOOR  # with more trust, no vote overrules the model
LEAST_CASES = 20  # known answers that a fit needs
_STRENGTH = 0.001  # of the pull of ``a`` towards 1, which keeps the fit finite
_BOUNDS = [(0.0, 5.0), (0.0, 8.0)]  # of ``a`` and ``b``: neither source counts against a label


@dataclass(frozen=True, slots=True)
class Answered:
    """A model's answer to a problem whose label is known.

    Attributes:
        shares: Shares of the vote by label, without the problem's own precedents.
        answer: The label that the model answered.
        right: The right label.
    """

    shares: Mapping[str, float]
    answer: str
    right: str


def weigh(shares: Mapping[str, float], answer: str, trust: float) -> str:
    """The label with the largest weight. If two are equal, the model's answer comes first, then the alphabet.

    Args:
        shares: Shares of the vote by label; the model's answer may be missing.
        answer: The label that the model answered.
        trust: Factor of the model's answer: 1 lets the vote decide alone.
    """
    weights = {label: share + FLOOR for label, share in shares.items()}
    weights[answer] = weights.get(answer, FLOOR) * trust
    return min(weights, key=lambda label: (-weights[label], label != answer, label))


def describe(cases: Sequence[Answered], trust: float | None) -> str:
    """What a trust does on some known answers, in a sentence.

    Args:
        cases: Problems that the model answered.
        trust: The trust that was fitted to them.
    """
    model = sum(case.answer == case.right for case in cases)
    vote = sum(weigh(case.shares, "", 1.0) == case.right for case in cases)
    both = model if trust is None else sum(weigh(case.shares, case.answer, trust) == case.right for case in cases)
    stands = " (the model decides alone)" if trust is None else ""
    found = f"the model has {model} right, the vote {vote}, both together {both}"
    return f"trust {trust}{stands}: of {len(cases)} answers {found}"


def fit_trust(cases: Sequence[Answered], labels: Sequence[str]) -> float | None:
    """The trust that makes known labels most likely; None if the model's answer should always stand.

    Args:
        cases: Problems that the model answered, ``LEAST_CASES`` or more.
        labels: All labels.

    Raises:
        ValueError: If there are fewer cases with one of these labels.
    """
    columns = {label: column for column, label in enumerate(labels)}
    known = [case for case in cases if case.right in columns]
    if len(known) < LEAST_CASES:
        raise ValueError(f"a fit needs {LEAST_CASES} known answers, got {len(known)}")
    logs = np.log([[case.shares.get(label, 0.0) + FLOOR for label in labels] for case in known])
    answered = np.array([[label == case.answer for label in labels] for case in known], dtype=float)
    right = np.array([columns[case.right] for case in known])

    def loss(weights: np.ndarray) -> float:
        logits = weights[0] * logs + weights[1] * answered
        shifted = logits - logits.max(axis=1, keepdims=True)
        chosen = shifted[np.arange(len(right)), right]
        return float((np.log(np.exp(shifted).sum(axis=1)) - chosen).mean() + _STRENGTH * (weights[0] - 1) ** 2)

    vote, model = minimize(loss, np.ones(2), method="L-BFGS-B", bounds=_BOUNDS).x
    if model == 0:  # the vote may be worthless too, but the answers are no help
        return 1.0
    return round(float(np.exp(model / vote)), 2) if vote * np.log(DECISIVE) > model else None

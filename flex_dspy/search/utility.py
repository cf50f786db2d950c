"""Utility: the measured effect of entries, as a factor of their scores.

Two things are measured. Usage counts how often an entry was shown, and how often it helped. It helped if the actor
relied on it and was right. Trials measure how much an entry changes the score of an example
(``flex_dspy.evaluation.value``). Trials are paired comparisons, and usage is not. So if an entry has trials, only these
count.

Each effect is shrunk towards the mean of the entries that were found for the same problem. The effect of an entry that
was shown twice stays close to this mean. The effect of an entry that was shown 200 times hardly changes. The true
variance between entries is estimated from the same entries by the method of moments. For usage this gives the mean of a
beta posterior. The entries found together are the prior, not the whole library, because otherwise rare and difficult
problems would count against their own lessons. The cost does not depend on the library's size.

``hurt`` does not count. By measurement, the entries that the actor relied on before it failed at a difficult problem
are more often relevant than not (see ``docs/results.md``).

Source: DerSimonian and Laird, Control. Clin. Trials 1986, 7, 177; Efron and Morris, J. Am. Stat. Assoc. 1975, 70, 311;
Thompson, Biometrika 1933, 25, 285.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import logit, ndtri

from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.hits import Utility

Floats = npt.NDArray[np.float64]
Effect = tuple[float, float]  # an effect and its standard error

UNKNOWN: Effect = (0.0, np.inf)
EVEN = 0.25  # slope of the chance of success over its log odds, at even odds


class MeasuredEffect(Protocol):
    """The result of trials of one entry, such as an ``EntryValue``.

    Attributes:
        effect: Mean score with the entry minus mean score without it; None if it is not known.
        error: Standard error of the effect; None if it is not known.
    """

    @property
    def effect(self) -> float | None: ...  # noqa: D102 (the class says it)
    @property
    def error(self) -> float | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class UtilityRanking:
    """Turns the measured effects of entries into factors of their scores.

    Attributes:
        strength: Weight of utility. The factor is the entry's odds ratio to the power of this number.
        seed: Seed of exploration; None ranks by the expected lift.
        effects: Results of trials, by entry id; see ``known_effects``.
    """

    strength: float
    seed: int | None
    effects: Mapping[str, Effect]

    def utilities(self, query: str, entries: Sequence[Experience]) -> dict[str, Utility]:
        """The utility of each entry that was found for a query.

        Args:
            query: The problem. Exploration draws new numbers for each problem.
            entries: All entries that were found.
        """
        lifts, errors = self._lifts(entries)
        drawn = lifts
        if self.seed is not None:
            drawn = lifts + errors * ndtri([_uniform(self.seed, query, entry.id) for entry in entries])
        factors = np.exp(self.strength * drawn)
        reasons = (self._reason(entry) for entry in entries)
        rows = zip(entries, lifts.tolist(), factors.tolist(), reasons, strict=True)
        return {entry.id: Utility(lift, factor, reason) for entry, lift, factor, reason in rows}

    def _lifts(self, entries: Sequence[Experience]) -> tuple[Floats, Floats]:
        """The lift of each entry and its standard error, from trials if there are any, else from usage."""
        lifts, errors = usage_lifts(entries)
        if self.effects:
            trials = np.array([self.effects.get(entry.id, UNKNOWN) for entry in entries]).T
            _, deviations, spread = shrink(*trials)
            tried = np.stack((deviations, spread)) / EVEN
            lifts, errors = np.where(np.isfinite(trials[1]), tried, (lifts, errors))
        return lifts, errors

    def _reason(self, entry: Experience) -> str:
        if trial := self.effects.get(entry.id):
            return f"effect {trial[0]:+.2f} in trials"
        return f"helped {entry.helped} of {entry.shown} shown"


def known_effects(results: Mapping[str, MeasuredEffect]) -> dict[str, Effect]:
    """The effects that are known, each with its standard error, by entry id.

    Args:
        results: Results of trials.
    """
    return {
        entry_id: (float(found.effect), float(found.error))
        for entry_id, found in results.items()
        if found.effect is not None and found.error is not None
    }


def usage_lifts(entries: Sequence[Experience]) -> tuple[Floats, Floats]:
    """The lift of each entry from its usage, and its standard error.

    The lift is the log odds that the entry helps when it is shown, minus the log odds for any of the entries.


    Args:
        entries: The entries.
    """
    counts = np.array([(entry.shown, entry.helped) for entry in entries], dtype=np.float64).reshape(-1, 2)
    shown, helped = counts.T
    pooled = (helped.sum() + 0.5) / (shown.sum() + 1)  # never 0 or 1, which would mean certainty
    with np.errstate(divide="ignore", invalid="ignore"):
        shares, errors = np.where(shown > 0, helped / shown, 0.0), np.sqrt(pooled * (1 - pooled) / shown)
    mean, deviations, spread = shrink(shares, errors)
    if not spread.any():
        return deviations, spread
    return logit(mean + deviations) - logit(mean), spread / (mean * (1 - mean))


def shrink(effects: Floats, errors: Floats) -> tuple[float, Floats, Floats]:
    """Subtract the common mean from effects, and shrink the deviations. Uncertain effects shrink most.

    Args:
        effects: Measured effects.
        errors: Their standard errors; infinite if nothing is known.

    Returns:
        The mean, the deviations from it and their standard errors. All deviations and errors are zero if effects differ
        no more than by chance.
    """
    weights = 1 / np.maximum(errors, 1e-6) ** 2
    total, known = float(weights.sum()), int((weights > 0).sum())
    mean = float(weights @ effects) / total if known else 0.0
    excess = float(weights @ (effects - mean) ** 2) - (known - 1)
    if known < 2 or excess <= 0:
        return mean, np.zeros(len(effects)), np.zeros(len(effects))
    variance = excess / (total - float(weights @ weights) / total)
    kept = variance * weights / (1 + variance * weights)
    return mean, kept * (effects - mean), np.sqrt(variance * (1 - kept))


def _uniform(seed: int, query: str, entry_id: str) -> float:
    """A number in (0, 1) that depends only on the arguments. It is the same in every process."""
    digest = hashlib.sha256(f"{seed}\x1f{query}\x1f{entry_id}".encode()).digest()
    return (int.from_bytes(digest[:6]) + 0.5) / 2**48

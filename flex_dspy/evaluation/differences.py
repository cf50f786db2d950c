"""Compares two evaluations of the same examples: the gain of one on the other, its interval, and wins and losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import numpy as np

from flex_dspy.core.examples import problem_text
from flex_dspy.evaluation.contrasts import Floats, contrasts, half_width
from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.evaluation.paired_tests import holm, mcnemar, sign_flips
from flex_dspy.evaluation.records import Record, by_example
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs.rejection_sampling import WORKINGS

Test = Literal["exact McNemar", "sign flips"]
Samples = tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: Its name.
        evaluation: Its evaluation.
        library: Content hash of the library; empty where there is none, or it is not known.
        size: Number of its entries.
        entries: A few words on each entry that was shown, by its id, as far as the library was at hand.
        task: The library's task.
    """

    name: str
    evaluation: Evaluation
    library: str = ""
    size: int = 0
    entries: Mapping[str, str] = field(default_factory=dict)
    task: str = ""

    @classmethod
    def of(cls, name: str, evaluation: Evaluation, library: ExperienceLibrary | None = None) -> Self:
        """The side of a library that was measured."""
        if not library:
            return cls(name, evaluation)
        shown = dict.fromkeys(entry_id for record in evaluation.records for entry_id in record.shown)
        known = (library[entry_id] for entry_id in shown if entry_id in library)
        entries = {entry.id: f"{entry.zone}: {entry.category or entry.method[:80]}" for entry in known}
        return cls(name, evaluation, library.hash, len(library), entries, library.task)


@dataclass(frozen=True, slots=True)
class Difference:
    """How the second of two does beside the first.

    Attributes:
        first: Name of the first.
        second: Name of the second.
        n: Number of examples.
        gain: The second's accuracy less the first's.
        low: Lower end of the gain's 95% interval; None with a single example, which has none.
        high: Upper end.
        test: Test behind the p-value: McNemar's test where every example is right or wrong, else sign flips.
        p_value: Chance of a gain at least as large, either way, if both were equally good.
        adjusted: The same by Holm's correction for all that is compared with the first.
        wins: Examples on which the second's score is higher.
        losses: Examples on which it is lower.
        tokens: Tokens that the second took more than the first.
        usd: US dollars, as far as prices are known.
        seconds: Mean seconds that it took more for a sample, by the clock, with others under way.
    """

    first: str
    second: str
    n: int
    gain: float
    low: float | None
    high: float | None
    test: Test
    p_value: float
    adjusted: float
    wins: int
    losses: int
    tokens: int = 0
    usd: float = 0.0
    seconds: float = 0.0

    @property
    def ties(self) -> int:
        """Examples on which both have the same score."""
        return self.n - self.wins - self.losses

    def cost(self) -> str:
        """Extra cost of the second, for a reader. Money is left out where no price is known."""
        tokens = f"{self.tokens:+,} tokens, " if self.tokens else ""
        usd = f"{self.usd:+.4f} USD, " if self.usd else ""
        return f"{tokens}{usd}{self.seconds:+.3f} s a sample"


@dataclass(frozen=True, slots=True)
class ExampleChange:
    """One example on which two have different scores.

    Attributes:
        first: The first's samples of it.
        second: The second's.
    """

    first: Samples
    second: Samples

    @property
    def difference(self) -> float:
        """The second's mean score less the first's: above 0 it is a win, below a loss."""
        return _mean(self.second) - _mean(self.first)


def answer_of(record: Record) -> str:
    """A sample's answer: its outputs that there is a reference for; "" where it failed."""
    wanted = {name: value for name, value in record.outputs.items() if name in record.labels}
    rest = {name: value for name, value in record.outputs.items() if name not in WORKINGS}
    return problem_text(wanted or rest) if wanted or rest else ""


def seconds(evaluation: Evaluation) -> float:
    """Mean seconds a sample."""
    return sum(record.seconds for record in evaluation.records) / len(evaluation.records)


def _mean(samples: Samples) -> float:
    return math.fsum(record.score for record in samples) / len(samples)  # the same in any order


def _means(evaluation: Evaluation) -> Floats:
    return np.array([_mean(samples) for samples in by_example(evaluation.records)])


def difference(first: Side, second: Side) -> Difference:
    """Compare two sides of the same examples: the gain of the second on the first, its interval and its p-value.

    Like an entry's effect (see ``flex_dspy.evaluation.contrasts``), the interval is of the differences on each example.
    """
    means = _means(first.evaluation), _means(second.evaluation)
    differences = means[1] - means[0]
    n, wins, losses = len(differences), int((differences > 0).sum()), int((differences < 0).sum())
    found = contrasts(np.ones((n, 1)), differences, np.arange(n))
    half, centre = half_width(float(found.error[0]), n, 0.05), float(found.centre[0])
    is_sure = math.isfinite(half)
    most = 1.0 if min(map(np.min, means)) >= 0 and max(map(np.max, means)) <= 1 else math.inf
    test: Test = "exact McNemar" if np.isin(means, (0.0, 1.0)).all() else "sign flips"
    p_value = mcnemar(wins, losses) if test == "exact McNemar" else sign_flips(differences)
    return Difference(
        first.name,
        second.name,
        n,
        float(found.effect[0]),
        max(-most, centre - half) if is_sure else None,
        min(most, centre + half) if is_sure else None,
        test,
        p_value,
        p_value,
        wins,
        losses,
        second.evaluation.tokens - first.evaluation.tokens,
        second.evaluation.usd - first.evaluation.usd,
        seconds(second.evaluation) - seconds(first.evaluation),
    )


def correct_p_values(found: Sequence[Difference]) -> tuple[Difference, ...]:
    """Differences with their p-values corrected for being several."""
    raised = holm([each.p_value for each in found])
    return tuple(replace(each, adjusted=float(p)) for each, p in zip(found, raised, strict=True))

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
        library: Content hash of the library; empty if there is no library or it is not known.
        size: Number of entries in the library.
        entries: Short text of each entry that was shown, by id; empty if the library was not available.
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
        """Side made from an evaluation and the library that was measured."""
        if not library:
            return cls(name, evaluation)
        shown = dict.fromkeys(entry_id for record in evaluation.records for entry_id in record.shown)
        known = (library[entry_id] for entry_id in shown if entry_id in library)
        entries = {entry.id: f"{entry.zone}: {entry.category or entry.method[:80]}" for entry in known}
        return cls(name, evaluation, library.hash, len(library), entries, library.task)


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference between two sides of a comparison.

    Attributes:
        first: Name of the first side.
        second: Name of the second side.
        n: Number of examples.
        gain: The second's accuracy minus the first's.
        low: Lower end of the gain's 95% interval; None for a single example.
        high: Upper end of the interval; None for a single example.
        test: Test that gave the p-value: McNemar's test if all scores are 0 or 1, else sign flips.
        p_value: Probability of a difference at least as large, in either direction, if both were equally good.
        adjusted: The p-value after Holm's correction for several comparisons.
        wins: Examples on which the second's score is higher.
        losses: Examples on which the second's score is lower.
        tokens: Extra tokens of the second.
        usd: Extra cost of the second in US dollars, as far as prices are known.
        seconds: Extra wall time of the second in seconds, mean over samples; other samples ran at the same time.
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
        """Number of examples on which both sides have the same score."""
        return self.n - self.wins - self.losses

    def cost(self) -> str:
        """Text of the extra cost of the second side. The price is left out if it is not known."""
        tokens = f"{self.tokens:+,} tokens, " if self.tokens else ""
        usd = f"{self.usd:+.4f} USD, " if self.usd else ""
        return f"{tokens}{usd}{self.seconds:+.3f} s a sample"


@dataclass(frozen=True, slots=True)
class ExampleChange:
    """One example on which two sides have different scores.

    Attributes:
        first: Samples of the first side.
        second: Samples of the second side.
    """

    first: Samples
    second: Samples

    @property
    def difference(self) -> float:
        """The second's mean score minus the first's. It is positive for a win and negative for a loss."""
        return _mean(self.second) - _mean(self.first)


def answer_of(record: Record) -> str:
    """Answer of a sample as text: the output fields that have a reference; "" if the program failed."""
    wanted = {name: value for name, value in record.outputs.items() if name in record.labels}
    rest = {name: value for name, value in record.outputs.items() if name not in WORKINGS}
    return problem_text(wanted or rest) if wanted or rest else ""


def seconds(evaluation: Evaluation) -> float:
    """Mean seconds of a sample."""
    return sum(record.seconds for record in evaluation.records) / len(evaluation.records)


def _mean(samples: Samples) -> float:
    return math.fsum(record.score for record in samples) / len(samples)  # the same in any order


def _means(evaluation: Evaluation) -> Floats:
    return np.array([_mean(samples) for samples in by_example(evaluation.records)])


def difference(first: Side, second: Side) -> Difference:
    """Compare two sides: return the gain of the second over the first, its interval and its p-value.

    The interval is computed from the differences of single examples, as for an entry's effect (see
    ``flex_dspy.evaluation.contrasts``).
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
    """Differences with p-values corrected by Holm's method for the number of differences."""
    raised = holm([each.p_value for each in found])
    return tuple(replace(each, adjusted=float(p)) for each, p in zip(found, raised, strict=True))

"""Result of measuring a program: its records, its accuracy and the accuracy's confidence interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from flex_dspy.core import representations
from flex_dspy.core.scoring import ACCURACY
from flex_dspy.evaluation.answer_errors import errors_text
from flex_dspy.evaluation.intervals import cluster_interval, named_score_text, student
from flex_dspy.evaluation.records import Record, by_example
from flex_dspy.evaluation.settings import SOLVED
from flex_dspy.metrics.pass_at_k import majority_score, pass_at_k, sizes

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Evaluation(representations.Representable):
    """A program's records on a set of examples, in the order of the examples.

    All samples of an example stand together.

    Attributes:
        records: The records.
        score: Name of the mean score that ``accuracy`` holds; see ``flex_dspy.core.scoring.named_score``.

    Raises:
        ValueError: If the samples are not numbered 0, 1, 2, ..., or the examples have different numbers of samples.
    """

    records: tuple[Record, ...]
    score: str = ACCURACY

    def __post_init__(self) -> None:
        by_example(self.records)

    @property
    def n(self) -> int:
        """Number of examples."""
        return sum(record.sample == 0 for record in self.records)

    @property
    def samples(self) -> int:
        """Number of independent samples of each example."""
        return len(self.records) // self.n

    @property
    def accuracy(self) -> float:
        """Mean score, over all samples of all examples."""
        return sum(record.score for record in self.records) / len(self.records)

    @property
    def interval(self) -> tuple[float, float]:
        """95% confidence interval of the accuracy. It treats examples, but not samples, as independent."""
        return _interval(self._scores().mean(axis=1), self.samples, graded=self.is_graded)

    @property
    def is_graded(self) -> bool:
        """Whether there are scores other than 0 and 1."""
        return not _are_binary(self._scores())

    @property
    def tokens(self) -> int:
        """Number of tokens, sent and received."""
        return sum(record.tokens for record in self.records)

    @property
    def usd(self) -> float:
        """Price of the tokens in US dollars, as far as it is known."""
        return sum(record.usd for record in self.records)

    def metrics(self, *, solved: float = SOLVED) -> dict[str, float]:
        """All metrics as numbers by name.

        With several samples, there are also ``pass_at_k`` (the probability that at least one of k samples is right)
        and ``maj_at_n`` (the score of the answer that most of the n samples give), each with its 95% interval.

        Args:
            solved: The score from which a sample counts as right for ``pass_at_k``.
        """
        numbers = _with_bounds("accuracy", self.accuracy, self.interval)
        numbers |= {"n": float(self.n), "samples": float(self.samples)}
        if self.samples > 1:
            numbers |= self._sample_metrics(solved)
        for name in dict.fromkeys(name for record in self.records for name in record.measures):
            numbers[name] = sum(record.measures.get(name, 0.0) for record in self.records) / len(self.records)
        numbers["errors"] = float(sum(bool(record.error) for record in self.records))
        return numbers

    def __repr__(self) -> str:
        return f"Evaluation({self})"

    def __str__(self) -> str:
        """Summary in one line, such as ``accuracy 76.7% (59.1% to 88.2%), n = 30, 2 errors``."""
        score = [self.accuracy, *self.interval]
        if self.score == ACCURACY and self.is_graded:
            name, numbers = "mean score", [f"{number:.4g}" for number in score]
        else:
            name, numbers = self.score, [named_score_text(self.score, number) for number in score]
        samples = f" x {self.samples} samples" if self.samples > 1 else ""
        errors = errors_text(self.metrics()) or ", no errors"
        return f"{name} {numbers[0]} ({numbers[1]} to {numbers[2]}), n = {self.n:,}{samples}{errors}"

    def to_pandas(self) -> pd.DataFrame:
        """Table with one row for each record. See ``flex_dspy.display.frames.evaluation_frame``."""
        return representations.frame(self)

    def _scores(self) -> npt.NDArray[np.float64]:
        """Scores, shape ``(examples, samples)``."""
        return np.array([record.score for record in self.records], dtype=float).reshape(self.n, self.samples)

    def _sample_metrics(self, solved: float) -> dict[str, float]:
        """Pass@k and the majority's score."""
        right = (self._scores() >= solved).sum(axis=1)
        numbers: dict[str, float] = {}
        for k in sizes(self.samples):
            shares = pass_at_k(right, samples=self.samples, k=k)
            numbers |= _with_bounds(f"pass_at_{k}", float(shares.mean()), cluster_interval(shares, self.samples // k))
        votes = np.array([_majority_score(group) for group in by_example(self.records)])
        interval = _interval(votes, 1, graded=not _are_binary(votes))
        return numbers | _with_bounds(f"maj_at_{self.samples}", float(votes.mean()), interval)


def _majority_score(samples: Sequence[Record]) -> float:
    return majority_score([record.vote for record in samples], [record.score for record in samples])


def _with_bounds(name: str, value: float, interval: tuple[float, float]) -> dict[str, float]:
    return {name: value, f"{name}_low": interval[0], f"{name}_high": interval[1]}


def _interval(means: npt.NDArray[np.float64], samples: int, *, graded: bool) -> tuple[float, float]:
    """95% interval of the mean over examples. Binary scores use Wilson's interval, graded ones Student's t."""
    return student(means) if graded else cluster_interval(means, samples)


def _are_binary(scores: npt.NDArray[np.float64]) -> bool:
    return bool(np.isin(scores, (0.0, 1.0)).all())

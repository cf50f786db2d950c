"""Versions: published snapshots of a library, with and without their content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flex_dspy.core import representations
from flex_dspy.core.scoring import ACCURACY
from flex_dspy.evaluation.answer_errors import errors_text
from flex_dspy.evaluation.intervals import named_score_text
from flex_dspy.learning.curve import CurvePoint
from flex_dspy.libraries.library import ExperienceLibrary

if TYPE_CHECKING:
    import pandas as pd

    from flex_dspy.evaluation.records import Record

HELD_OUT = "held_out"  # a measure that some tasks report in addition to the metric


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """A published version, without its content.

    Attributes:
        run: Identity of the learning run.
        step: Number of examples learned from.
        hash: Content hash of the library.
        parent: Hash of the version before.
        sizes: Number of entries by zone.
        precedents: Number of precedents.
        metrics: Its measurements; empty if it was not measured.
        score: Name of the mean score in ``metrics["accuracy"]``.
    """

    run: str
    step: int
    hash: str
    parent: str | None
    sizes: Mapping[str, int]
    precedents: int
    metrics: Mapping[str, float]
    score: str = ACCURACY

    @classmethod
    def of(
        cls, run: str, step: int, library: ExperienceLibrary, metrics: Mapping[str, float], score: str = ACCURACY
    ) -> VersionRecord:
        """The record of a library."""
        sizes, precedents = library.sizes(), library.precedent_count
        return cls(run, step, library.hash, library.parent, sizes, precedents, dict(metrics), score)

    @property
    def entries(self) -> int:
        """Number of entries."""
        return sum(self.sizes.values())

    @property
    def errors(self) -> int:
        """Number of validation answers that are errors."""
        return round(self.metrics.get("errors", 0))

    def score_text(self) -> str:
        """The accuracy in percent, or the mean score with its name, as in ``|Spearman| 0.674``; "" if not measured."""
        if "accuracy" not in self.metrics:
            return ""
        text = named_score_text(self.score, self.metrics["accuracy"])
        return text if self.score == ACCURACY else f"{self.score} {text}"

    def curve_point(self) -> CurvePoint:
        """The version as a point of a learning curve.

        Raises:
            KeyError: If its accuracy was not measured.
        """
        return CurvePoint(
            examples=self.step,
            accuracy=self.metrics["accuracy"],
            low=self.metrics["accuracy_low"],
            high=self.metrics["accuracy_high"],
            entries=self.entries,
            n=round(self.metrics["n"]),
            errors=self.errors,
            score=self.score,
        )

    def _repr_html_(self) -> str:
        return Versions([self])._repr_html_()

    def text(self) -> str:
        """One line for a terminal."""
        zones = ", ".join(f"{count} {zone}" for zone, count in self.sizes.items() if count) or "empty library"
        line = f"version {self.hash[:12]}  {self.step:>6} examples  {zones}"
        if "accuracy" not in self.metrics:
            return line
        score = [self.metrics[name] for name in ("accuracy", "accuracy_low", "accuracy_high")]
        mean, low, high = (named_score_text(self.score, number, *score) for number in score)
        line += f"  {self.score} {mean} [{low}, {high}] on {self.metrics['n']:.0f}{errors_text(self.metrics)}"
        return f"{line}, held out {self.metrics[HELD_OUT]:.3f}" if HELD_OUT in self.metrics else line


class Versions(representations.Representable, list[VersionRecord]):
    """Versions in order. A notebook shows them as a table, one row a version."""

    def __repr__(self) -> str:
        return "\n".join(record.text() for record in self) or "no versions"

    def to_pandas(self) -> pd.DataFrame:
        """One row a version. See ``flex_dspy.display.frames.versions_frame``."""
        return representations.frame(self)


@dataclass(frozen=True, slots=True)
class Version:
    """One published snapshot of a library, with its measurements.

    Attributes:
        library: The snapshot. Its ``parent`` is the hash of the version before.
        step: Number of examples learned from.
        metrics: Its measurements: ``accuracy`` as a fraction, ``accuracy_low`` and ``accuracy_high`` for its
            95% interval, ``baseline_accuracy`` without a library, ``n`` for the size of the validation set.
        dataset: Name or source of the validation set.
        dataset_digest: Digest of the validation set's content. Accuracies are compared only if their digests are equal.
        records: The records of the validation examples.
        is_again: Whether the version was published before with errors, and is now measured again.
        score: Name of the mean score that ``accuracy`` holds, such as ``|Spearman|``.
        program: The measured program, as ``describe_program`` returns it; empty if it cannot be described.
    """

    library: ExperienceLibrary
    step: int
    metrics: Mapping[str, float]
    dataset: str = ""
    dataset_digest: str = ""
    records: Sequence[Record] = ()
    is_again: bool = False
    score: str = ACCURACY
    program: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """The version's key in its run: hash and step, as MLflow keeps them."""
        return self.library.hash, str(self.step)

    def numbers(self) -> dict[str, float]:
        """The version's measurements, and the library's size, total and by zone."""
        library = self.library
        sizes = {"library_size": len(library), **library.sizes(), "precedents": library.precedent_count}
        return {name: float(value) for name, value in {**self.metrics, **sizes}.items()}

    def curve_point(self) -> CurvePoint | None:
        """The version as a point of a learning curve, if its accuracy was measured."""
        return point(self.step, self.numbers(), self.score)


def point(step: int, numbers: Mapping[str, float], score: str = ACCURACY) -> CurvePoint | None:
    """A point of a learning curve, if these numbers of a version hold an accuracy with its interval."""
    needed = ("accuracy", "accuracy_low", "accuracy_high", "library_size", "n")
    if not all(name in numbers for name in needed):
        return None
    accuracy, low, high, entries, n = (numbers[name] for name in needed)
    errors, tokens, usd = round(numbers.get("errors", 0)), numbers.get("spend_tokens"), numbers.get("spend_usd")
    return CurvePoint(step, accuracy, low, high, round(entries), round(n), errors, score, tokens, usd)

"""Versions of an MLflow store as the rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from flex_dspy.core import representations
from flex_dspy.evaluation.answer_errors import MAX_ERRORS, error_share
from flex_dspy.evaluation.differences import Difference
from flex_dspy.evaluation.intervals import score_text
from flex_dspy.learning.curve import CurvePoint
from flex_dspy.learning.version import point

if TYPE_CHECKING:
    import pandas as pd

ACCURACY = "accuracy"


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One version in the table. Values that the store does not have are None or empty.

    Attributes:
        task: The task.
        examples: Number of examples learned from.
        hash: Content hash of the library.
        parent: The version that it was made from.
        model: The actor's model.
        metric: Name of the metric; ``accuracy`` is a share of right answers, any other a mean score.
        numbers: All measurements of the version, by name.
        name: Registered name; "" if it is not registered.
        number: Registered number.
        aliases: Other names, such as ``best``.
        run_id: MLflow's id of the learning run.
        run_name: Its name.
        experiment: Name of the experiment.
        dataset: Name of the validation set.
        dataset_digest: Digest of its content.
        model_id: MLflow's id of the logged model.
        files: Address of its files.
        difference: Paired difference to the best version on the same examples.
    """

    task: str
    examples: int
    hash: str
    parent: str
    model: str
    metric: str
    numbers: Mapping[str, float]
    name: str = ""
    number: int | None = None
    aliases: tuple[str, ...] = ()
    run_id: str = ""
    run_name: str = ""
    experiment: str = ""
    dataset: str = ""
    dataset_digest: str = ""
    model_id: str = ""
    files: str = ""
    difference: Difference | None = None

    @property
    def reference(self) -> str:
        """The name for loading the version; the start of its hash if it is not registered."""
        return f"{self.name}/{self.number}" if self.number is not None else self.hash[:12]

    @property
    def score(self) -> float | None:
        """Its accuracy, or mean score."""
        return self.numbers.get("accuracy")

    @property
    def entries(self) -> int | None:
        """Number of entries."""
        return self._count("library_size")

    @property
    def n(self) -> int | None:
        """Size of the validation set."""
        return self._count("n")

    @property
    def errors(self) -> int | None:
        """Number of answers that are errors; None if it was not measured."""
        return self._count("errors")

    def _count(self, name: str) -> int | None:
        return round(self.numbers[name]) if name in self.numbers else None

    @property
    def is_comparable(self) -> bool:
        """Whether the version was measured with few enough errors."""
        return self.score is not None and error_share(self.numbers) <= MAX_ERRORS

    def score_text(self) -> str:
        """Its accuracy in percent, or its mean score as a number; "" if it was not measured."""
        return "" if self.score is None else self._text(self.score)

    def interval_text(self) -> str:
        """The 95% interval of its score; "" if it is not known."""
        bounds = [self.numbers[name] for name in ("accuracy_low", "accuracy_high") if name in self.numbers]
        return " to ".join(map(self._text, bounds)) if len(bounds) == 2 else ""

    def cost_text(self) -> str:
        """The cost of learning up to this version, in dollars and tokens; "" if it is not known."""
        usd, tokens = self.numbers.get("spend_usd"), self.numbers.get("spend_tokens")
        return ", ".join(text for text in (usd and f"${usd:,.4f}", tokens and f"{tokens:,.0f} tokens") if text)

    def _text(self, number: float) -> str:
        return score_text(number) if self.metric == ACCURACY else f"{number:.3f}"

    def curve_point(self) -> CurvePoint | None:
        """The version as a point of a learning curve, if it was measured."""
        return point(self.examples, self.numbers, self.metric)


class VersionTable(representations.Representable, list[VersionRow]):
    """Versions, the best of each task first. A notebook shows a table with one row for each version."""

    def __repr__(self) -> str:
        return "\n".join(_line(row) for row in self) or "no versions"

    def to_pandas(self) -> pd.DataFrame:
        """A table with one row for each version. See ``flex_dspy.display.version_tables.version_table_frame``."""
        return representations.frame(self)

    def curves(self) -> dict[str, list[CurvePoint]]:
        """The learning curve of each run, by the run's name; runs without measured versions are left out."""
        names, points = _run_labels(self), _points(self)
        return {names[run_id]: sorted(found, key=lambda each: each.examples) for run_id, found in points.items()}


def sort_versions(rows: Iterable[VersionRow]) -> list[VersionRow]:
    """Sort versions by task, the best first. In a tie the smaller library comes first. Unmeasured ones are last."""
    return sorted(rows, key=_order)


def _order(row: VersionRow) -> tuple[Any, ...]:
    return row.task, row.score is None, -(row.score or 0.0), row.entries or 0, row.examples, row.number or 0


def _points(rows: Sequence[VersionRow]) -> dict[str, list[CurvePoint]]:
    found: dict[str, list[CurvePoint]] = {}
    for row in rows:
        each = row.curve_point()
        if each is not None:
            found.setdefault(row.run_id, []).append(each)
    return found


def _run_labels(rows: Sequence[VersionRow]) -> dict[str, str]:
    """Names of runs by id. If two runs have the same name, the start of the id is added."""
    by_name = sorted({(row.run_name or row.name, row.run_id) for row in rows})
    labels: dict[str, str] = {}
    for name, group in groupby(by_name, key=lambda each: each[0]):
        ids = [run_id for _, run_id in group]
        labels |= {run_id: f"{name} {run_id[:8]}".strip() if len(ids) > 1 else name for run_id in ids}
    return labels


def _line(row: VersionRow) -> str:
    score = (
        f"{row.metric} {row.score_text()} ({row.interval_text()}), n = {row.n}" if row.score_text() else "not measured"
    )
    entries = "?" if row.entries is None else f"{row.entries:,}"
    return f"{row.reference}  {score}  {entries} entries  {row.examples:,} examples  {', '.join(row.aliases)}".rstrip()

"""Judges saved records again with another metric. No model is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import dspy

from flex_dspy.core.errors import DataError
from flex_dspy.core.examples import example_id
from flex_dspy.core.scoring import Metric, Normalize, name_of_score, score
from flex_dspy.evaluation.evaluate import Evaluation, Measure
from flex_dspy.evaluation.record_files import read_records, records_file, write_rescored
from flex_dspy.evaluation.records import Record, vote_of
from flex_dspy.evaluation.settings import SOLVED


@dataclass(frozen=True, slots=True)
class Rescoring:
    """An evaluation before and after it was judged with another metric.

    Attributes:
        path: The folder or the file that was read.
        before: The evaluation as saved.
        after: The evaluation with the new scores.
    """

    path: Path
    before: Evaluation
    after: Evaluation

    @property
    def gained(self) -> int:
        """Number of samples that have become right."""
        return self._count_turns(False, True)

    @property
    def lost(self) -> int:
        """Number of samples that have become wrong."""
        return self._count_turns(True, False)

    @property
    def changed(self) -> int:
        """Number of samples with another score than before."""
        pairs = zip(self.before.records, self.after.records, strict=True)
        return sum(before.score != after.score for before, after in pairs)

    def _count_turns(self, was: bool, became: bool) -> int:
        pairs = zip(self.before.records, self.after.records, strict=True)
        return sum((b.score >= SOLVED, a.score >= SOLVED) == (was, became) for b, a in pairs)

    def write(self) -> Path:
        """Write the new records into a file beside the old records, which stay.

        Returns:
            The new file.
        """
        return write_rescored(self.path, self.after.records)


def rescore(
    path: str | Path,
    metric: Metric,
    measures: Mapping[str, Measure] | None = None,
    *,
    normalize: Normalize | None = None,
    examples: Sequence[dspy.Example] | None = None,
) -> Rescoring:
    """Judge saved records with a metric. It calls no model and writes no file.

    Args:
        path: A folder with ``records.jsonl``, or such a file.
        metric: See ``flex_dspy.core.scoring.score``.
        measures: Further measures by name. They replace the measures in the records.
        normalize: Normal form of an answer, so that samples can vote; None keeps the recorded votes.
        examples: The examples that were measured. They are needed for records written before version 0.2, which do
            not hold their examples.

    Returns:
        The evaluation before and after. A program's failure stays a failure.

    Raises:
        DataError: If the file cannot be read, a record does not hold its example, or the metric fails on a record. The
            error names the line.
    """
    path = Path(path)
    records = read_records(path)
    known = {example_id(example): example for example in examples or ()}
    judged = []
    for line, record in enumerate(records, start=1):
        place = f"{records_file(path)}: line {line}"
        example = _example(record, known, place)
        try:
            judged.append(_judge(record, example, metric, measures or {}, normalize))
        except (AttributeError, KeyError, TypeError, ValueError, DataError) as error:
            raise DataError(f"{place}: the metric cannot judge this record: {error}") from error
    return Rescoring(path, Evaluation(records), Evaluation(tuple(judged), name_of_score(metric)))


def _example(record: Record, known: Mapping[str, dspy.Example], place: str) -> dspy.Example:
    if record.inputs:
        return record.example()
    if record.example_id not in known:
        raise DataError(
            f"{place}: the record does not hold its example, as none written before version 0.2 does: give the "
            "examples that were measured"
        )
    return known[record.example_id]


def _judge(
    record: Record,
    example: dspy.Example,
    metric: Metric,
    measures: Mapping[str, Measure],
    normalize: Normalize | None,
) -> Record:
    if record.error and not record.outputs:  # the program failed; after a metric's failure there are outputs to judge
        return replace(record, measures={})
    prediction = dspy.Prediction(**record.outputs)
    verdict = score(metric, example, prediction)
    keep = record.vote and normalize is None
    return replace(
        record,
        score=verdict.score,
        feedback=verdict.text,
        error="",
        measures={name: float(measure(example, prediction)) for name, measure in measures.items()},
        inputs=dict(example.inputs().items()),
        labels=dict(example.labels().items()),
        vote=record.vote if keep else vote_of(example, prediction, normalize),
    )

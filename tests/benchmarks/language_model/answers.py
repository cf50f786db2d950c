"""Answers to the test examples, each on the disk before the next is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import dspy
from tqdm.auto import tqdm

from flex_dspy.core.examples import example_id
from flex_dspy.core.scoring import Metric
from flex_dspy.evaluation.evaluate import Evaluation, evaluate
from flex_dspy.evaluation.intervals import score_text
from flex_dspy.evaluation.record_files import as_lines, read_records
from flex_dspy.evaluation.records import Record


def measure(
    program: dspy.Module,
    examples: Sequence[dspy.Example],
    metric: Metric,
    path: Path,
    *,
    concurrency: int = 1,
    label: str = "",
    terminal: TextIO | None = None,
) -> Evaluation:
    """Measure a program, and go on where an earlier call was cut short.

    Args:
        program: Any program.
        examples: The test examples, all different.
        metric: See ``flex_dspy.core.scoring.score``.
        path: JSON lines, one record an answer; it may hold answers to other examples.
        concurrency: Most answers under way at once.
        label: What the progress bar says.
        terminal: Where it is shown; None is ``sys.stderr``.

    Raises:
        NoAnswerError: If the model gives no answers. What was answered is kept.
        FlexError: As ``evaluate``; DataError if the file is damaged otherwise than by being cut short.
    """
    wanted = {example_id(example) for example in examples}
    known = {record.example_id: record for record in _kept(path) if record.example_id in wanted}
    missing = [example for example in examples if example_id(example) not in known]
    done = len(examples) - len(missing)
    with tqdm(total=len(examples), initial=done, desc=label, unit="ex", file=terminal) as bar:
        for some in _parts(missing, concurrency):
            found = _measured(program, some, metric, concurrency)
            _append(path, found)
            known |= {record.example_id: record for record in found}
            right = sum(record.score for record in known.values()) / len(known)
            bar.set_postfix_str(f"accuracy {score_text(right)}", refresh=False)
            bar.update(len(found))
    return Evaluation(tuple(known[example_id(example)] for example in examples))


def _measured(
    program: dspy.Module, examples: Sequence[dspy.Example], metric: Metric, concurrency: int
) -> tuple[Record, ...]:
    try:
        return evaluate(program, examples, metric, concurrency=concurrency, progress=False).records
    except BaseExceptionGroup as group:  # an outage ends all that are under way
        raise group.exceptions[0] from None


def _parts(examples: Sequence[dspy.Example], size: int) -> Iterator[Sequence[dspy.Example]]:
    for start in range(0, len(examples), size):
        yield examples[start : start + size]


def _kept(path: Path) -> tuple[Record, ...]:
    """The records of a file; a last line that was cut short is taken out of it."""
    if not path.exists():
        return ()
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
    return read_records(path) if whole else ()


def _append(path: Path, records: Sequence[Record]) -> None:
    with path.open("ab") as file:
        file.write(as_lines(records).encode())
        file.flush()
        os.fsync(file.fileno())

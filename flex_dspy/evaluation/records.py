"""Records of an evaluation, one for each sample of each example, and the files that keep them.

``records.jsonl`` holds one line a record, with all that is needed to judge it again; ``logs/`` holds one readable page
an example.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import dspy
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from flex_dspy.core.errors import DataError
from flex_dspy.core.examples import example_id, problem_of, reference_of
from flex_dspy.core.scoring import Normalize
from flex_dspy.libraries.library_file import write_atomically
from flex_dspy.models.spending import Usage

if TYPE_CHECKING:
    from flex_dspy.evaluation.evaluate import Evaluation

RECORDS = "records.jsonl"
RESCORED = "records.rescored"


@dataclass(frozen=True, slots=True)
class Record:
    """Result of one sample of one example.

    Attributes:
        example_id: Identity of the problem.
        problem: Its text.
        reference: The reference answer.
        outputs: The program's output fields.
        score: The metric's score; 0 where the program failed.
        feedback: The metric's feedback.
        measures: Further measures.
        shown: Ids of the experiences in the prompt.
        seconds: Wall time.
        error: The failure, if there was one.
        inputs: The example's input fields.
        labels: Its other fields, the reference answer among them.
        sample: Which of the example's samples it is, from 0.
        vote: The answer in the form in which equal answers are equal; "" where there is none.
        prompt_tokens: Tokens sent; 0 where the answer came from a cache.
        completion_tokens: Tokens received.
        usd: Their price, as far as it is known.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    example_id: str
    problem: str
    reference: str
    outputs: Mapping[str, Any]
    score: float
    feedback: str = ""
    measures: Mapping[str, float] = field(default_factory=dict)
    shown: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    sample: int = 0
    vote: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens sent and received."""
        return self.prompt_tokens + self.completion_tokens

    @classmethod
    def of(
        cls, example: dspy.Example, prediction: dspy.Prediction, points: float, usage: Usage, **details: Any
    ) -> Self:
        """A record of an example, a prediction (empty where the program failed) and its score."""
        return cls(
            example_id(example),
            problem_of(example),
            reference_of(example, prediction.keys() or example.labels().keys()),
            dict(prediction.items()),
            points,
            inputs=dict(example.inputs().items()),
            labels=dict(example.labels().items()),
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            usd=usage.usd,
            **details,
        )

    def example(self) -> dspy.Example:
        """The example that was measured.

        Raises:
            ValueError: If the record does not hold it, as records written before version 0.2 do not.
        """
        if not self.inputs:
            raise ValueError("the record does not hold its example")
        return dspy.Example(**self.inputs, **self.labels).with_inputs(*self.inputs)


_RECORD = TypeAdapter(Record)


def vote_of(example: dspy.Example, prediction: dspy.Prediction, normalize: Normalize | None = None) -> str:
    """A prediction's answer in the form in which equal answers are equal, or "" where it is no answer.

    Args:
        example: Says which outputs are the answer: those that it has a reference for.
        prediction: The prediction.
        normalize: One form for all ways of writing an answer, None for what is no answer.
    """
    answers = [prediction[name] for name in prediction if name in example]
    if any(answer is None for answer in answers):
        return ""
    forms = [normalize(str(answer)) if normalize else " ".join(str(answer).split()) for answer in answers]
    return "" if None in forms else "\n".join(str(form) for form in forms)


def by_example(records: Sequence[Record]) -> list[tuple[Record, ...]]:
    """The records of each example together, in order.

    Raises:
        ValueError: If the samples of an example are not numbered 0, 1, 2, ..., or an example has more than another.
    """
    groups: list[list[Record]] = []
    for place, record in enumerate(records, start=1):
        if record.sample == 0:
            groups.append([])
        if not groups or record.sample != len(groups[-1]) or _is_of_another_example(record, groups[-1]):
            raise ValueError(f"record {place} is sample {record.sample} of {record.example_id}: one before is missing")
        groups[-1].append(record)
    sizes = sorted({len(group) for group in groups})
    if len(sizes) > 1:
        raise ValueError(f"one example has {sizes[0]} samples and another has {sizes[-1]}")
    return [tuple(group) for group in groups]


def _is_of_another_example(record: Record, group: Sequence[Record]) -> bool:
    """Whether a record is of another example than those before it."""
    return any(other.example_id != record.example_id for other in group[:1])


# -- writing -----------------------------------------------------------------------------------------------


def write_records(folder: Path, evaluation: Evaluation) -> None:
    """Write ``records.jsonl``, ``metrics.json``, and a readable page an example in ``logs/``.

    Args:
        folder: Made where it is missing; the files of an earlier evaluation are replaced.
        evaluation: The evaluation.

    Raises:
        LibraryError: If a file cannot be written.
    """
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    write_atomically(folder / RECORDS, as_lines(evaluation.records))
    write_atomically(folder / "metrics.json", json.dumps(evaluation.metrics(), indent=2) + "\n")
    seen: Counter[str] = Counter()
    for samples in by_example(evaluation.records):
        name = samples[0].example_id
        seen[name] += 1  # a set may hold one problem twice
        again = f"-{seen[name]}" if seen[name] > 1 else ""
        write_atomically(folder / "logs" / f"{name}{again}.md", page(samples))


def write_rescored(path: Path, records: Sequence[Record]) -> Path:
    """Write records beside those that they were made from, as ``records.rescored.jsonl``; nothing is replaced.

    Args:
        path: The folder or the file that was read.
        records: The new records.

    Returns:
        The new file: with a number in its name where there was one already.
    """
    folder = path if path.is_dir() else path.parent
    names = (f"{RESCORED}{f'.{number}' if number > 1 else ''}.jsonl" for number in count(1))
    free = next(file for name in names if not (file := folder / name).exists())
    write_atomically(free, as_lines(records))
    return free


def as_lines(records: Sequence[Record]) -> str:
    """Records as JSON lines; values that JSON has no form for are written as text."""
    names = [each.name for each in fields(Record)]
    plain = ({name: to_jsonable_python(getattr(record, name), fallback=str) for name in names} for record in records)
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in plain)


def page(samples: Sequence[Record]) -> str:
    """One example as a readable page, with all its samples."""
    first = samples[0]
    scores = ", ".join(f"{record.score:g}" for record in samples)
    parts = [
        f"# {first.example_id}: score {scores}",
        f"## Problem\n\n{first.problem}",
        f"## Reference\n\n{first.reference}",
    ]
    for record in samples:
        if len(samples) > 1:
            parts.append(f"# Sample {record.sample}: score {record.score:g}")
        parts += _sample(record)
    return "\n\n".join(parts) + "\n"


def _sample(record: Record) -> Iterator[str]:
    yield from (f"## {name}\n\n{value}" for name, value in record.outputs.items())
    yield f"## Feedback\n\n{record.feedback or record.error}"
    yield f"## Experiences shown\n\n{', '.join(record.shown) or 'none'}"
    spent = f", {record.prompt_tokens:,} + {record.completion_tokens:,} tokens" if record.tokens else ""
    money = f", ${record.usd:.4f}" if record.usd else ""
    yield f"{record.seconds:.2f} s{spent}{money}"


# -- reading -----------------------------------------------------------------------------------------------


def records_file(path: Path) -> Path:
    """The file of records that a folder or a file name means."""
    return path / RECORDS if path.is_dir() else path


def read_records(path: str | Path) -> tuple[Record, ...]:
    """Read records back, those of earlier versions too.

    Args:
        path: A file, or a folder with a ``records.jsonl``.

    Returns:
        At least one record.

    Raises:
        DataError: If there is no such file, it is empty, or a line is no record; the error names the line.
    """
    file = records_file(Path(path))
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error
    records = tuple(_read(file, number, line) for number, line in enumerate(lines, start=1))
    if not records:
        raise DataError(f"{file} holds no record")
    try:
        by_example(records)
    except ValueError as error:
        raise DataError(f"{file}: {error}") from error
    return records


def _read(file: Path, number: int, line: bytes) -> Record:
    try:
        return _RECORD.validate_json(line)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise DataError(f"{file}: line {number} is no record: {f'{place}: ' if place else ''}{fault['msg']}") from error

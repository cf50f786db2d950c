"""Records of an evaluation: one for each sample of each example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import dspy
from pydantic import ConfigDict

from flex_dspy.core.examples import example_id, problem_of, reference_of
from flex_dspy.core.scoring import Normalize
from flex_dspy.models.spending import Usage


@dataclass(frozen=True, slots=True)
class Record:
    """Result of one sample of one example.

    Attributes:
        example_id: Id of the example.
        problem: Text of the problem.
        reference: The reference answer.
        outputs: The program's output fields.
        score: The metric's score; 0 if the program failed.
        feedback: The metric's feedback.
        measures: Further measures by name.
        shown: Ids of the experiences in the prompt.
        seconds: Wall time in seconds.
        error: Error message; empty without an error.
        inputs: The example's input fields.
        labels: The example's other fields, such as the reference answer.
        sample: Number of the sample, from 0.
        vote: Normal form of the answer, for counting equal answers; "" without an answer.
        prompt_tokens: Tokens sent; 0 if the answer came from a cache.
        completion_tokens: Tokens received.
        usd: Price of the tokens in US dollars, as far as it is known.
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

    def without_content(self) -> Self:
        """Copy of the record without problem, reference, answers and feedback. The measured numbers stay."""
        error = "withheld" if self.error else ""
        return replace(
            self, problem="", reference="", outputs={}, feedback="", error=error, inputs={}, labels={}, vote=""
        )

    @property
    def tokens(self) -> int:
        """Number of tokens, sent and received."""
        return self.prompt_tokens + self.completion_tokens

    @classmethod
    def of(
        cls, example: dspy.Example, prediction: dspy.Prediction, points: float, usage: Usage, **details: Any
    ) -> Self:
        """Record made from an example, a prediction (empty if the program failed) and its score."""
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
            ValueError: If the record does not hold the example. Records written before version 0.2 do not.
        """
        if not self.inputs:
            raise ValueError("the record does not hold its example")
        return dspy.Example(**self.inputs, **self.labels).with_inputs(*self.inputs)


def vote_of(example: dspy.Example, prediction: dspy.Prediction, normalize: Normalize | None = None) -> str:
    """Normal form of a prediction's answer, for counting equal answers; "" if the text is not an answer.

    Args:
        example: The example. The output fields that it has a reference for are the answer.
        prediction: The prediction.
        normalize: Returns the normal form of an answer, or None if the text is not an answer.
    """
    answers = [prediction[name] for name in prediction if name in example]
    if any(answer is None for answer in answers):
        return ""
    forms = [normalize(str(answer)) if normalize else " ".join(str(answer).split()) for answer in answers]
    return "" if None in forms else "\n".join(str(form) for form in forms)


def by_example(records: Sequence[Record]) -> list[tuple[Record, ...]]:
    """Records grouped by example, in order.

    Raises:
        ValueError: If the samples are not numbered 0, 1, 2, ..., or the examples have different numbers of samples.
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
    """Whether a record belongs to another example than the records before it."""
    return any(other.example_id != record.example_id for other in group[:1])

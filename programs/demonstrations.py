"""Turns precedents into demonstrations, which DSPy shows to a model as examples."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import dspy
from pydantic.fields import FieldInfo

from flex_dspy.core.trajectory import UNVERIFIED
from flex_dspy.libraries.experience import Precedent
from flex_dspy.models.reading import UnreadableError, read_value


def demonstrations(signature: Any, precedents: Iterable[Precedent], ignore: Collection[str] = ()) -> list[dspy.Example]:
    """The demonstrations from those precedents that hold a value for every field of a signature, in their order.

    A precedent holds the answer, but not the reasoning. So a program that reasons first gets no demonstrations.

    Args:
        signature: The predictor's signature.
        precedents: The precedents.
        ignore: Names of input fields that a precedent need not hold.
    """
    inputs = {name: field for name, field in signature.input_fields.items() if name not in ignore}
    outputs = signature.output_fields
    found = (_demonstration(inputs, outputs, precedent) for precedent in precedents)
    return [demo for demo in found if demo is not None]


def _demonstration(
    inputs: Mapping[str, FieldInfo], outputs: Mapping[str, FieldInfo], precedent: Precedent
) -> dspy.Example | None:
    if not precedent.answer or precedent.answer.endswith(UNVERIFIED):
        return None
    problem, answer = _split(precedent.problem, list(inputs)), _split(precedent.answer, list(outputs))
    if problem is None or answer is None or any(field.annotation is not str for field in inputs.values()):
        return None
    try:
        values = {name: read_value(answer[name], field.annotation, field.metadata) for name, field in outputs.items()}
    except UnreadableError:
        return None
    return dspy.Example(**problem, **values)


def _split(text: str, names: list[str]) -> dict[str, str] | None:
    """The values of fields in a text that ``problem_text`` wrote; None if it was written for other fields."""
    if len(names) == 1:
        return {names[0]: text}
    pattern = "\n".join(rf"{re.escape(name)}: (.*)" for name in names)
    found = re.fullmatch(pattern, text, re.DOTALL)
    return None if found is None else dict(zip(names, found.groups(), strict=True))

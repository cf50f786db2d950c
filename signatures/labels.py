"""Outputs that are labels, and what similar solved problems say of them."""

from __future__ import annotations

import enum
import functools
from typing import Any, Literal, get_args, get_origin

import dspy

from flex_dspy.models.field_types import DECLARED

_REASONING = "reasoning"
_LIKELY = (
    "the most frequent answer to the most similar problems solved before. Take it, unless it clearly does not fit."
)


@functools.lru_cache(maxsize=256)
def label_output(signature: type[dspy.Signature]) -> str | None:
    """The name of the one output that is a label (a ``Literal``, an ``Enum`` or a ``bool``); None if there is none.

    Args:
        signature: Any signature; reasoning before the answer does not count as an output.
    """
    outputs = {name: field for name, field in signature.output_fields.items() if name != _REASONING}
    if len(outputs) != 1:
        return None
    [(name, field)] = outputs.items()
    return name if _is_label(field.annotation) else None


def _is_label(annotation: Any) -> bool:
    if isinstance(annotation, type):
        return issubclass(annotation, enum.Enum | bool)
    return get_origin(annotation) is Literal


@functools.lru_cache(maxsize=256)
def with_likely(signature: type[dspy.Signature], output: str) -> type[dspy.Signature]:
    """The signature with an input for the likely value of an output, ``likely_`` and its name, as the last input."""
    return signature.append(likely_name(output), dspy.InputField(desc=_LIKELY), str)


def likely_name(output: str) -> str:
    """The name of the input for the likely value of an output."""
    return f"likely_{output}"


def model_name(output: str) -> str:
    """The name of a prediction's field for the model's own value of an output, where precedents have a say in it."""
    return f"model_{output}"


def label_of_text(signature: type[dspy.Signature], output: str, text: str) -> Any:
    """The label with this text, as declared: a number where the labels are numbers."""
    declared = get_args(signature.output_fields[output].annotation)
    return next((label for label in declared if str(label) == text), text)


@functools.lru_cache(maxsize=256)
def labels_of(signature: type[dspy.Signature], output: str) -> tuple[str, ...]:
    """The texts of the labels that an output may hold, as declared. None of an ``Enum`` or a ``bool``.

    An ``Enum`` cannot lose members, and of two values none is worth leaving out.
    """
    annotation = signature.output_fields[output].annotation
    return tuple(map(str, get_args(annotation))) if get_origin(annotation) is Literal else ()


@functools.lru_cache(maxsize=256)
def without_labels(signature: type[dspy.Signature], output: str, unlikely: frozenset[str]) -> type[dspy.Signature]:
    """The signature whose output does not offer some of its labels. An answer with such a label is still read.

    Args:
        signature: The predictor's signature.
        output: The output that is a label.
        unlikely: Texts of the labels to leave out; see ``labels_of``.
    """
    declared = signature.output_fields[output].annotation
    members = tuple(label for label in get_args(declared) if str(label) not in unlikely)
    if get_origin(declared) is not Literal or not members or len(members) == len(get_args(declared)):
        return signature
    return signature.with_updated_fields(output, type_=Literal[members], **{DECLARED: declared})

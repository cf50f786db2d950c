"""Outputs that are labels, and what similar solved problems say of them."""

from __future__ import annotations

import enum
import functools
from typing import Any, Literal, get_origin

import dspy

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

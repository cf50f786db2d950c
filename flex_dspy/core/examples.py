"""Problem, reference answer and identity of a ``dspy.Example``, each as text."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import dspy
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from flex_dspy.core.errors import ConfigurationError


def problem_text(inputs: Mapping[str, Any]) -> str:
    """A problem as one text, the key of retrieval: the single input itself, or ``name: value`` lines."""
    if len(inputs) == 1:
        return value_text(next(iter(inputs.values())))
    return "\n".join(f"{name}: {value_text(value)}" for name, value in inputs.items())


def value_text(value: Any) -> str:
    """A value as people and models read it: a text as it is, a list or an object as JSON."""
    if isinstance(value, dict | list | tuple | BaseModel):
        with contextlib.suppress(TypeError, ValueError):
            return json.dumps(to_jsonable_python(value), ensure_ascii=False)
    return str(value)


def problem_of(example: dspy.Example) -> str:
    """The example's problem.

    Raises:
        ConfigurationError: If the example does not say which of its fields are inputs.
    """
    try:
        inputs = dict(example.inputs())
    except ValueError:
        inputs = {}
    if not inputs:
        raise ConfigurationError(
            f"an example does not say what its inputs are (fields: {', '.join(example.keys())}): "
            "make it with dspy.Example(...).with_inputs('field', ...)"
        )
    return problem_text(inputs)


def reference_of(example: dspy.Example, outputs: Iterable[str]) -> str:
    """The example's reference answer: its labels that are outputs of the program, or "" where it has none."""
    labels = {name: example[name] for name in outputs if name in example and example[name] is not None}
    return problem_text(labels) if labels else ""


def example_id(example: dspy.Example) -> str:
    """Twelve hexadecimal digits that identify the problem, whatever row of whatever file it came from."""
    return hashlib.sha256(problem_of(example).encode()).hexdigest()[:12]

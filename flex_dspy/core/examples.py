"""Problem, reference answer and id of a ``dspy.Example``, each as text."""

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
    """Text of a problem, used as the query for retrieval: the single input, or lines of ``name: value``."""
    if len(inputs) == 1:
        return value_text(next(iter(inputs.values())))
    return "\n".join(f"{name}: {value_text(value)}" for name, value in inputs.items())


def value_text(value: Any) -> str:
    """Text of a value for people and models: a string unchanged, a list or an object as JSON."""
    if isinstance(value, dict | list | tuple | BaseModel):
        with contextlib.suppress(TypeError, ValueError):
            return json.dumps(to_jsonable_python(value), ensure_ascii=False)
    return str(value)


def problem_of(example: dspy.Example) -> str:
    """Text of the example's problem.

    Raises:
        ConfigurationError: If the example does not declare its input fields.
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
    """Text of the example's reference answer: its labels that are outputs of the program; "" without such labels."""
    labels = {name: example[name] for name in outputs if name in example and example[name] is not None}
    return problem_text(labels) if labels else ""


def example_id(example: dspy.Example) -> str:
    """Id of the problem: twelve hexadecimal digits of a hash of its text, independent of its file and row."""
    return hashlib.sha256(problem_of(example).encode()).hexdigest()[:12]

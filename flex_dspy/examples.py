"""What a ``dspy.Example`` says: its problem, its reference answer, its identity, each as text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import dspy

from flex_dspy.errors import ConfigurationError


def problem_text(inputs: Mapping[str, Any]) -> str:
    """A problem as one text, the key of retrieval: the single input itself, or ``name: value`` lines."""
    if len(inputs) == 1:
        return str(next(iter(inputs.values())))
    return "\n".join(f"{name}: {value}" for name, value in inputs.items())


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

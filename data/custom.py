"""Loaders for tasks that are not built in: by the names of columns, or by the task's own function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dspy

from flex_dspy.core.dspy_internals import parse_value
from flex_dspy.core.errors import DataError, FlexError
from flex_dspy.data.loading import LoadedData, content_id, digest, load_examples, sample

Loader = Callable[..., LoadedData]


def by_columns(signature: type[dspy.Signature]) -> Loader:
    """A loader for files and hub data sets whose columns are named like a signature's fields.

    A column with the name of an input or output field fills that field, converted to the field's type. Each input must
    be present. A missing or empty output counts as unknown. Other columns are kept unchanged as labels.

    Args:
        signature: The inputs of the actor, and its outputs.

    Returns:
        ``load(source, *, limit=None, seed=None)``; see ``flex_dspy.data.loading.load_examples``.
    """

    def to_example(cells: Mapping[str, Any]) -> dspy.Example:
        return _example(signature, cells)

    def load(source: str | Path, *, limit: int | None = None, seed: int | None = None) -> LoadedData:
        inputs, outputs = signature.input_fields, signature.output_fields
        expected = f"the columns {', '.join(inputs)} and, where known, {', '.join(outputs)}"
        return load_examples(source, to_example, expected=expected, limit=limit, seed=seed)

    return load


def _example(signature: type[dspy.Signature], cells: Mapping[str, Any]) -> dspy.Example:
    """One row as an example.

    Raises:
        ValueError: An input is missing, or a value cannot be converted to its field's type.
    """
    given = {str(name): value for name, value in cells.items() if value not in (None, "")}
    missing = [name for name in signature.input_fields if name not in given]
    if missing:
        raise ValueError(f"no {', '.join(missing)}")
    for name, field in signature.fields.items():
        if name in given:
            given[name] = _value(name, given[name], field.annotation)
    given.setdefault("id", content_id(*(f"{name}: {value}" for name, value in given.items())))
    return dspy.Example(**given).with_inputs(*signature.input_fields)


def _value(name: str, value: Any, annotation: Any) -> Any:
    try:
        return parse_value(value, annotation)
    except ValueError as error:
        wanted = getattr(annotation, "__name__", annotation)
        raise ValueError(f"{name} is no {wanted}: {str(value)[:80]!r}") from error


def by_function(read: Callable[..., Any], signature: type[dspy.Signature]) -> Loader:
    """A loader made from a function. It takes a limit and a seed and returns ``LoadedData``.

    Args:
        read: Takes the source. It returns examples, dicts with their fields, or ``LoadedData``. If it has parameters
            ``limit`` and ``seed``, it gets them too.
        signature: Names the inputs of examples that do not name them.

    Returns:
        ``load(source, *, limit=None, seed=None)``, which raises DataError if the function fails.
    """
    takes = {"limit", "seed"} <= set(inspect.signature(read).parameters)

    def load(source: str | Path, *, limit: int | None = None, seed: int | None = None) -> LoadedData:
        try:
            found = read(source, limit=limit, seed=seed) if takes else read(source)
            if isinstance(found, LoadedData):
                return found
            examples = [_with_inputs(row, signature) for row in found]
        except FlexError:
            raise
        except Exception as error:  # the function is foreign code
            raise DataError(f"the task's loader cannot read {source!r}: {type(error).__name__}: {error}") from error
        if not examples:
            raise DataError(f"the task's loader found no example in {source!r}")
        drawn = (examples if seed is None else sample(examples, None, seed))[:limit]
        return LoadedData(drawn, [], str(source), digest(drawn))

    return load


def _with_inputs(row: Any, signature: type[dspy.Signature]) -> dspy.Example:
    """A row as an example whose inputs are marked."""
    example = row if isinstance(row, dspy.Example) else dspy.Example(**row)
    try:
        example.inputs()
    except ValueError:
        example = example.with_inputs(*signature.input_fields)
    missing = [name for name in signature.input_fields if name not in example]
    if missing:
        raise ValueError(f"an example has no {', '.join(missing)} (its fields: {', '.join(example.keys())})")
    return example

r"""Reads the text of one output field as a value of the field's type, tolerantly.

Valid JSON, exact digits and exact labels are read as DSPy reads them. Texts that DSPy refuses are read tolerantly.
Texts that DSPy only guesses (``70 or 71``, half an object) are refused. The error message is written for the model,
which is asked again.

Example:
    >>> read_value("The answer is **70**.", int)
    70
    >>> read_value("- a\\n- b", list[str])
    ['a', 'b']
    >>> read_value("I cannot tell", int)
    Traceback (most recent call last):
    flex_dspy.models.reading.UnreadableError: expected one integer, found no number in 'I cannot tell'
"""

from __future__ import annotations

import enum
import functools
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, PlainValidator, ValidationError, WrapValidator

from flex_dspy.core.dspy_internals import parse_value
from flex_dspy.core.text import sound_text
from flex_dspy.metrics.cleaning import clean_answer, visible_answer
from flex_dspy.models import scalars
from flex_dspy.models.field_types import (
    adapter,
    expectation,
    field_names,
    holds_dspy_type,
    in_words,
    is_class,
    is_list,
    is_object,
    is_of,
    is_union,
    item_type,
    plain,
)
from flex_dspy.models.structures import quote, read_list, read_object

_OWN_READERS = (BeforeValidator, WrapValidator, PlainValidator)


class UnreadableError(ValueError):
    """An answer that cannot be read as the field's type. The message tells a model what was expected and found."""


def read_value(text: str, annotation: Any, metadata: Sequence[Any] = ()) -> Any:
    """The value of one output field.

    Args:
        text: The text of the field.
        annotation: The field's type.
        metadata: The rest of its annotation (``field.metadata``): bounds for the value, and validators. A
            ``BeforeValidator``, ``WrapValidator`` or ``PlainValidator`` is the user's own reader. It replaces the
            readers here. It gets the text; of a list or an object it gets the value, if that can be read.

    Raises:
        UnreadableError: If the text holds no such value or several values, or the value is cut short or breaks a bound.
    """
    text = sound_text(text)
    if any(isinstance(part, _OWN_READERS) for part in metadata):
        return _by_own_reader(text, annotation, metadata)
    try:
        readings = _readings(text, annotation)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"expected {expectation(annotation)}, {_problem(error)}") from error
    return _one_of(readings, text, annotation, metadata)


def _one_of(readings: list[Any], text: str, annotation: Any, metadata: Sequence[Any]) -> Any:
    """The only reading within the field's bounds."""
    if not metadata and len(readings) == 1:
        return readings[0]
    kept, problem = [], ""
    for reading in readings:
        try:
            kept.append(adapter(annotation, metadata).validate_python(reading))
        except ValidationError as error:
            problem = f"found {quote(str(reading))}: {in_words(error)}"
    if len(kept) > 1:
        problem = f"found {quote(text)}, which may mean {' or '.join(map(str, kept))}"
    if len(kept) != 1:
        raise UnreadableError(f"expected {expectation(annotation)}, {problem}")
    return kept[0]


def _by_own_reader(text: str, annotation: Any, metadata: Sequence[Any]) -> Any:
    """The value from the user's own reader. It gets the value of a list or an object, and otherwise the text."""
    problem = ""
    for form in (*_structures(text, annotation), *dict.fromkeys([visible_answer(text), clean_answer(text)])):
        try:
            return adapter(annotation, metadata).validate_python(form)
        except ValidationError as error:
            problem = problem or in_words(error)
        except Exception as error:  # the user's reader may raise any error
            problem = problem or f"{type(error).__name__}: {error}"
    raise UnreadableError(f"expected {expectation(annotation)}, found {quote(text)}: {problem}")


def _structures(text: str, annotation: Any) -> list[Any]:
    """The list or object in a text, because validators of such fields expect a value, as pydantic gives it."""
    if not (is_list(annotation) or is_object(annotation)):
        return []
    try:
        return _readings(text, annotation)
    except (ValueError, RecursionError):
        return []


# -- one reader for each kind of type ----------------------------------------------------------------------


def _readings(text: str, annotation: Any) -> list[Any]:
    """The values that a text may mean: one value, or two if the field's bounds must decide.

    Raises:
        ValueError: If the text cannot be read.
    """
    annotation = plain(annotation)
    if annotation is float:
        return scalars.decimals_in(text)
    for is_meant, reader in _READERS:
        if is_meant(annotation):
            return [reader(text, annotation)]
    return [_by_pydantic(text, annotation)]


def _text(text: str, annotation: Any) -> str:
    return text


def _by_annotation(text: str, annotation: Any) -> Any:
    inner, *metadata = get_args(annotation)
    return read_value(text, inner, metadata)


def _as_dspy_type(text: str, annotation: Any) -> Any:
    """Read one of DSPy's own types (code, tool calls, images) by its own parser."""
    return parse_value(text, annotation)


def _union(text: str, annotation: Any) -> Any:
    """Read a union: the first type that the text fits exactly, else the only type that can read it."""
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    if len(kinds) < len(get_args(annotation)) and scalars.is_null(text):
        return None
    if len(kinds) == 1:
        return read_value(text, kinds[0])
    others = [kind for kind in kinds if kind is not str]
    found = [value for value in map(functools.partial(_exactly, text), others) if value is not None]
    if not found and str not in kinds:
        found = [value for value in map(functools.partial(_tolerantly, text), kinds) if value is not None]
    if not found and str in kinds:
        return text
    if not found or any(value != found[0] for value in found):
        raise ValueError(f"found {quote(text)}")
    return found[0]


def _exactly(text: str, annotation: Any) -> Any:
    """The value if the text is exactly JSON of this type; otherwise None."""
    try:
        return adapter(annotation).validate_json(text, strict=True)
    except ValueError:
        return None


def _tolerantly(text: str, annotation: Any) -> Any:
    try:
        return read_value(text, annotation)
    except UnreadableError:
        return None


def _list(text: str, annotation: Any) -> Any:
    item = item_type(annotation)
    items = [_item(value, item) for value in read_list(text, of_text=item in (str, Any))]
    return items if annotation is list or is_of(annotation, list) else _valid(items, annotation)


def _item(value: Any, annotation: Any) -> Any:
    """One item of a list: a text is read as the item's type, any other value must be of that type."""
    if isinstance(value, str) and annotation is not Any:
        return read_value(value, annotation)
    if isinstance(value, bool) and annotation in (int, float):
        raise ValueError(f"found {value} in the list")
    return _valid(value, annotation)


def _object(text: str, annotation: Any) -> Any:
    data = read_object(text)
    names = field_names(annotation)
    if names and len(data) == 1:
        (inner,) = data.values()
        if not names & set(data) and isinstance(inner, dict):
            data = inner
    if names and data and not names & set(data):
        raise ValueError(f"found an object with other fields: {', '.join(map(str, list(data)[:8]))}")
    if is_class(annotation, BaseModel):
        data = {name: _field_value(value, annotation, name) for name, value in data.items()}
    return _valid(data, annotation)


def _field_value(value: Any, model: type[BaseModel], name: str) -> Any:
    """One field of an object: a text is read as the field's type, any other value is left to pydantic."""
    field = model.model_fields.get(name)
    if field is None or not isinstance(value, str) or field.annotation is str:
        return value
    try:
        return read_value(value, field.annotation, field.metadata)
    except UnreadableError:
        return value


def _by_pydantic(text: str, annotation: Any) -> Any:
    """Read any other type, such as dates and paths, from JSON or from the text."""
    clean = clean_answer(text)
    problem = ""
    for form in (clean, scalars.read_anything(clean, Any)):
        try:
            return adapter(annotation).validate_python(form)
        except ValidationError as error:
            problem = problem or in_words(error)
    raise ValueError(f"found {quote(clean)}: {problem}")


def _valid(value: Any, annotation: Any) -> Any:
    try:
        return adapter(annotation).validate_python(value)
    except ValidationError as error:
        written = json.dumps(value, ensure_ascii=False, default=str)
        raise ValueError(f"found {quote(written)}: {in_words(error)}") from error


# The first reader that fits is used, so a subclass stands before its base, and a union before its members.
_READERS: list[tuple[Callable[[Any], bool], Callable[[str, Any], Any]]] = [
    (lambda kind: kind is str, _text),
    (lambda kind: kind in (Any, object), scalars.read_anything),
    (holds_dspy_type, _as_dspy_type),
    (lambda kind: is_of(kind, Annotated), _by_annotation),
    (is_union, _union),
    (lambda kind: kind in (None, type(None)), scalars.read_null),
    (lambda kind: is_of(kind, Literal), scalars.read_literal),
    (lambda kind: is_class(kind, enum.Enum), scalars.read_enum),
    (lambda kind: kind is bool, scalars.read_truth),
    (lambda kind: kind is int, scalars.read_integer),
    (is_object, _object),
    (is_list, _list),
]


def _problem(error: Exception) -> str:
    if isinstance(error, UnreadableError):  # of an item: only what was found there is new
        return str(error).partition(", ")[2] or str(error)
    if isinstance(error, RecursionError):
        return "found an answer that is nested too deep"
    return in_words(error) if isinstance(error, ValidationError) else str(error)

"""Reading one output field: from what a language model wrote to the field's type, as a person would read it.

Right JSON, exact digits and exact labels are read as DSPy reads them. What DSPy refuses is read tolerantly, and what
it only guesses (``70 or 71``, half an object) is refused. The refusal is written for the model that is asked again.

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

import dataclasses
import enum
import functools
import json
import math
import re
import types
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, is_typeddict

import dspy
from dspy.adapters.utils import parse_value
from pydantic import (
    BaseModel,
    BeforeValidator,
    PlainValidator,
    PydanticSchemaGenerationError,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
    WrapValidator,
)

from flex_dspy.metrics.cleaning import clean_answer, visible_answer
from flex_dspy.metrics.decimals import decimal_readings
from flex_dspy.metrics.integers import integer_answer
from flex_dspy.metrics.labels import LabelError, stated_label
from flex_dspy.metrics.truth import stated_truth
from flex_dspy.models.structures import read_list, read_object, shown
from flex_dspy.text import sound_text

_OWN_READERS = (BeforeValidator, WrapValidator, PlainValidator)
_UNIONS = (Union, types.UnionType)
_MOST_LABELS = 400  # characters of the labels that an error lists

# Exact numbers, as JSON and Python write them: 70, -5, 70.0, 1e3, 1_000.
_NUMBER = re.compile(r"[-+]?\d{1,40}(?:_\d{1,40}){0,13}(?:\.\d{0,40})?(?:[eE][-+]?\d{1,3})?")
_LARGEST_EXACT = 1e15  # beyond it a float no longer tells one integer from the next
_NULL = re.compile(r"(?:null|none|nil|n/?a|not applicable|not available|)", re.IGNORECASE)


class UnreadableError(ValueError):
    """An answer that cannot be read as the field's type. The message tells a model what was expected and found."""


def read_value(text: str, annotation: Any, metadata: Sequence[Any] = ()) -> Any:
    """The value of one output field.

    Args:
        text: What a model wrote in the field.
        annotation: The field's type.
        metadata: The rest of its annotation (``field.metadata``): bounds, which the value must keep, and validators. A
            ``BeforeValidator``, ``WrapValidator`` or ``PlainValidator`` is the user's own reader: it is given the text,
            and takes the place of the readers here.

    Raises:
        UnreadableError: The text holds no such value, several, one that is cut short or breaks a bound.
    """
    text = sound_text(text)
    if any(isinstance(part, _OWN_READERS) for part in metadata):
        return _by_own_reader(text, annotation, metadata)
    try:
        readings = _readings(text, annotation)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"expected {_expected(annotation)}, {_problem(error)}") from error
    return _one_of(readings, text, annotation, metadata)


def _one_of(readings: list[Any], text: str, annotation: Any, metadata: Sequence[Any]) -> Any:
    """The one reading that keeps the field's bounds."""
    if not metadata and len(readings) == 1:
        return readings[0]
    adapter = _adapter(annotation, metadata)
    kept, problem = [], ""
    for reading in readings:
        try:
            kept.append(adapter.validate_python(reading))
        except ValidationError as error:
            problem = f"found {shown(str(reading))}: {_in_words(error)}"
    if len(kept) > 1:
        problem = f"found {shown(text)}, which may mean {' or '.join(map(str, kept))}"
    if len(kept) != 1:
        raise UnreadableError(f"expected {_expected(annotation)}, {problem}")
    return kept[0]


def _by_own_reader(text: str, annotation: Any, metadata: Sequence[Any]) -> Any:
    """The value that the user's own reader finds in the text, as written or cleaned."""
    adapter, problem = _adapter(annotation, metadata), ""
    for form in dict.fromkeys([visible_answer(text), clean_answer(text)]):
        try:
            return adapter.validate_python(form)
        except ValidationError as error:
            problem = problem or _in_words(error)
        except Exception as error:  # whatever the user's reader raises
            problem = problem or f"{type(error).__name__}: {error}"
    raise UnreadableError(f"expected {_expected(annotation)}, found {shown(text)}: {problem}")


# -- one reader for each kind of type ----------------------------------------------------------------------


def _readings(text: str, annotation: Any) -> list[Any]:
    """What a text may mean: one value, or two that bounds must decide between.

    Raises:
        ValueError: It cannot be read.
    """
    annotation = getattr(annotation, "__value__", annotation)  # type X = ...
    if annotation is float:
        return _floats(text)
    for is_meant, reader in _READERS:
        if is_meant(annotation):
            return [reader(text, annotation)]
    return [_by_pydantic(text, annotation)]


def _text(text: str, annotation: Any) -> str:
    return text


def _anything(text: str, annotation: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _annotated(text: str, annotation: Any) -> Any:
    inner, *metadata = get_args(annotation)
    return read_value(text, inner, metadata)


def _as_dspy_type(text: str, annotation: Any) -> Any:
    """DSPy's own types (code, tool calls, images) have parsers of their own."""
    return parse_value(text, annotation)


def _integer(text: str, annotation: Any) -> int:
    exact = _exact(text)
    value = integer_answer(text) if exact is None else exact
    if value is None:
        raise ValueError(_no_number(text))
    return int(value)


def _exact(text: str) -> float | int | None:
    """A whole number that is the whole text, as JSON and Python write it."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    if text.lstrip("+-").replace("_", "").isdecimal():
        return int(text)
    value = float(text.replace("_", ""))
    return value if value.is_integer() and abs(value) < _LARGEST_EXACT else None


def _floats(text: str) -> list[float]:
    readings = decimal_readings(text)
    if not readings or not all(map(math.isfinite, readings)):
        raise ValueError(_no_number(text))
    return readings


def _no_number(text: str) -> str:
    seen = clean_answer(text)
    if not seen:
        return _nothing(text)
    if any(letter.isdigit() for letter in seen):
        return f"found no single number beyond doubt in {shown(seen)}"
    return f"found no number in {shown(seen)}"


def _nothing(text: str) -> str:
    return "found only reasoning and no answer" if text.strip() else "found nothing"


def _truth(text: str, annotation: Any) -> bool:
    value = stated_truth(text)
    if value is None:
        raise ValueError(f"found {shown(clean_answer(text))}" if clean_answer(text) else _nothing(text))
    return value


def _null(text: str, annotation: Any) -> None:
    if not _is_null(text):
        raise ValueError(f"found {shown(text)}")


def _literal(text: str, annotation: Any) -> Any:
    return _member(text, {str(member): member for member in get_args(annotation)})


def _enum(text: str, annotation: Any) -> Any:
    members = list(annotation)
    by_value = {str(member.value): member for member in members}
    by_name = {member.name: member for member in members}
    text = re.sub(rf"\b{re.escape(annotation.__name__)}\.(?=\w)", "", text)
    try:
        return _member(text, by_value)
    except LabelError:
        return _member(text, by_name)


def _member(text: str, members: Mapping[str, Any]) -> Any:
    """The member whose label a text names; members that are numbers are read as numbers."""
    if text.strip() in members:
        return members[text.strip()]
    if all(re.fullmatch(r"-?\d+", label) for label in members):
        found = members.get(str(integer_answer(text)))
        if found is None:
            raise LabelError(f"found {shown(clean_answer(text))}")
        return found
    try:
        return members[stated_label(text, list(members))]
    except LabelError as error:
        raise LabelError(f"{error} in {shown(text)}" if text.strip() else "found nothing") from error


def _union(text: str, annotation: Any) -> Any:
    """The first kind that the text is exactly, else the one kind that it can be read as."""
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    if len(kinds) < len(get_args(annotation)) and _is_null(text):
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
        raise ValueError(f"found {shown(text)}")
    return found[0]


def _exactly(text: str, annotation: Any) -> Any:
    """A text that is exactly a value of this type, as JSON; None where it is none."""
    try:
        return _adapter(annotation, ()).validate_json(text, strict=True)
    except (ValidationError, UnreadableError):
        return None


def _tolerantly(text: str, annotation: Any) -> Any:
    try:
        return read_value(text, annotation)
    except UnreadableError:
        return None


def _list(text: str, annotation: Any) -> Any:
    item = _item_type(annotation)
    items = [_item(value, item) for value in read_list(text, of_text=item in (str, Any))]
    if get_origin(annotation) is list or annotation is list:
        return items
    return _valid(items, annotation)


def _item_type(annotation: Any) -> Any:
    arguments = [part for part in get_args(annotation) if part is not Ellipsis]
    return arguments[0] if len(arguments) == 1 else Any


def _item(value: Any, annotation: Any) -> Any:
    """One item of a list that was read: a text is read as its type, anything else must be of it."""
    if isinstance(value, str) and annotation is not Any:
        return read_value(value, annotation)
    if isinstance(value, bool) and annotation in (int, float):
        raise ValueError(f"found {value} in the list")
    return _valid(value, annotation)


def _object(text: str, annotation: Any) -> Any:
    data = read_object(text)
    names = _field_names(annotation)
    if names and len(data) == 1:
        (inner,) = data.values()
        if not names & set(data) and isinstance(inner, dict):
            data = inner
    if names and data and not names & set(data):
        raise ValueError(f"found an object with other fields: {', '.join(map(str, list(data)[:8]))}")
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        data = {name: _field_value(value, annotation, name) for name, value in data.items()}
    return _valid(data, annotation)


def _field_names(annotation: Any) -> set[str]:
    """Names and aliases of a model's fields; none where any key is allowed."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation.model_config.get("extra") == "allow":
            return set()
        fields = annotation.model_fields
        return {*fields, *(field.alias for field in fields.values() if field.alias)}
    if is_typeddict(annotation):
        return set(annotation.__annotations__)
    return {field.name for field in dataclasses.fields(annotation)} if dataclasses.is_dataclass(annotation) else set()


def _field_value(value: Any, model: type[BaseModel], name: str) -> Any:
    """A text in a field of another type, read as that type; anything else is left to pydantic."""
    field = model.model_fields.get(name)
    if field is None or not isinstance(value, str) or field.annotation is str:
        return value
    try:
        return read_value(value, field.annotation, field.metadata)
    except UnreadableError:
        return value


def _by_pydantic(text: str, annotation: Any) -> Any:
    """Any other type: dates, paths and the like, from JSON or from the text."""
    clean = clean_answer(text)
    for form in (_anything(clean, Any), clean):
        try:
            return _adapter(annotation, ()).validate_python(form)
        except ValidationError as error:
            problem = _in_words(error)
    raise ValueError(f"found {shown(clean)}: {problem}")


def _valid(value: Any, annotation: Any) -> Any:
    try:
        return _adapter(annotation, ()).validate_python(value)
    except ValidationError as error:
        raise ValueError(
            f"found {shown(json.dumps(value, ensure_ascii=False, default=str))}: {_in_words(error)}"
        ) from error


def _is_null(text: str) -> bool:
    return _NULL.fullmatch(clean_answer(text).rstrip(".")) is not None


# -- which reader reads which type -------------------------------------------------------------------------


def _is_class(annotation: Any, base: type | tuple[type, ...]) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, base)


def _holds_dspy_type(annotation: Any) -> bool:
    return _is_class(annotation, dspy.Type) or any(map(_holds_dspy_type, get_args(annotation)))


def _is_list(annotation: Any) -> bool:
    kind = get_origin(annotation) or annotation
    return _is_class(kind, Collection) and not _is_class(kind, (Mapping, str, bytes))


def _is_object(annotation: Any) -> bool:
    kind = get_origin(annotation) or annotation
    return _is_class(kind, (Mapping, BaseModel)) or is_typeddict(kind) or dataclasses.is_dataclass(kind)


_READERS: list[tuple[Any, Any]] = [
    (lambda kind: kind is str, _text),
    (lambda kind: kind in (Any, object), _anything),
    (_holds_dspy_type, _as_dspy_type),
    (lambda kind: get_origin(kind) is Annotated, _annotated),
    (lambda kind: get_origin(kind) in _UNIONS, _union),
    (lambda kind: kind in (None, type(None)), _null),
    (lambda kind: get_origin(kind) is Literal, _literal),
    (lambda kind: _is_class(kind, enum.Enum), _enum),
    (lambda kind: kind is bool, _truth),
    (lambda kind: kind is int, _integer),
    (_is_object, _object),
    (_is_list, _list),
]


@functools.lru_cache(maxsize=256)
def _plain_adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def _adapter(annotation: Any, metadata: Sequence[Any]) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(Annotated[annotation, *metadata]) if metadata else _plain_adapter(annotation)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise UnreadableError(f"expected {annotation}, a type that pydantic does not know") from error


# -- in words ----------------------------------------------------------------------------------------------


def _expected(annotation: Any) -> str:
    """What a field must hold, in words."""
    annotation = getattr(annotation, "__value__", annotation)
    simple = {int: "one integer", float: "one number", bool: "true or false", str: "a text", type(None): "null"}
    if isinstance(annotation, type) and annotation in simple:
        return simple[annotation]
    if get_origin(annotation) is Annotated:
        return _expected(get_args(annotation)[0])
    if get_origin(annotation) in _UNIONS:
        return " or ".join(map(_expected, get_args(annotation)))
    if get_origin(annotation) is Literal:
        return _one_label(list(map(str, get_args(annotation))))
    if _is_class(annotation, enum.Enum):
        return _one_label([str(member.value) for member in annotation])
    if _is_object(annotation):
        names = ", ".join(sorted(_field_names(annotation)))
        return f"one JSON object with the fields {names}" if names else "one JSON object"
    if _is_list(annotation):
        item = _item_type(annotation)
        return "a JSON list" if item is Any else f"a JSON list, each item {_expected(item)}"
    return getattr(annotation, "__name__", str(annotation))


def _one_label(labels: list[str]) -> str:
    listed = ", ".join(labels)
    return f"one of {listed if len(listed) <= _MOST_LABELS else listed[:_MOST_LABELS].rpartition(', ')[0] + ', ...'}"


def _in_words(error: ValidationError) -> str:
    """Pydantic's first remarks, without its links and numbers."""
    remarks = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False)[:3]:
        place = ".".join(map(str, problem["loc"]))
        remarks.append(f"{place}: {problem['msg']}" if place else problem["msg"])
    return "; ".join(remarks)


def _problem(error: Exception) -> str:
    if isinstance(error, UnreadableError):  # of an item: only what was found there is new
        return str(error).partition(", ")[2] or str(error)
    if isinstance(error, RecursionError):
        return "found an answer that is nested too deep"
    return _in_words(error) if isinstance(error, ValidationError) else str(error)

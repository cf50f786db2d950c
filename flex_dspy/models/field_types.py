"""Types of output fields: their kinds, and their descriptions in words."""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import dspy
from pydantic import BaseModel, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from typing_extensions import is_typeddict

DECLARED = "declared_type"  # key of a field's ``json_schema_extra``, see ``declared_type``
_MOST_LABELS = 400  # largest number of characters for the labels in an error message
_WORDS = {
    int: "one integer",
    float: "one number",
    bool: "true or false",
    str: "a text",
    None: "null",
    type(None): "null",
}


def plain(annotation: Any) -> Any:
    """The type behind ``type X = ...``."""
    return getattr(annotation, "__value__", annotation)


def declared_type(field: FieldInfo) -> Any:
    """The type that a field was declared with, if its prompt offers only some of the labels; otherwise None."""
    extra = field.json_schema_extra
    return extra.get(DECLARED) if isinstance(extra, dict) else None


def is_class(annotation: Any, base: type | tuple[type, ...]) -> bool:
    """Whether the type is this class or one of its subclasses."""
    return isinstance(annotation, type) and issubclass(annotation, base)


def is_of(annotation: Any, *origins: Any) -> bool:
    """Whether the type is one of these generic types with arguments, as ``Literal["a"]`` is of ``Literal``."""
    origin: Any = get_origin(annotation)
    return origin is not None and origin in origins


def is_union(annotation: Any) -> bool:
    """Whether the type is ``A | B`` or ``Optional[A]``."""
    return is_of(annotation, Union, types.UnionType)


def is_list(annotation: Any) -> bool:
    """Whether values of the type are written as a JSON list."""
    kind: Any = get_origin(annotation) or annotation
    return is_class(kind, Collection) and not is_class(kind, (Mapping, str, bytes, enum.Enum))


def is_object(annotation: Any) -> bool:
    """Whether values of the type are written as a JSON object."""
    kind: Any = get_origin(annotation) or annotation
    return is_class(kind, (Mapping, BaseModel)) or is_typeddict(kind) or dataclasses.is_dataclass(kind)


def holds_dspy_type(annotation: Any) -> bool:
    """Whether the type contains one of DSPy's own types (code, tool calls, images), which have their own parsers."""
    return is_class(annotation, dspy.Type) or any(map(holds_dspy_type, get_args(annotation)))


def item_type(annotation: Any) -> Any:
    """The type of a list's items; ``Any`` if the types differ or are not given."""
    arguments = [part for part in get_args(annotation) if part is not Ellipsis]
    return arguments[0] if len(arguments) == 1 else Any


def field_names(annotation: Any) -> set[str]:
    """Names and aliases of an object's fields; empty if any key is allowed."""
    if is_class(annotation, BaseModel):
        if annotation.model_config.get("extra") == "allow":
            return set()
        fields = annotation.model_fields
        return {*fields, *(field.alias for field in fields.values() if field.alias)}
    if is_typeddict(annotation):
        return set(annotation.__annotations__)
    return {field.name for field in dataclasses.fields(annotation)} if dataclasses.is_dataclass(annotation) else set()


def adapter(annotation: Any, metadata: Sequence[Any] = ()) -> TypeAdapter[Any]:
    """Pydantic's adapter of a type.

    Raises:
        ValueError: Pydantic does not know the type.
    """
    try:
        return _adapter(Annotated[annotation, *metadata] if metadata else annotation)
    except TypeError:  # an unhashable part: the adapter cannot be cached
        return TypeAdapter(Annotated[annotation, *metadata] if metadata else annotation)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise ValueError(f"pydantic does not know the type {annotation}") from error


@functools.lru_cache(maxsize=256)
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def expectation(annotation: Any) -> str:
    """A description of the values that a field may hold."""
    annotation = plain(annotation)
    if annotation in _WORDS:
        return _WORDS[annotation]
    if is_of(annotation, Annotated):
        return expectation(get_args(annotation)[0])
    if is_union(annotation):
        return " or ".join(map(expectation, get_args(annotation)))
    if is_of(annotation, Literal):
        return _one_of([str(member) for member in get_args(annotation)])
    if is_class(annotation, enum.Enum):
        return _one_of([str(member.value) for member in annotation])
    if is_object(annotation):
        names = ", ".join(sorted(field_names(annotation)))
        return f"one JSON object with the fields {names}" if names else "one JSON object"
    if is_list(annotation):
        item = item_type(annotation)
        return "a JSON list" if item is Any else f"a JSON list, each item {expectation(item)}"
    return str(getattr(annotation, "__name__", annotation))


def _one_of(labels: list[str]) -> str:
    listed = ", ".join(labels)
    return f"one of {listed if len(listed) <= _MOST_LABELS else listed[:_MOST_LABELS].rpartition(', ')[0] + ', ...'}"


def in_words(error: ValidationError) -> str:
    """Pydantic's first error messages, without links and numbers."""
    remarks = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False)[:3]:
        place = ".".join(map(str, problem["loc"]))
        remarks.append(f"{place}: {problem['msg']}" if place else problem["msg"])
    return "; ".join(remarks)

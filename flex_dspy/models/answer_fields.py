r"""Splits a model's answer into its output fields, and reads each by its type.

Models may leave markers out, or write them as headings or labels. They may answer in JSON although markers are asked
for, continue with an invented problem after their answer, or reason before it. The fields are found in all these cases.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Callable, Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import dspy
from pydantic.fields import FieldInfo

from flex_dspy.core.dspy_internals import annotation_allows_none, parse_value
from flex_dspy.core.examples import value_text
from flex_dspy.metrics.cleaning import begins_with_reasoning, without_reasoning
from flex_dspy.models.field_types import declared_type
from flex_dspy.models.reading import UnreadableError, read_value

Parse = Callable[[type[dspy.Signature], str], dict[str, Any]]
Marks = list[re.Match[str]]

_ANNOUNCED = re.compile(r"\\(?:boxed|fbox)\s?\{|\banswer\b", re.IGNORECASE)
_COMPLETED = "completed"
_REASONING_FIELD = "reasoning"  # of dspy.ChainOfThought
_MARKER = re.compile(
    r"^[ \t>*_`#-]{0,8}\[\[[ \t]*(#{0,4})[ \t]*(\w{1,60})[ \t]*#{0,4}[ \t]*\]\][ \t*_`:]{0,8}", re.MULTILINE
)
_LABEL = re.compile(
    r"^[ \t>*_`-]{0,8}(?P<label>\w[\w ]{0,59}?)[ \t]*(?:[*_`]{1,3}:|:[*_`]{1,3}|:)"
    r"|^#{1,6}[ \t]*(?P<heading>\w[\w ]{0,59}?)[ \t]*:?[ \t]*#*[ \t]*$",
    re.MULTILINE,
)


def find_values(own: Parse | None, signature: type[dspy.Signature], answer: str) -> dict[str, Any]:
    """The output fields in an answer, as texts; lists and objects may already be values.

    Reasoning before the first field is not part of the answer. A reasoning tag at another place may be part of a value.
    It is therefore removed only if the answer is incomplete otherwise.

    Args:
        own: The parser of the adapter in use, which is tried first; None for DSPy's chat and JSON adapters, whose forms
            this module reads more tolerantly.
        signature: The signature with the output fields.
        answer: The whole text of the model.

    Returns:
        Texts or values by field; fields that were not found are missing.
    """
    forms = [answer, without_reasoning(answer)]
    if own is None and begins_with_reasoning(answer, _beginning(signature, answer)):
        del forms[0]
    found: dict[str, Any] = {}
    for form in dict.fromkeys(forms):
        found = max(found, _find(own, signature, form), key=len)
        if found.keys() >= _target_fields(signature):
            break
    return found


def _beginning(signature: type[dspy.Signature], answer: str) -> int:
    """The position where the first field or an object begins; the end if there is neither."""
    marks = _markers(signature, answer)
    place = marks[0].start() if marks else answer.find("{")
    return place if place >= 0 else len(answer)


def _find(own: Parse | None, signature: type[dspy.Signature], answer: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    first = () if own is None else (functools.partial(_parse, own),)
    answer = _until_completed(signature, answer) if own is None else answer
    for find in (*first, _by_markers, _as_json, _by_labels, _as_a_whole):
        found = max(found, find(signature, answer), key=len)
        if found.keys() >= _target_fields(signature):
            return found
    return found | _at_the_end_of_the_reasoning(signature, found)


def read_fields(signature: type[dspy.Signature], found: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all output fields.

    If a field with a default cannot be read, it gets the default: no second request is made for it.

    Args:
        signature: The signature with the output fields.
        found: The texts or values that were found, by field.

    Raises:
        UnreadableError: If a required field is missing or cannot be read as its type; the message names each field.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, field in signature.output_fields.items():
        try:
            values[name] = _value(name, field, found)
        except UnreadableError as error:
            if (name in found and field.is_required()) or name in _mandatory_fields(signature):
                problems.append(str(error))
            else:
                values[name] = _instead(name, field)
    if problems:
        raise UnreadableError("; ".join(problems))
    return values


def _instead(name: str, field: FieldInfo) -> Any:
    """The value of an optional field that is missing in the answer."""
    if not field.is_required():
        return field.get_default(call_default_factory=True)
    if name != _REASONING_FIELD:
        return None
    return "" if field.annotation is str else dspy.Reasoning(content="")


def _value(name: str, field: FieldInfo, found: Mapping[str, Any]) -> Any:
    if name not in found:
        raise UnreadableError(f"the output field `{name}` is missing")
    kind, value = field.annotation, found[name]
    if kind is str or not isinstance(value, str):
        return value
    try:
        return parse_value(value, kind) if _is_dspy_type(kind) else _read(value, field)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"the output field `{name}` cannot be read: {error}") from error


def _read(text: str, field: FieldInfo) -> Any:
    """The value of a field. If its prompt offers fewer labels than were declared, any declared label is read."""
    try:
        return read_value(text, field.annotation, tuple(field.metadata))
    except UnreadableError:
        declared = declared_type(field)
        if declared is not None:
            with contextlib.suppress(UnreadableError):
                return read_value(text, declared, tuple(field.metadata))
        raise


def _mandatory_fields(signature: type[dspy.Signature]) -> list[str]:
    """The fields that an answer must hold: all except the reasoning and fields that have a default or may be None."""
    fields = signature.output_fields.items()
    needed = (name for name, field in fields if field.is_required() and not annotation_allows_none(field.annotation))
    return [name for name in needed if name != _REASONING_FIELD]


def _target_fields(signature: type[dspy.Signature]) -> set[str]:
    """The fields to look for: the mandatory fields, or all fields if none is mandatory."""
    return set(_mandatory_fields(signature) or signature.output_fields)


def _is_dspy_type(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, dspy.Type)


# -- ways to find the fields -------------------------------------------------------------------------------


def _parse(parse: Parse, signature: Any, answer: str) -> dict[str, Any]:
    """Find fields by an adapter's parser, first with single values as texts, then with all values as texts."""
    for texts in (_with_texts(signature, True), _with_texts(signature, False)):
        with contextlib.suppress(dspy.AdapterParseError, ValueError, RecursionError):
            return parse(texts, answer)
    return {}


def _as_json(signature: type[dspy.Signature], answer: str) -> dict[str, Any]:
    """Find fields in the only JSON object of the answer. An object that was cut short, or one of two, is not used."""
    if "{" not in answer or next(iter(_markers(signature, answer)), None) is not None:
        return {}
    try:
        values = _object(answer)
    except (UnreadableError, RecursionError):
        return {}
    known = {name: value for name, value in values.items() if name in signature.output_fields and value is not None}
    return {name: value_text(value) for name, value in known.items()}


def _object(answer: str) -> dict[str, Any]:
    """The answer itself if it is exactly a JSON object; otherwise the JSON object in it."""
    with contextlib.suppress(ValueError):
        if isinstance(values := json.loads(answer), dict):
            return values
    found: dict[str, Any] = read_value(answer, dict[str, Any])
    return found


def _markers(signature: type[dspy.Signature], answer: str) -> Marks:
    """The field markers: ``[[ ## any name ## ]]``, or ``[[name]]`` of a field only, because ``[[1]]`` is a value."""
    known = {*signature.fields, _COMPLETED}
    return [mark for mark in _MARKER.finditer(answer) if mark[1] or mark[2] in known]


def _by_markers(signature: type[dspy.Signature], answer: str) -> dict[str, str]:
    """Find fields by markers ``[[ ## field ## ]]``, in any decoration.

    An input field after all outputs begins a problem that the model invented. If a field is written twice, the last
    text counts, because the model corrected itself.
    """
    marks = _markers(signature, answer)
    return _sections(signature, answer, marks, [mark[2] for mark in marks])


def _by_labels(signature: type[dspy.Signature], answer: str) -> dict[str, str]:
    """Find fields by ``Field:`` or headings, if the answer begins with one and names each field once."""
    if _markers(signature, answer):
        return {}
    known = {name.replace("_", " ").casefold(): name for name in signature.fields}
    found = [
        (mark, (mark["label"] or mark["heading"]).replace("_", " ").casefold()) for mark in _LABEL.finditer(answer)
    ]
    marks = [(mark, known[label]) for mark, label in found if label in known]
    names = [name for _, name in marks]
    if not marks or answer[: marks[0][0].start()].strip() or len(set(names)) < len(names):
        return {}
    return _sections(signature, answer, [mark for mark, _ in marks], names)


def _as_a_whole(signature: type[dspy.Signature], answer: str) -> dict[str, str]:
    """The whole answer as the only field, if its type is a single value: a refusal would be a text too."""
    wanted = [name for name in _target_fields(signature) if name != _REASONING_FIELD]
    if len(wanted) != 1 or _markers(signature, answer) or not _is_single(signature.output_fields[wanted[0]].annotation):
        return {}
    if re.search(rf"[\"']{wanted[0]}[\"']\s?:", answer):  # the answer is an object that could not be read
        return {}
    reasons = [_REASONING_FIELD] if _REASONING_FIELD in signature.output_fields else []
    return dict.fromkeys([*reasons, *wanted], answer.strip())


def _until_completed(signature: type[dspy.Signature], answer: str) -> str:
    """The answer up to its completion marker. The text after it belongs to a problem that the model invented."""
    if _COMPLETED in signature.output_fields:
        return answer
    marks = (mark for mark in _markers(signature, answer) if mark[2] == _COMPLETED)
    end = next((mark.start() for mark in marks if answer[: mark.start()].strip()), len(answer))
    return answer[:end]


def _at_the_end_of_the_reasoning(signature: type[dspy.Signature], found: Mapping[str, Any]) -> dict[str, str]:
    """The only missing field, if the reasoning ends with its value: "Therefore the answer is 70"."""
    missing = [name for name in _mandatory_fields(signature) if name not in found]
    reasoning = found.get(_REASONING_FIELD)
    if len(missing) != 1 or not isinstance(reasoning, str):
        return {}
    end = reasoning.strip().rpartition("\n\n")[2]
    is_told = _is_single(signature.output_fields[missing[0]].annotation) and _ANNOUNCED.search(end)
    return {missing[0]: end} if is_told else {}


def _sections(signature: type[dspy.Signature], answer: str, marks: Marks, names: list[str]) -> dict[str, str]:
    """The texts between markers, by the name of the field before each text."""
    before = answer[: marks[0].start()].strip() if marks else ""
    sections = {_REASONING_FIELD: before} if before and _REASONING_FIELD in signature.output_fields else {}
    required = set(_mandatory_fields(signature))
    ends = [mark.start() for mark in marks[1:]] + [len(answer)]
    for name, mark, end in zip(names, marks, ends[: len(marks)], strict=True):
        if name in signature.input_fields and sections and sections.keys() >= required:
            break
        if name in signature.output_fields:
            sections[name] = answer[mark.end() : end].strip()
    return sections


@functools.lru_cache(maxsize=256)  # signatures are classes, so they can be cached
def _with_texts(signature: type[dspy.Signature], single_values_only: bool) -> type[dspy.Signature]:
    """A signature in which all outputs, or only the single values, are texts."""
    for name, field in signature.output_fields.items():
        kind = field.annotation
        if kind is str or _is_dspy_type(kind) or (single_values_only and not _is_single(kind)):
            continue
        signature = signature.with_updated_fields(name, str)
    return signature


def _is_single(kind: Any) -> bool:
    """Whether a type is a number, a truth value or a label, possibly optional."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return all(_is_single(part) for part in get_args(kind))
    plain = isinstance(kind, type) and issubclass(kind, int | float | bool | Enum | NoneType)
    return plain or origin is Literal

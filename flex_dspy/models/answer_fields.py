r"""Splits a model's answer into its output fields, and reads each by its type.

Models leave markers out, write them as headings or labels, answer in JSON where markers are asked for, go on with a
problem of their own behind their answer, or reason before they begin. A person finds the fields in all of these.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
from collections.abc import Callable, Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import dspy
from dspy.adapters.types.base_type import Type as DSPyType
from dspy.adapters.utils import annotation_allows_none, parse_value
from dspy.utils.exceptions import AdapterParseError
from pydantic.fields import FieldInfo

from flex_dspy.metrics.cleaning import begins_with_reasoning, without_reasoning
from flex_dspy.models.reading import UnreadableError, read_value

Parse = Callable[[type[dspy.Signature], str], dict[str, Any]]

_ANNOUNCED = re.compile(r"\\(?:boxed|fbox)\s?\{|\banswer\b", re.IGNORECASE)
_COMPLETED = "completed"
_REASONING_FIELD = "reasoning"  # of dspy.ChainOfThought
_MARKER = re.compile(
    r"^[ \t>*_`#-]{0,8}\[\[[ \t]*#{0,4}[ \t]*(\w{1,60})[ \t]*#{0,4}[ \t]*\]\][ \t*_`:]{0,8}", re.MULTILINE
)
_LABEL = re.compile(
    r"^[ \t>*_`#-]{0,8}(\w[\w ]{0,59}?)[ \t]*(?:[*_`]{1,3}:|:[*_`]{1,3}|:|#{1,4}[ \t]*$|$)", re.MULTILINE
)


def visible(answer: str) -> str:
    """An answer without the reasoning that stands before its first field; reasoning inside a field stays.

    Args:
        answer: All that a model wrote.
    """
    first = _MARKER.search(answer)
    end = first.start() if first else len(answer)
    return without_reasoning(answer) if begins_with_reasoning(answer, end) else answer


def ends_in_a_value(answer: str) -> bool:
    """Whether the last field of an answer, or the whole of one without fields, is a JSON value without its end."""
    answer = _until_completed(answer)
    last = max((marker.end() for marker in _MARKER.finditer(answer)), default=0)
    return is_cut_short(answer[last:])


def is_cut_short(text: str) -> bool:
    """Whether a value opens like JSON and does not end like it: the model ran out of tokens.

    DSPy would mend it, and half a lesson is none.
    """
    value = text.strip().strip("`").removeprefix("json").strip()
    return value.startswith(("{", "[")) and not value.endswith(("}", "]"))


def find_values(own: Parse | None, signature: type[dspy.Signature], answer: str) -> dict[str, Any]:
    """The output fields that an answer holds, as texts; lists and objects perhaps as values.

    Args:
        own: The parser of the adapter in use, which is tried first; None for DSPy's chat adapter, whose markers are
            found in looser forms here.
        signature: The fields.
        answer: The answer without reasoning.

    Returns:
        Texts or values by field; fields that were not found are missing.
    """
    answer = _until_completed(answer)
    found: dict[str, Any] = {}
    first = () if own is None else (functools.partial(_parse, own),)
    for find in (*first, _by_markers, _as_json, _by_labels, _as_a_whole):
        found = max(found, find(signature, answer), key=len)
        if found.keys() >= set(_required(signature)):
            return found
    return found | _at_the_end_of_the_reasoning(signature, found)


def read_fields(signature: type[dspy.Signature], found: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all output fields.

    A field that has a default never fails: what cannot be read there is worth no second request.

    Args:
        signature: The fields.
        found: What was found of them.

    Raises:
        UnreadableError: If a required field is missing or cannot be read as its type; it names each.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, field in signature.output_fields.items():
        try:
            values[name] = _value(name, field, found)
        except UnreadableError as error:
            if name in _required(signature):
                problems.append(str(error))
            elif name == _REASONING_FIELD:
                values[name] = ""
            else:
                values[name] = None if field.is_required() else field.get_default(call_default_factory=True)
    if problems:
        raise UnreadableError("; ".join(problems))
    return values


def _value(name: str, field: FieldInfo, found: Mapping[str, Any]) -> Any:
    if name not in found:
        raise UnreadableError(f"the output field `{name}` is missing")
    kind, value = field.annotation, found[name]
    if kind is str or not isinstance(value, str):
        return value
    try:
        return parse_value(value, kind) if _is_dspy_type(kind) else read_value(value, kind, tuple(field.metadata))
    except ValueError as error:
        raise UnreadableError(f"the output field `{name}` cannot be read: {error}") from error


def _required(signature: type[dspy.Signature]) -> list[str]:
    """The fields that an answer must hold: all but the reasoning and those that have a default or may be None."""
    fields = signature.output_fields.items()
    needed = (name for name, field in fields if field.is_required() and not annotation_allows_none(field.annotation))
    return [name for name in needed if name != _REASONING_FIELD]


def _is_dspy_type(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, DSPyType)


# -- ways to find the fields -------------------------------------------------------------------------------


def _parse(parse: Parse, signature: Any, answer: str) -> dict[str, Any]:
    """By an adapter's parser, which is given a signature in which single values, then all values, are texts."""
    for texts in (_with_texts(signature, True), _with_texts(signature, False)):
        with contextlib.suppress(AdapterParseError):
            return parse(texts, answer)
    return {}


def _as_json(signature: type[dspy.Signature], answer: str) -> dict[str, Any]:
    """As a JSON object, where markers were asked for."""
    return _parse(_JSON.parse, signature, answer) if "{" in answer and not is_cut_short(answer) else {}


def _by_markers(signature: type[dspy.Signature], answer: str) -> dict[str, str]:
    """By ``[[ ## field ## ]]``, in any decoration.

    An input field behind the outputs begins another problem of the model's own. Of a field that is written twice the
    last one counts: the model corrected itself.
    """
    return _sections(signature, answer, list(_MARKER.finditer(answer)))


def _by_labels(signature: type[dspy.Signature], answer: str) -> dict[str, str]:
    """By ``Field:`` or a heading at the beginning of a line."""
    known = {name.replace("_", " "): name for name in signature.fields}
    marks = [mark for mark in _LABEL.finditer(answer) if mark[1].replace("_", " ").casefold() in known]
    return _sections(signature, answer, marks, lambda label: known[label.replace("_", " ").casefold()])


def _as_a_whole(signature: type[dspy.Signature], answer: str) -> dict[str, str]:
    """As the one field that must be there, if its type tells an answer from other words: a refusal is a text too."""
    required = _required(signature)
    if len(required) != 1 or _MARKER.search(answer) or signature.output_fields[required[0]].annotation is str:
        return {}
    reasons = [_REASONING_FIELD] if _REASONING_FIELD in signature.output_fields else []
    return dict.fromkeys([*reasons, *required], answer.strip())


def _until_completed(answer: str) -> str:
    """An answer up to its mark of completion: what a model writes behind it belongs to another problem of its own."""
    marks = (mark for mark in _MARKER.finditer(answer) if mark[1] == _COMPLETED)
    end = next((mark.start() for mark in marks if answer[: mark.start()].strip()), len(answer))
    return answer[:end]


def _at_the_end_of_the_reasoning(signature: type[dspy.Signature], found: Mapping[str, Any]) -> dict[str, str]:
    """The one field that is missing, where the reasoning ends with it: "Therefore the answer is 70"."""
    missing = [name for name in _required(signature) if name not in found]
    reasoning = found.get(_REASONING_FIELD)
    if len(missing) != 1 or not isinstance(reasoning, str) or signature.output_fields[missing[0]].annotation is str:
        return {}
    end = reasoning.strip().rpartition("\n\n")[2]
    return {missing[0]: end} if _ANNOUNCED.search(end) else {}


def _sections(
    signature: type[dspy.Signature],
    answer: str,
    marks: list[re.Match[str]],
    field_of: Callable[[str], str] = str,
) -> dict[str, str]:
    before = answer[: marks[0].start()].strip() if marks else ""
    sections = {_REASONING_FIELD: before} if before and _REASONING_FIELD in signature.output_fields else {}
    has_begun = False
    for mark, end in itertools.zip_longest(marks, (mark.start() for mark in marks[1:])):
        name = field_of(mark[1])
        if has_begun and name in signature.input_fields:
            break
        if name in signature.output_fields:
            has_begun = True
            sections[name] = answer[mark.end() : end].strip()
    return sections


@functools.lru_cache(maxsize=256)  # a signature is a class: made once, it is described once
def _with_texts(signature: type[dspy.Signature], single_values_only: bool) -> type[dspy.Signature]:
    """The signature whose outputs are texts, or whose single values are."""
    for name, field in signature.output_fields.items():
        kind = field.annotation
        if kind is str or _is_dspy_type(kind) or (single_values_only and not _is_single(kind)):
            continue
        signature = signature.with_updated_fields(name, str)
    return signature


def _is_single(kind: Any) -> bool:
    """Whether a type is a number, a truth value, a label, or one of these or nothing."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return all(_is_single(part) for part in get_args(kind))
    plain = isinstance(kind, type) and issubclass(kind, int | float | bool | Enum | NoneType)
    return plain or origin is Literal


_JSON = dspy.JSONAdapter()

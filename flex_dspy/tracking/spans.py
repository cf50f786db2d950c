"""Reads a trace: the inputs and outputs of a request and of its steps.

DSPy's spans hold fields by name. Spans of other frameworks, which follow OpenTelemetry's conventions for generative AI,
hold lists of messages. Of these, the last answer is the output, and the messages before it are the input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dspy

from flex_dspy.core.examples import value_text
from flex_dspy.programs.steps import shorten_steps, step_line

INPUT, OUTPUT = "input", "output"  # the names of texts without a name
_STEPS = ("LLM", "CHAT_MODEL", "TOOL", "RETRIEVER")  # kinds of spans that count as a step
_MESSAGES = ("gen_ai.input.messages", "gen_ai.output.messages")


def request_fields(trace: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The inputs and outputs of a trace; empty if it has none.

    Args:
        trace: A trace of MLflow.
    """
    root = root_of(trace)
    return (inputs_of(root), outputs_of(root)) if root is not None else ({}, {})


def root_of(trace: Any) -> Any:
    """The root span of a trace; None if the trace has none yet."""
    return next((span for span in trace.data.spans if span.parent_id is None), None)


def inputs_of(span: Any) -> Mapping[str, Any]:
    """The inputs of a span, by name."""
    given = _bound(span.inputs) if span.inputs is not None else _attribute(span, _MESSAGES[0])
    messages = _messages(given)
    if not messages:
        return _fields(given, INPUT)
    told = [(role, text) for role, text in messages if role != "system"]
    if len(told) == 1:
        return {INPUT: told[0][1]}
    return {INPUT: "\n".join(f"{role}: {text}" for role, text in told)}


def outputs_of(span: Any) -> Mapping[str, Any]:
    """The outputs of a span, by name."""
    answered = span.outputs if span.outputs is not None else _attribute(span, _MESSAGES[1])
    if messages := _messages(answered):
        return {OUTPUT: messages[-1][1]}
    return _fields(answered, OUTPUT)


def _attribute(span: Any, name: str) -> Any:
    return span.attributes.get(name)


def _bound(given: Any) -> Any:
    """The arguments of a call. If a tracer stores ``args`` and ``kwargs``, only the named arguments."""
    if isinstance(given, Mapping) and given.keys() <= {"args", "kwargs"} and isinstance(given.get("kwargs"), Mapping):
        return given["kwargs"] or given
    return given


def _fields(value: Any, name: str) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return {str(key): inner for key, inner in value.items() if inner is not None}
    return {} if value in (None, "", []) else {name: value}


# -- messages ----------------------------------------------------------------------------------------------


def _messages(value: Any) -> list[tuple[str, str]]:
    """The messages in a value, each with its role; empty if it holds none."""
    if isinstance(value, Mapping):
        if "choices" in value and isinstance(value["choices"], list):
            return _messages([each.get("message", each) for each in value["choices"] if isinstance(each, Mapping)])
        if "messages" in value:
            return _messages(value["messages"])
        return [_message(value)] if _is_message(value) else []
    if not isinstance(value, list) or not value or not all(_is_message(each) for each in value):
        return []
    return [(role, text) for role, text in map(_message, value) if text]


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and "role" in value and ("content" in value or "parts" in value)


def _message(value: Mapping[str, Any]) -> tuple[str, str]:
    content = value["parts"] if "parts" in value else value["content"]
    return str(value["role"]), _content(content)


def _content(content: Any) -> str:
    """The text of a message, whose content is a text or a list of parts, such as texts and tool calls."""
    if not isinstance(content, list):
        return "" if content is None else value_text(content)
    return "\n".join(filter(None, map(_part, content)))


def _part(part: Any) -> str:
    if not isinstance(part, Mapping):
        return value_text(part)
    kind = part.get("type")
    if kind == "tool_call":
        return f"calls {part.get('name')}({value_text(part.get('arguments', ''))})"
    if kind == "tool_call_response":
        return value_text(part.get("result", part.get("response", "")))
    text = part.get("content", part.get("text"))
    return "" if text is None else value_text(text)


# -- steps -------------------------------------------------------------------------------------------------


def steps_of_trace(trace: Any, program: dspy.Module | None = None) -> tuple[str, ...]:
    """Inputs and outputs of each step, one line for each; empty if the trace has only one step.

    Args:
        trace: A trace of MLflow.
        program: The program whose predictors give the steps their names; None keeps the names of the spans.
    """
    root = root_of(trace)
    spans = sorted(trace.data.spans, key=lambda span: span.start_time_ns)
    found = [] if root is None else list(_steps_in(root, spans))
    if len(found) < 2:
        return ()
    names = _names(program)
    return shorten_steps([step_line(_name(span, names), inputs_of(span), outputs_of(span)) for span in found])


def _steps_in(parent: Any, spans: Sequence[Any]) -> Iterator[Any]:
    """The outermost steps within a span, in order."""
    for span in spans:
        if span.parent_id == parent.span_id:
            if span.span_type in _STEPS:
                yield span
            else:
                yield from _steps_in(span, spans)


def _name(span: Any, names: Mapping[str, str]) -> str:
    signature = span.attributes.get("signature")
    return names.get(str(signature), "") or str(span.name)


def _names(program: dspy.Module | None) -> Mapping[str, str]:
    """The names of a program's predictors by their signatures, if the signatures differ."""
    if program is None:
        return {}
    named = [(predictor.signature.signature, name) for name, predictor in program.named_predictors()]
    texts = [text for text, _ in named]
    return {text: name for text, name in named if texts.count(text) == 1}

"""The steps of a program: inputs and outputs of each of its predictors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dspy

from flex_dspy.core.dspy_internals import predictor_mark
from flex_dspy.core.examples import value_text
from flex_dspy.signatures.lessons import EARLIER_ATTEMPTS, LESSONS

_MAX_VALUE = 300  # characters of one input or output
_MAX_STEPS = 12  # an agent may take hundreds
# Fields that the reader knows already, or that repeat earlier steps.
_LEFT_OUT = (LESSONS, EARLIER_ATTEMPTS, "trajectory")

Call = tuple[dspy.Predict, Mapping[str, Any], dspy.Prediction]


def steps_of(program: dspy.Module, trace: Sequence[Call], answer: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """A trace as lines of text, one line for each call.

    Args:
        program: The program that was called.
        trace: DSPy's trace of the call: predictor, inputs, prediction.
        answer: The program's outputs. If they hold an agent's trajectory, the agent's calls are left out of the lines.

    Returns:
        The lines, with each value cut to 300 characters. Of more than twelve calls, the first six and the last six are
        returned. No lines if the program made only one call, because its answer is the program's answer.
    """
    if answer is not None and isinstance(answer.get("trajectory"), dict):
        trace = [call for call in trace if "next_tool_name" not in call[2]]
    if len(trace) < 2:
        return ()
    # Rollouts and dspy.BestOfN copy programs. The copies keep this mark of each predictor.
    names = {predictor_mark(predictor): name for name, predictor in program.named_predictors()}
    return shorten_steps(
        [
            step_line(names.get(predictor_mark(predictor), "a step"), given, dict(answer.items()))
            for predictor, given, answer in trace
        ]
    )


def shorten_steps(lines: Sequence[str]) -> tuple[str, ...]:
    """The lines of steps. Of more than twelve lines, the first six and the last six are returned."""
    if len(lines) <= _MAX_STEPS:
        return tuple(lines)
    half = _MAX_STEPS // 2
    return (*lines[:half], f"({len(lines) - 2 * half} steps left out)", *lines[-half:])


def step_line(name: str, given: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    """A step as one line: its name, its inputs and its outputs, each cut to 300 characters."""
    return f"{name}: {'; '.join(_fields(given))} -> {'; '.join(_fields(answer))}"


def _fields(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if name not in _LEFT_OUT:
            text = " ".join(value_text(value).split())
            yield f"{name}={text if len(text) <= _MAX_VALUE else f'{text[:_MAX_VALUE]}...'}"


def readable(name: str, value: Any) -> Any:
    """An output as the next round and the critic read it. Each tool call of ``dspy.ReAct`` becomes one line.

    Args:
        name: The output's name.
        value: The output's value. It is returned unchanged unless it is an agent's trajectory.
    """
    if name != "trajectory" or not isinstance(value, dict):
        return value

    def part(kind: str, step: int) -> str:
        words = " ".join(str(value.get(f"{kind}_{step}", "")).split())
        return words if len(words) <= _MAX_VALUE else f"{words[:_MAX_VALUE]}..."

    steps = sum(key.startswith("thought_") for key in value)
    return "\n".join(
        f"{part('thought', n)} | {part('tool_name', n)}({part('tool_args', n)}) -> {part('observation', n)}"
        for n in range(steps)
    )

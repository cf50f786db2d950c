"""Requests that a program answered in the past, each with a verdict: from traces, or from a file."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import dspy

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.examples import problem_text, value_text
from flex_dspy.core.secrets import WITHHELD, is_secret_name, mask_secrets
from flex_dspy.core.text import sound_text
from flex_dspy.core.trajectory import RELIED_ON
from flex_dspy.learning.verdicts import observation
from flex_dspy.libraries.observation import Observation

MOST_AT_ONCE = 50  # requests that are read before the first of them is learned from
NO_REMARK = "(no remark: only the right answer is known)"


@dataclass(frozen=True, slots=True)
class RatedRequest:
    """One request, its answer and its verdict. What a stranger wrote into it is data, and no instruction.

    Attributes:
        trace: Names it for good: ``mlflow:EXPERIMENT/TRACE``, or ``file:NAME#ROW``.
        inputs: What was asked, by name.
        outputs: What was answered, by name.
        score: From 0 to 1; None where there is only a remark, or only the right answer.
        feedback: Remarks.
        reference: The right answer, as text or by name; None where it is not known.
        steps: Inputs and outputs of each step, a line each.
        shown: Ids of the lessons that the program had.
    """

    trace: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    score: float | None = None
    feedback: str = ""
    reference: Any = None
    steps: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()

    def observation(self, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> Observation:
        """The request as the learner reads it, without keys and passwords.

        Args:
            inputs: Names of the program's inputs; the others are left out. One input under another name is taken for
                the only one. Empty for all that are there.
            outputs: Names of its outputs, likewise.
        """
        given = chosen(self.inputs, inputs)
        answered = {**chosen(self.outputs, outputs), **_relied_on(self.outputs)}
        reference = chosen(self.reference, outputs) if isinstance(self.reference, Mapping) else self.reference
        feedback = mask_secrets(self.feedback) or (NO_REMARK if self.score is None else "")
        seen = observation(
            without_secrets(given),
            without_secrets(answered),
            {"score": self.score, "feedback": feedback},
            self.shown,
        )
        return replace(
            seen,
            reference=_reference_text(without_secrets(reference)),
            steps=tuple(sound_text(mask_secrets(step)) for step in self.steps),
            trace=self.trace,
        )


def _relied_on(outputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The lessons that an answer says it rests on; they are an output that only a program with experience has."""
    named = outputs.get(RELIED_ON)
    return {RELIED_ON: named} if isinstance(named, list | tuple) else {}


def _reference_text(reference: Any) -> str:
    if reference is None:
        return ""
    return sound_text(problem_text(reference) if isinstance(reference, Mapping) else value_text(reference))


def chosen(values: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any]:
    """The values of these names; one value alone is that of the first name, whatever it was called.

    Args:
        values: Values by name.
        names: The names that matter; all of them, if there are none or the values have none of them.
    """
    known = {name: values[name] for name in names if name in values}
    if known or not names:
        return known or values
    return {names[0]: next(iter(values.values()))} if len(values) == 1 else values


def without_secrets(value: Any) -> Any:
    """A value without keys and passwords; a text under a secret's name is withheld.

    Args:
        value: A text, a number, or lists and mappings of them.
    """
    if isinstance(value, str):
        return mask_secrets(value)
    if isinstance(value, Mapping):
        return {
            name: WITHHELD if isinstance(inner, str) and is_secret_name(str(name), inner) else without_secrets(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(inner) for inner in value]
    return value


class RatedRequests(Protocol):
    """A place that holds rated requests, such as traces in MLflow, or a file.

    Attributes:
        name: Names the place for good, without any login.
    """

    name: str

    def look(self, known: Container[str]) -> Iterator[Sequence[RatedRequest]]:
        """The requests with a verdict that are not known yet, oldest first, some at a time.

        Args:
            known: Traces that are learned from, or will be.

        Raises:
            FlexError: If the place cannot be read.
        """

    def fetch(self, traces: Sequence[str]) -> Iterator[RatedRequest]:
        """The requests of these names, in their order; those that are gone are left out."""


def program_fields(program: dspy.Module) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of a program's inputs and outputs, where it is one predictor; empty for a program of several.

    Args:
        program: The program, before it was given experience.
    """
    signatures = [predictor.signature for _, predictor in program.named_predictors()]
    if len(signatures) != 1:
        return (), ()
    [signature] = signatures
    return tuple(signature.input_fields), tuple(signature.output_fields)


def check_score(score: float, where: str) -> float:
    """A score from 0 to 1.

    Args:
        score: The number.
        where: Where it stands.

    Raises:
        ConfigurationError: If it is outside of them.
    """
    if not 0.0 <= score <= 1.0:
        raise ConfigurationError(
            f"{where} is {score:g}, and a score is from 0 to 1: name the lowest and the highest rating, such as "
            "scale=(1, 5), or --scale 1,5"
        )
    return score


def scaled(score: float, scale: tuple[float, float] | None, where: str) -> float:
    """A rating as a score from 0 to 1.

    Args:
        score: The rating.
        scale: The lowest and the highest rating; None where they are 0 and 1.
        where: Where it stands.

    Raises:
        ConfigurationError: If it is outside of them.
    """
    if scale is None:
        return check_score(score, where)
    low, high = scale
    if not low <= score <= high:
        raise ConfigurationError(f"{where} is {score:g}, outside of the scale from {low:g} to {high:g}")
    return (score - low) / (high - low)

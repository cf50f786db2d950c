"""Rated requests: requests that a program answered in the past, each with a verdict."""

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

MOST_AT_ONCE = 50  # largest number of requests that one read returns
NO_REMARK = "(no remark: only the right answer is known)"


@dataclass(frozen=True, slots=True)
class RatedRequest:
    """One request, its answer and its verdict.

    Strangers may have written parts of it. These texts are data, never instructions.


    Attributes:
        trace: Permanent name of the request: ``mlflow:EXPERIMENT/TRACE``, or ``file:NAME#ROW``.
        inputs: The program's inputs, by name.
        outputs: The program's outputs, by name.
        score: From 0 to 1; None if there is only a remark, or only the right answer.
        feedback: Remarks on the answer.
        reference: The right answer, as text or by name; None if it is not known.
        steps: Inputs and outputs of each step, one line a step.
        shown: Ids of the lessons that the program was shown.
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
        """The request as the observation that the learner reads, without keys and passwords.

        Args:
            inputs: Names of the program's inputs. Other values are left out. If the request has a single value under
                another name, that value counts as the first input. Empty keeps all values.
            outputs: Names of the program's outputs; the same rules apply.
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
    """The lessons that an answer says it relied on. Only a program with experience has this output."""
    named = outputs.get(RELIED_ON)
    return {RELIED_ON: named} if isinstance(named, list | tuple) else {}


def _reference_text(reference: Any) -> str:
    if reference is None:
        return ""
    return sound_text(problem_text(reference) if isinstance(reference, Mapping) else value_text(reference))


def chosen(values: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any]:
    """The values of these names. A single value under another name is returned under the first name.

    Args:
        values: Values by name.
        names: The names to keep. All values are kept if ``names`` is empty, or if several values match none of the
            names.
    """
    known = {name: values[name] for name in names if name in values}
    if known or not names:
        return known or values
    return {names[0]: next(iter(values.values()))} if len(values) == 1 else values


def without_secrets(value: Any) -> Any:
    """A copy of a value without keys and passwords. A text under the name of a secret is withheld.

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
        name: Permanent name of the place, without user name and password.
    """

    name: str

    def look(self, known: Container[str]) -> Iterator[Sequence[RatedRequest]]:
        """Yield the requests with a verdict that are not known yet, oldest first, in groups.

        Args:
            known: Names of the requests that were learned from, or are queued for it.

        Raises:
            FlexError: If the place cannot be read.
        """

    def fetch(self, traces: Sequence[str]) -> Iterator[RatedRequest]:
        """The requests of these names, in this order. Requests that no longer exist are left out."""


def program_fields(program: dspy.Module) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of a program's inputs and outputs. Both are empty unless the program has exactly one predictor.

    Args:
        program: The program, before ``equip`` gave it experience.
    """
    signatures = [predictor.signature for _, predictor in program.named_predictors()]
    if len(signatures) != 1:
        return (), ()
    [signature] = signatures
    return tuple(signature.input_fields), tuple(signature.output_fields)


def check_score(score: float, where: str) -> float:
    """Return the score if it is from 0 to 1.

    Args:
        score: The number.
        where: The place of the number, for the error message.

    Raises:
        ConfigurationError: If the number is outside the range.
    """
    if not 0.0 <= score <= 1.0:
        raise ConfigurationError(
            f"{where} is {score:g}, and a score is from 0 to 1: name the lowest and the highest rating, such as "
            "scale=(1, 5), or --scale 1,5"
        )
    return score


def scaled(score: float, scale: tuple[float, float] | None, where: str) -> float:
    """Convert a rating to a score from 0 to 1.

    Args:
        score: The rating.
        scale: The lowest and the highest rating; None stands for 0 and 1.
        where: The place of the number, for the error message.

    Raises:
        ConfigurationError: If the number is outside the range.
    """
    if scale is None:
        return check_score(score, where)
    low, high = scale
    if not low <= score <= high:
        raise ConfigurationError(f"{where} is {score:g}, outside of the scale from {low:g} to {high:g}")
    return (score - low) / (high - low)

"""Calls a metric of any form, and keeps the reference answer out of its feedback."""

from __future__ import annotations

import inspect
import math
import re
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import dspy

from flex_dspy.core.errors import ConfigurationError, DataError
from flex_dspy.core.running import run_in_thread, run_sync
from flex_dspy.core.secrets import error_text
from flex_dspy.core.trajectory import Feedback

Metric = Callable[..., Any]
Normalize = Callable[[str], str | None]

WITHHELD = "[withheld]"

# Errors that are the metric's own fault, whatever the answer was.
_FAULTS = (ImportError, NotImplementedError)


ACCURACY = "accuracy"
_NAME = "score_name"


def named_score(name: str) -> Callable[[Metric], Metric]:
    """Decorator: the name of a graded metric's score, such as ``|Spearman|``. Without it a score is an accuracy.

    Args:
        name: The name, for reports.
    """

    def name_it(metric: Metric) -> Metric:
        setattr(metric, _NAME, name)
        return metric

    return name_it


def name_of_score(metric: Metric) -> str:
    """The name of a metric's score: ``accuracy``, or the one that ``named_score`` gave."""
    return str(getattr(metric, _NAME, ACCURACY))


def measure_name(name: str, score: str) -> str:
    """The name of a measurement with the score's own name in it.

    Example:
        >>> measure_name("accuracy_low", "|Spearman|"), measure_name("errors", "|Spearman|")
        ('|Spearman|_low', 'errors')
    """
    return re.sub(rf"\b{ACCURACY}(?=$|_)|(?<=baseline_){ACCURACY}$", lambda _: score, name)


def score(metric: Metric, example: dspy.Example, prediction: dspy.Prediction) -> Feedback:
    """The metric's verdict.

    Args:
        metric: Takes ``(example, prediction)``, and as many of ``trace``, ``pred_name`` and ``pred_trace`` as have no
            default: those are None. It returns a number, a bool, or something with ``score`` and perhaps
            ``feedback`` and ``accepted`` (its own word on success, where no one threshold will do), as fields or as
            attributes. It may be a ``dspy.Module``, and asynchronous.
        example: The example.
        prediction: The program's prediction.

    Raises:
        ConfigurationError: If the metric cannot be called so, returns something else, or is not finished.
        ValueError: If its score is infinite or no number.
    """
    verdict = _call_metric(metric, example, prediction)
    if inspect.isawaitable(verdict):
        verdict = run_sync(_result_of(verdict))
    return _feedback(metric, verdict)


async def ascore(metric: Metric, example: dspy.Example, prediction: dspy.Prediction) -> Feedback:
    """Asynchronous version of ``score``. A synchronous metric runs on a thread: it may ask a model or run tests."""
    verdict = await run_in_thread(_call_metric, metric, example, prediction)
    return _feedback(metric, await verdict if inspect.isawaitable(verdict) else verdict)


def failure_feedback(metric: Metric, error: Exception) -> Feedback:
    """The verdict on an answer that the metric failed on: 0, with the error for feedback.

    Source: GEPA's adapters (``gepa/core/adapter.py``), where an example's failure is its score and feedback.
    """
    said = f"The answer could not be judged: {_name(metric)} raised {error_text(error)}"
    return Feedback(0.0, said, failed=True)


def lacks_reference(error: Exception, example: dspy.Example) -> bool:
    """Whether a metric failed because the example does not hold what it compares answers with.

    Then the example itself raised the error, at a field that it lacks; the project's own metrics say it by a DataError.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    looked_up = bool(frames) and frames[-1].f_locals.get("self") is example
    return isinstance(error, DataError) or (looked_up and isinstance(error, AttributeError | KeyError))


def _call_metric(metric: Metric, example: dspy.Example, prediction: dspy.Prediction) -> Any:
    """The value that the metric returns.

    Raises:
        ConfigurationError: If it cannot be called so, or is not finished.
    """
    if not callable(metric):
        raise ConfigurationError(f"a metric is a function or a module, got {metric!r}")
    arguments = [example, prediction, None, None, None][: _arity(metric)]
    try:
        if isinstance(metric, dspy.Module) and not hasattr(type(metric), "forward"):
            return metric.acall(*arguments)
        return metric(*arguments)
    except _FAULTS as error:
        raise ConfigurationError(f"metric {_name(metric)!r} does not work: {type(error).__name__}: {error}") from error
    except NameError as error:
        if isinstance(error, UnboundLocalError):  # that may be one answer's doing
            raise
        raise ConfigurationError(f"metric {_name(metric)!r} does not work: {error}") from error


async def _result_of(verdict: Awaitable[Any]) -> Any:
    return await verdict


def _feedback(metric: Metric, verdict: Any) -> Feedback:
    """The value of a metric as ``Feedback``."""
    points: Any = verdict
    text: Any = ""
    accepted: Any = None
    try:
        if isinstance(verdict, dspy.Prediction | dict):
            points, text, accepted = verdict["score"], verdict.get("feedback"), verdict.get("accepted")
        elif hasattr(verdict, "score"):
            points, text = verdict.score, getattr(verdict, "feedback", "")
            accepted = getattr(verdict, "accepted", None)
        if isinstance(points, str):
            raise TypeError
        number = float(points)
    except (KeyError, TypeError, ValueError):
        raise ConfigurationError(
            f"metric {_name(metric)!r} returned {type(verdict).__name__}: "
            "it must return a number, a bool, or dspy.Prediction(score=..., feedback=...)"
        ) from None
    if not math.isfinite(number):
        raise ValueError(f"metric {_name(metric)!r} returned {number}: a score must be a finite number")
    accepted = None if accepted is None else bool(accepted)
    return Feedback(number, "" if text is None else str(text), accepted=accepted)


def _arity(metric: Metric) -> int:
    """How many of (example, prediction, trace, pred_name, pred_trace) the metric must be given.

    No more: in DSPy's own ``answer_exact_match`` the fourth parameter is none of these.

    Raises:
        ConfigurationError: If it takes fewer than two or needs more than five.
    """
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = _signature(metric)
    if signature is None:
        return 2
    parameters = signature.parameters.values()
    needed = sum(parameter.kind in kinds and parameter.default is parameter.empty for parameter in parameters)
    arity = max(needed, 2)
    try:
        signature.bind(*[None] * arity)
    except TypeError:
        arity = 6
    if arity > 5:
        raise ConfigurationError(
            f"metric {_name(metric)!r} takes {signature}: it must take (example, prediction), "
            "(example, prediction, trace) or (example, prediction, trace, pred_name, pred_trace)"
        )
    return arity


def _signature(metric: Metric) -> inspect.Signature | None:
    """A metric's parameters: of a ``dspy.Module`` those of ``forward``; None for built-in functions that hide them."""
    if isinstance(metric, dspy.Module):
        kind = type(metric)
        forward = inspect.signature(getattr(kind, "forward", None) or kind.aforward)
        return forward.replace(parameters=list(forward.parameters.values())[1:])
    try:
        return inspect.signature(metric)
    except ValueError:
        return None


def _name(metric: Metric) -> str:
    return str(getattr(metric, "__name__", type(metric).__name__))


def _fold_case(text: str) -> str | None:
    return text.strip(".,;:!?()[]{}\"'`*$").casefold() or None


def redact(text: str, reference: str, seen: str, normalize: Normalize | None = None) -> tuple[str, bool]:
    """Take the reference answer, whole or in parts, out of a text that the actor will read.

    Args:
        text: The feedback.
        reference: The reference answer; for molecules its dot-separated parts count as well.
        seen: The attempt: what it says itself need not be withheld.
        normalize: Gives one form to all ways of writing an answer, and None to what is no answer.

    Returns:
        The text, and whether anything was taken out.
    """
    normal = normalize or _fold_case
    answers = _answers(reference)
    secrets = {normal(part) for answer in answers for part in [answer, *_parts(answer)]} - {None}
    secrets -= {normal(part) for part in [seen, *_parts(seen)]}
    if not secrets:
        return text, False
    pieces = re.split(r"(\s+)", text)
    result = "".join(WITHHELD if _is_secret(piece, secrets, normal) else piece for piece in pieces)
    for answer in answers:
        if normal(answer) in secrets:
            result = re.sub(_spelling_pattern(answer), WITHHELD, result)
    return result, result != text


def _spelling_pattern(answer: str) -> str:
    """A pattern for an answer inside other text; a whole number counts among letters too, and with leading zeros."""
    if re.fullmatch(r"\d+", answer):
        return rf"(?<!\d)(?<!\d[.,])0*{answer}(?!\d)(?![.,]\d)"
    return rf"(?<!\w){re.escape(answer)}(?!\w)"


def _answers(reference: str) -> list[str]:
    """The reference; where it has several fields (``name: value`` lines), the value of each."""
    fields = [re.fullmatch(r"\w+: (.+)", line) for line in reference.splitlines()]
    return [found[1] for found in fields if found] if len(fields) > 1 and all(fields) else [reference]


def _parts(answer: str) -> list[str]:
    return [part for part in re.split(r"[.\s]+", answer) if len(part) > 3]


def _is_secret(piece: str, secrets: set[str | None], normal: Normalize) -> bool:
    bare = piece.strip(".,;:!?\"'`*$")
    spellings = [*_without_brackets(bare), *_parts(bare)] if bare else []
    return any(normal(spelling) in secrets for spelling in spellings)


def _without_brackets(bare: str) -> list[str]:
    """A word without some of the brackets at its ends: those of the sentence, and not those of a SMILES."""
    opening = min(len(bare) - len(bare.lstrip("([{")), 3)
    closing = min(len(bare) - len(bare.rstrip(")]}")), 3)
    some = [bare[i : len(bare) - j] for i in range(opening + 1) for j in range(closing + 1)]
    return [*filter(None, some), bare.strip("()[]{}")]

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

# Errors that are the metric's own fault for every answer.
_FAULTS = (ImportError, NotImplementedError)


ACCURACY = "accuracy"
_NAME = "score_name"


def named_score(name: str) -> Callable[[Metric], Metric]:
    """Decorator: names the score of a graded metric, such as ``|Spearman|``. Without a name, a score is an accuracy.

    Args:
        name: The name, for reports.
    """

    def name_it(metric: Metric) -> Metric:
        setattr(metric, _NAME, name)
        return metric

    return name_it


def name_of_score(metric: Metric) -> str:
    """Name of a metric's score: ``accuracy``, or the name given with ``named_score``."""
    return str(getattr(metric, _NAME, ACCURACY))


def measure_name(name: str, score: str) -> str:
    """Name of a measurement in which ``accuracy`` is replaced by the score's name.

    Example:
        >>> measure_name("accuracy_low", "|Spearman|"), measure_name("errors", "|Spearman|")
        ('|Spearman|_low', 'errors')
    """
    return re.sub(rf"\b{ACCURACY}(?=$|_)|(?<=baseline_){ACCURACY}$", lambda _: score, name)


def score(metric: Metric, example: dspy.Example, prediction: dspy.Prediction) -> Feedback:
    """Call the metric and return its verdict.

    Args:
        metric: Takes ``(example, prediction)``. If ``trace``, ``pred_name`` or ``pred_trace`` have no default, they are
            given as None. It returns a number, a bool, or an object or dict with ``score`` and optionally
            ``feedback`` and ``accepted`` (its own decision on success, if one threshold does not fit all examples). It
            may be a ``dspy.Module``, and asynchronous.
        example: The example.
        prediction: The program's prediction.

    Raises:
        ConfigurationError: If the metric cannot be called like this, returns something else, or is not implemented.
        ValueError: If its score is infinite or not a number.
    """
    verdict = _call_metric(metric, example, prediction)
    if inspect.isawaitable(verdict):
        verdict = run_sync(_result_of(verdict))
    return _feedback(metric, verdict)


async def ascore(metric: Metric, example: dspy.Example, prediction: dspy.Prediction) -> Feedback:
    """Asynchronous version of ``score``. A synchronous metric runs on a thread, because it may be slow."""
    verdict = await run_in_thread(_call_metric, metric, example, prediction)
    return _feedback(metric, await verdict if inspect.isawaitable(verdict) else verdict)


def failure_feedback(metric: Metric, error: Exception) -> Feedback:
    """Verdict on an answer on which the metric failed: score 0, with the error as feedback.

    Source: GEPA's adapters (``gepa/core/adapter.py``), where an example's failure is its score and feedback.
    """
    said = f"The answer could not be judged: {_name(metric)} raised {error_text(error)}"
    return Feedback(0.0, said, failed=True)


def lacks_reference(error: Exception, example: dspy.Example) -> bool:
    """Whether a metric failed because the example lacks the reference.

    Then the example raised the error for a missing field. The project's own metrics raise a DataError instead.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    looked_up = bool(frames) and frames[-1].f_locals.get("self") is example
    return isinstance(error, DataError) or (looked_up and isinstance(error, AttributeError | KeyError))


def _call_metric(metric: Metric, example: dspy.Example, prediction: dspy.Prediction) -> Any:
    """Call the metric and return its value.

    Raises:
        ConfigurationError: If the metric cannot be called like this, or is not implemented.
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
        if isinstance(error, UnboundLocalError):  # one answer may have caused it
            raise
        raise ConfigurationError(f"metric {_name(metric)!r} does not work: {error}") from error


async def _result_of(verdict: Awaitable[Any]) -> Any:
    return await verdict


def _feedback(metric: Metric, verdict: Any) -> Feedback:
    """Convert the value of a metric to ``Feedback``."""
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
    """Number of arguments among (example, prediction, trace, pred_name, pred_trace) that the metric requires.

    Optional parameters do not count, because the fourth one of DSPy's ``answer_exact_match`` has another meaning.

    Raises:
        ConfigurationError: If the metric takes fewer than two or needs more than five arguments.
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
    """Signature of a metric: for a ``dspy.Module`` that of ``forward``; None for built-in functions without one."""
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
    """Remove the reference answer and its parts from a text that the actor will read.

    Args:
        text: The feedback.
        reference: The reference answer. For molecules, its dot-separated parts are removed too.
        seen: The attempt. Parts of the answer that it already contains are not removed.
        normalize: Returns the normal form of an answer, or None if the text is not an answer.

    Returns:
        The text, and whether anything was removed.
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
    """Pattern for finding an answer in a text. A whole number is also found next to letters and with leading zeros."""
    if re.fullmatch(r"\d+", answer):
        return rf"(?<!\d)(?<!\d[.,])0*{answer}(?!\d)(?![.,]\d)"
    return rf"(?<!\w){re.escape(answer)}(?!\w)"


def _answers(reference: str) -> list[str]:
    """Answers in the reference: the reference itself, or the value of each of its lines ``name: value``."""
    fields = [re.fullmatch(r"\w+: (.+)", line) for line in reference.splitlines()]
    return [found[1] for found in fields if found] if len(fields) > 1 and all(fields) else [reference]


def _parts(answer: str) -> list[str]:
    return [part for part in re.split(r"[.\s]+", answer) if len(part) > 3]


def _is_secret(piece: str, secrets: set[str | None], normal: Normalize) -> bool:
    bare = piece.strip(".,;:!?\"'`*$")
    spellings = [*_without_brackets(bare), *_parts(bare)] if bare else []
    return any(normal(spelling) in secrets for spelling in spellings)


def _without_brackets(bare: str) -> list[str]:
    """Variants of a word without brackets at its ends, which may belong to the sentence and not to a SMILES."""
    opening = min(len(bare) - len(bare.lstrip("([{")), 3)
    closing = min(len(bare) - len(bare.rstrip(")]}")), 3)
    some = [bare[i : len(bare) - j] for i in range(opening + 1) for j in range(closing + 1)]
    return [*filter(None, some), bare.strip("()[]{}")]

"""Asking a metric, whatever form it has, and keeping the reference answer out of what it says."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import dspy

from flex_dspy.errors import ConfigurationError
from flex_dspy.trajectory import Feedback

Metric = Callable[..., Any]
Normalize = Callable[[str], str | None]

WITHHELD = "[withheld]"


def score(metric: Metric, example: dspy.Example, prediction: dspy.Prediction) -> Feedback:
    """The metric's verdict.

    Args:
        metric: Takes ``(example, prediction)``, with a third ``trace`` argument, or GEPA's five; returns a number,
            a bool, or something with ``score`` and ``feedback``.
        example: The example.
        prediction: The program's prediction.

    Raises:
        ConfigurationError: If the metric returns something else.
    """
    verdict = metric(*[example, prediction, None, None, None][: _arity(metric)])
    explained = isinstance(verdict, dspy.Prediction | dict)
    try:
        points, text = (verdict["score"], verdict.get("feedback")) if explained else (verdict, "")
        return Feedback(float(points), str(text or ""))
    except (KeyError, TypeError, ValueError):
        raise ConfigurationError(
            f"metric {getattr(metric, '__name__', metric)!r} returned {type(verdict).__name__}: "
            "it must return a number, a bool, or dspy.Prediction(score=..., feedback=...)"
        ) from None


def _arity(metric: Metric) -> int:
    """How many of (example, prediction, trace, pred_name, pred_trace) the metric takes."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(metric).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return 5
    return min(sum(parameter.kind in kinds for parameter in parameters), 5)


def _folded(text: str) -> str | None:
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
    normal = normalize or _folded
    answers = _answers(reference)
    secrets = {normal(part) for answer in answers for part in [answer, *_parts(answer)]} - {None}
    secrets -= {normal(part) for part in [seen, *_parts(seen)]}
    if not secrets:
        return text, False
    pieces = re.split(r"(\s+)", text)
    result = "".join(WITHHELD if _is_secret(piece, secrets, normal) else piece for piece in pieces)
    for answer in answers:
        if normal(answer) in secrets:
            result = re.sub(_spelled(answer), WITHHELD, result)
    return result, result != text


def _spelled(answer: str) -> str:
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
    spellings = [*_unbracketed(bare), *_parts(bare)] if bare else []
    return any(normal(spelling) in secrets for spelling in spellings)


def _unbracketed(bare: str) -> list[str]:
    """A word without some of the brackets at its ends: those of the sentence, and not those of a SMILES."""
    opening = min(len(bare) - len(bare.lstrip("([{")), 3)
    closing = min(len(bare) - len(bare.rstrip(")]}")), 3)
    some = [bare[i : len(bare) - j] for i in range(opening + 1) for j in range(closing + 1)]
    return [*filter(None, some), bare.strip("()[]{}")]

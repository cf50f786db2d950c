"""Reads the assessments of traces as verdicts, and writes the scores of an evaluation as assessments.

An assessment is a feedback (a score, a yes or no, a remark) or an expectation (the right answer). It comes from a
person, from a model that judges, or from code. If a trace has feedback from several kinds of sources, only that of
persons counts; without it that of judges, and otherwise that of code.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.examples import value_text
from flex_dspy.core.secrets import mask_secrets
from flex_dspy.learning.rated_requests import scaled
from flex_dspy.tracking.mlflow_store import brief, check_sqlite, resolve_uri

if TYPE_CHECKING:
    from flex_dspy.evaluation.evaluation import Evaluation

logger = logging.getLogger(__name__)

OURS = "flex-dspy"  # the source of the assessments that evaluations write
_ORDER = ("HUMAN", "LLM_JUDGE", "AI_JUDGE", "CODE")
_YES = {"yes", "true", "pass", "passed", "correct", "right", "good", "positive", "up", "thumbs up", "👍"}
_NO = {"no", "false", "fail", "failed", "incorrect", "wrong", "bad", "negative", "down", "thumbs down", "👎"}


@dataclass(frozen=True, slots=True)
class Assessed:
    """The verdict of a trace's assessments.

    Attributes:
        score: From 0 to 1; None if there is no score.
        feedback: Remarks, one on each line.
        reference: The right answer, if one was written down.
    """

    score: float | None = None
    feedback: str = ""
    reference: Any = None

    def __bool__(self) -> bool:
        return self.score is not None or bool(self.feedback) or self.reference is not None


def read_assessments(
    assessments: Iterable[Any], name: str | None = None, scale: tuple[float, float] | None = None
) -> Assessed:
    """The verdict of assessments, without those that failed, were replaced, or come from this package.

    Args:
        assessments: The assessments of one trace, of MLflow's types.
        name: Name of the feedback that counts; None for all.
        scale: The lowest and the highest rating; None if they are 0 and 1.

    Raises:
        ConfigurationError: If a rating lies outside of the scale.
    """
    valid = [each for each in assessments if each.valid is not False and each.source.source_id != OURS]
    feedbacks = [each for each in valid if each.feedback is not None and not each.feedback.error]
    counted = _of_best_source([each for each in feedbacks if name in (None, each.name)])
    scores = [score for each in counted if (score := _score(each, scale)) is not None]
    expected = [each.expectation.value for each in valid if each.expectation is not None]
    return Assessed(
        fmean(scores) if scores else None,
        "\n".join(filter(None, (_remark(each, len(counted)) for each in counted))),
        expected[-1] if expected else None,
    )


def _of_best_source(feedbacks: Sequence[Any]) -> Sequence[Any]:
    for kind in _ORDER:
        found = [each for each in feedbacks if each.source.source_type == kind]
        if found:
            return found
    return feedbacks


def _score(assessment: Any, scale: tuple[float, float] | None) -> float | None:
    """A feedback's value as a score; None for a text that is neither yes nor no."""
    value = assessment.feedback.value
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float):
        return scaled(float(value), scale, f"assessment {assessment.name!r}")
    word = _word(value)
    return 1.0 if word in _YES else 0.0 if word in _NO else None


def _word(value: Any) -> str:
    return re.sub(r"[\s_-]+", " ", value).strip().lower() if isinstance(value, str) else ""


def _remark(assessment: Any, count: int) -> str:
    """The words of a feedback, with its name if there are several."""
    value = assessment.feedback.value
    is_score = isinstance(value, int | float) or _word(value) in _YES | _NO
    said = [] if is_score or value is None else [value_text(value)]
    text = " ".join([*said, assessment.rationale or ""]).strip()
    return f"{assessment.name}: {text}" if text and count > 1 else text


# -- writing -----------------------------------------------------------------------------------------------


def log_assessments(
    evaluation: Evaluation,
    traces: Mapping[str, str],
    *,
    version: str,
    tracking_uri: str | None = None,
) -> int:
    """Write an evaluation's scores as feedback on the traces of its examples. If the store fails, log a warning.

    The source of each feedback is code; its value is the score, and its rationale is the metric's remark. If the scores
    of the same version are written again, nothing is added.

    Args:
        evaluation: The evaluation.
        traces: Names of traces (``mlflow:EXPERIMENT/TRACE``) by example id; see ``TraceRequests.by_example``.
        version: The measured version: ``NAME/3``, or a library's hash.
        tracking_uri: The tracking store; None for MLflow's own choice.

    Returns:
        Number of scores that were written.
    """
    uri, written = "", 0
    try:
        uri = resolve_uri(tracking_uri)
        check_sqlite(uri)
        client = _tracing_client(uri)
        for record in evaluation.records:
            trace = traces.get(record.example_id)
            if trace is not None and not record.error:
                written += _write(client, trace.rpartition("/")[2], record, version)
    except Exception as error:  # the numbers are printed and recorded anyway
        logger.warning("MLflow did not take all assessments. %s", brief(error, uri))
    return written


def _tracing_client(uri: str) -> Any:
    """MLflow's tracing client, because the usual client can read assessments but not write them."""
    from mlflow.tracing.client import TracingClient

    return TracingClient(uri)


def _write(client: Any, trace_id: str, record: Any, version: str) -> bool:
    from mlflow.entities import AssessmentSource, Feedback

    known = client.get_trace(trace_id).info.assessments
    if any(each.name == version and each.source.source_id == OURS for each in known):
        return False
    feedback = Feedback(
        name=version,
        value=record.score,
        rationale=mask_secrets(record.feedback) or None,
        source=AssessmentSource("CODE", OURS),
        metadata={"example": record.example_id, "sample": str(record.sample)},
    )
    client.log_assessment(trace_id, feedback)
    return True


def check_scale(scale: tuple[float, float] | None) -> None:
    """Refuse a scale whose highest rating is not above its lowest.

    Raises:
        ConfigurationError: If the highest rating is not above the lowest.
    """
    if scale is not None and not scale[0] < scale[1]:
        low, high = scale
        raise ConfigurationError(f"a scale goes from the lowest to the highest rating, not from {low:g} to {high:g}")

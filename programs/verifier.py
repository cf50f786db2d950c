"""The verifier: the metric decides, the model explains."""

from __future__ import annotations

import logging
from typing import Any

import dspy

from flex_dspy.core.running import aask_shortening, ask_shortening, unreadable
from flex_dspy.core.scoring import Normalize, redact
from flex_dspy.core.shortening import shorter_attempt
from flex_dspy.core.trajectory import Feedback
from flex_dspy.programs.predict import RolePredict
from flex_dspy.signatures.lessons import without
from flex_dspy.signatures.verifier import VerifyAttempt

logger = logging.getLogger(__name__)


class Verifier(dspy.Module):
    """Accepts an attempt, or gives feedback that does not contain the reference answer.

    If a measurement accepts the attempt, no model is called. If it rejects the attempt, the model only explains, and
    gives no verdict. If there is no measurement, the model judges the attempt itself. Unknown values have no field in
    the prompt. If the model's answer cannot be read, the measurement's own remarks are the feedback.

    Args:
        threshold: Least score that counts as success, in the metric's own unit. It is below 1 for a graded metric.
        normalize: See ``flex_dspy.core.scoring.redact``.
    """

    def __init__(self, threshold: float = 1.0, normalize: Normalize | None = None) -> None:
        super().__init__()
        self.threshold = threshold
        self.normalize = normalize
        self.verify = RolePredict(VerifyAttempt)

    def forward(
        self, problem: str, attempt: str, measured: Feedback | None = None, reference: str = "", task: str = ""
    ) -> dspy.Prediction:
        """Judge one attempt.

        Args:
            problem: The problem's text.
            attempt: The answer, with reasoning if there is some.
            measured: The metric's verdict; None if there is none.
            reference: The reference answer.
            task: The description of the task; see ``flex_dspy.programs.task_description``.

        Returns:
            A prediction with ``accepted``, ``feedback`` and ``redacted``.

        Raises:
            AdapterParseError: If no verdict could be read, and there is no measurement.
        """
        if measured is not None and self.passes(measured):
            return dspy.Prediction(accepted=True, feedback=measured.text, redacted=False)
        inputs = self._inputs(measured, problem=problem, reference=reference, task=task)
        try:
            verdict = ask_shortening(self.verify, "attempt", shorter_attempt(attempt), **inputs)
        except dspy.DSPyError as error:
            verdict = _use_metric_alone(measured, error)
        return self._judge(verdict, attempt, measured, reference)

    async def aforward(
        self, problem: str, attempt: str, measured: Feedback | None = None, reference: str = "", task: str = ""
    ) -> dspy.Prediction:
        """Asynchronous version of ``forward``."""
        if measured is not None and self.passes(measured):
            return dspy.Prediction(accepted=True, feedback=measured.text, redacted=False)
        inputs = self._inputs(measured, problem=problem, reference=reference, task=task)
        try:
            verdict = await aask_shortening(self.verify.acall, "attempt", shorter_attempt(attempt), **inputs)
        except dspy.DSPyError as error:
            verdict = _use_metric_alone(measured, error)
        return self._judge(verdict, attempt, measured, reference)

    def passes(self, measured: Feedback) -> bool:
        """Whether a measurement makes an answer a success.

        Args:
            measured: The metric's verdict. If it says itself whether the answer is accepted, the threshold does not
                count.
        """
        enough = measured.score >= self.threshold if measured.accepted is None else measured.accepted
        return enough and not measured.failed

    def _inputs(self, measured: Feedback | None, **texts: str) -> dict[str, Any]:
        """The inputs of the prompt.

        A missing value has no field, because a model could read an empty field as a verdict.
        """
        if measured is not None:
            texts["measured"] = f"rejected (score {measured.score:g}). {measured.text}".strip()
        given = {name: text for name, text in texts.items() if text}
        missing = tuple(name for name in ("task", "measured", "reference") if name not in given)
        decided = ("accepted",) if measured is not None else ()
        return {**given, "signature": without(self.verify.signature, missing + decided)}

    def _judge(
        self, verdict: dspy.Prediction, attempt: str, measured: Feedback | None, reference: str
    ) -> dspy.Prediction:
        accepted = bool(verdict.accepted) if measured is None else False
        feedback, redacted = redact(str(verdict.feedback), reference, attempt, self.normalize)
        return dspy.Prediction(accepted=accepted, feedback=feedback, redacted=redacted)


def _use_metric_alone(measured: Feedback | None, error: dspy.DSPyError) -> dspy.Prediction:
    """The verdict from the metric's own remarks, if the model's verdict could not be read."""
    if measured is None or not unreadable(error):
        raise error
    logger.warning("the metric's remarks stand alone, as no verdict of the verifier could be read")
    return dspy.Prediction(accepted=False, feedback=measured.text or "The answer is not right.")

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
    """Accepts an attempt, or sends feedback that does not hold the reference answer.

    Where an exact measurement accepts the attempt, no model is asked. Where it rejects the attempt, the model explains,
    and is not asked for a verdict. Where there is none, the model judges by the work itself. The prompt has no field
    for a value that is not known. Where no answer of the model can be read, the measurement's own remarks are the
    feedback.

    Args:
        threshold: Least score that counts as success: below 1 for a graded metric, in the metric's own unit.
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
            attempt: The answer, with reasoning where there is some.
            measured: The metric's verdict, where it has one.
            reference: The reference answer.
            task: The description of the task; see ``flex_dspy.programs.task_description``.

        Returns:
            A prediction with ``accepted``, ``feedback`` and ``redacted``.

        Raises:
            AdapterParseError: If no verdict could be read, and nothing was measured.
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
            measured: The metric's verdict; its own word on success goes before the threshold.
        """
        enough = measured.score >= self.threshold if measured.accepted is None else measured.accepted
        return enough and not measured.failed

    def _inputs(self, measured: Feedback | None, **texts: str) -> dict[str, Any]:
        """The inputs of the prompt. An empty field could be taken for a verdict, so a missing value has no field."""
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
    """The metric's own remarks, where the model gave no verdict that can be read."""
    if measured is None or not unreadable(error):
        raise error
    logger.warning("the metric's remarks stand alone, as no verdict of the verifier could be read")
    return dspy.Prediction(accepted=False, feedback=measured.text or "The answer is not right.")

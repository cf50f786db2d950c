"""The verifier: the metric decides, the model explains."""

from __future__ import annotations

import dspy

from flex_dspy.scoring import Normalize, redact
from flex_dspy.signatures.verifier import VerifyAttempt
from flex_dspy.trajectory import Feedback


class Verifier(dspy.Module):
    """Accepts an attempt, or sends feedback that does not hold the reference answer.

    Where an exact measurement accepts the attempt, no model is asked.

    Args:
        threshold: Least score that counts as success.
        normalize: See ``flex_dspy.scoring.redact``.
    """

    def __init__(self, threshold: float = 1.0, normalize: Normalize | None = None) -> None:
        super().__init__()
        self.threshold = threshold
        self.normalize = normalize
        self.verify = dspy.Predict(VerifyAttempt)

    def forward(
        self, problem: str, attempt: str, measured: Feedback | None = None, reference: str = ""
    ) -> dspy.Prediction:
        """Judge one attempt.

        Args:
            problem: The problem's text.
            attempt: The answer, with reasoning where there is some.
            measured: The metric's verdict, where there is a reference answer.
            reference: The reference answer.

        Returns:
            A prediction with ``accepted``, ``feedback`` and ``redacted``.
        """
        if measured is not None and measured.score >= self.threshold:
            return dspy.Prediction(accepted=True, feedback=measured.text, redacted=False)
        verdict = self.verify(problem=problem, attempt=attempt, measured=self._remarks(measured), reference=reference)
        return self._judged(verdict, attempt, measured, reference)

    async def aforward(
        self, problem: str, attempt: str, measured: Feedback | None = None, reference: str = ""
    ) -> dspy.Prediction:
        """The same, asynchronously."""
        if measured is not None and measured.score >= self.threshold:
            return dspy.Prediction(accepted=True, feedback=measured.text, redacted=False)
        verdict = await self.verify.acall(
            problem=problem, attempt=attempt, measured=self._remarks(measured), reference=reference
        )
        return self._judged(verdict, attempt, measured, reference)

    def _remarks(self, measured: Feedback | None) -> str:
        return f"rejected (score {measured.score:g}). {measured.text}".strip() if measured else ""

    def _judged(
        self, verdict: dspy.Prediction, attempt: str, measured: Feedback | None, reference: str
    ) -> dspy.Prediction:
        accepted = bool(verdict.accepted) if measured is None else False
        feedback, redacted = redact(str(verdict.feedback), reference, attempt, self.normalize)
        return dspy.Prediction(accepted=accepted, feedback=feedback, redacted=redacted)

"""The critic: one finished rollout in, one experience out."""

from __future__ import annotations

from typing import Any

import dspy

from flex_dspy.experience import Experience, Precedent, Rule, Zone
from flex_dspy.signatures.critic import (
    DistilFailure,
    DistilRecovery,
    DistilSuccess,
    Lesson,
    StudyWorkedAnswer,
)
from flex_dspy.trajectory import Trajectory


class Critic(dspy.Module):
    """Distils an experience from a rollout, or from a worked answer alone.

    Success, failure, recovery and study have a predictor each, so that each can be tuned on its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.golden = dspy.Predict(DistilSuccess)
        self.warning = dspy.Predict(DistilFailure)
        self.mixed = dspy.Predict(DistilRecovery)
        self.study = dspy.Predict(StudyWorkedAnswer)

    def forward(self, precedent: Precedent, trajectory: Trajectory | None = None) -> dspy.Prediction:
        """Distil.

        Args:
            precedent: The example: its id, problem and reference answer.
            trajectory: The rollout; None to study the reference answer without one.

        Returns:
            A prediction with ``experience``.
        """
        predictor, inputs, zone = self._prepared(precedent, trajectory)
        return _experience(predictor(**inputs).lesson, zone, precedent)

    async def aforward(self, precedent: Precedent, trajectory: Trajectory | None = None) -> dspy.Prediction:
        """The same, asynchronously."""
        predictor, inputs, zone = self._prepared(precedent, trajectory)
        written = await predictor.acall(**inputs)
        return _experience(written.lesson, zone, precedent)

    def _prepared(
        self, precedent: Precedent, trajectory: Trajectory | None
    ) -> tuple[dspy.Predict, dict[str, Any], Zone]:
        inputs = {"problem": precedent.problem, "reference": precedent.answer}
        if trajectory is None:
            return self.study, inputs, "golden"
        predictors: dict[Zone, dspy.Predict] = {
            "golden": self.golden,
            "warning": self.warning,
            "mixed": self.mixed,
        }
        return predictors[trajectory.zone], {**inputs, "attempts": trajectory.text()}, trajectory.zone


def _experience(lesson: Lesson, zone: Zone, precedent: Precedent) -> dspy.Prediction:
    return dspy.Prediction(
        experience=Experience(
            zone=zone,
            method=lesson.method,
            rules=tuple(Rule(rule.text, tuple(rule.examples)) for rule in lesson.rules),
            trajectory=lesson.trajectory,
            category=lesson.category,
            priority=lesson.priority,
            precedents=(precedent,),
        ).capped()
    )

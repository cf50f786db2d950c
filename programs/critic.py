"""The critic: one finished rollout in, one experience out."""

from __future__ import annotations

import dspy

from flex_dspy.libraries.experience import Experience, Precedent, Rule, Zone
from flex_dspy.rollouts import ResamplingPredict
from flex_dspy.running import aask_shortening, ask_shortening
from flex_dspy.shortening import shorter_attempts
from flex_dspy.signatures.critic import (
    DistilFailure,
    DistilRecovery,
    DistilSuccess,
    Lesson,
    StudyWorkedAnswer,
)
from flex_dspy.trajectory import Trajectory

NOT_KNOWN = "(not known)"


class Critic(dspy.Module):
    """Distils an experience from a rollout, or from a worked answer alone.

    Success, failure, recovery and study have a predictor each, so that each can be tuned on its own. Where the prompt
    is too long for the model, long reasoning is cut, and then the rounds between the first and the last are left out.

    DSPy's optimizers tune it by ``flex_dspy.measuring.teaching.LessonMetric``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.golden = ResamplingPredict(DistilSuccess)
        self.warning = ResamplingPredict(DistilFailure)
        self.mixed = ResamplingPredict(DistilRecovery)
        self.study = ResamplingPredict(StudyWorkedAnswer)

    def forward(self, precedent: Precedent, trajectory: Trajectory | None = None) -> dspy.Prediction:
        """Distil.

        Args:
            precedent: The example: its id, problem and reference answer, "" where that is not known.
            trajectory: The rollout; None to study the reference answer without one.

        Returns:
            A prediction with ``experience``.
        """
        inputs = _inputs(precedent)
        if trajectory is None:
            return _experience(self.study(**inputs).lesson, "golden", precedent)
        written = ask_shortening(self._of(trajectory), "attempts", shorter_attempts(trajectory), **inputs)
        return _experience(written.lesson, trajectory.zone, precedent)

    async def aforward(self, precedent: Precedent, trajectory: Trajectory | None = None) -> dspy.Prediction:
        """The same, asynchronously."""
        inputs = _inputs(precedent)
        if trajectory is None:
            return _experience((await self.study.acall(**inputs)).lesson, "golden", precedent)
        ask = self._of(trajectory).acall
        written = await aask_shortening(ask, "attempts", shorter_attempts(trajectory), **inputs)
        return _experience(written.lesson, trajectory.zone, precedent)

    def _of(self, trajectory: Trajectory) -> dspy.Predict:
        predictors: dict[Zone, dspy.Predict] = {
            "golden": self.golden,
            "warning": self.warning,
            "mixed": self.mixed,
        }
        return predictors[trajectory.zone]


def _inputs(precedent: Precedent) -> dict[str, str]:
    return {"problem": precedent.problem, "reference": precedent.answer or NOT_KNOWN}


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

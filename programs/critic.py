"""The critic: distils one experience from one finished rollout."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import dspy

from flex_dspy.core.running import aask_shortening, ask_shortening
from flex_dspy.core.shortening import shorter_attempts
from flex_dspy.core.text import sound
from flex_dspy.core.trajectory import Trajectory
from flex_dspy.core.zones import Zone
from flex_dspy.libraries.experience import Experience, Precedent, Rule
from flex_dspy.libraries.hits import Hit
from flex_dspy.programs.predict import RolePredict
from flex_dspy.search.rendering import render
from flex_dspy.signatures.critic import (
    DistilFailure,
    DistilRecovery,
    DistilSuccess,
    Lesson,
    StudyWorkedAnswer,
    is_copied,
    lesson_with,
    without_examples,
)
from flex_dspy.signatures.lessons import without

NOT_KNOWN = "(not known)"
MOST_SHOWN = 8  # lessons of the actor; the lessons that it relied on come first
SHOWN_TOKENS = 2_000


class Critic(dspy.Module):
    """Distils an experience from a rollout, or from a worked answer alone.

    Success, failure, recovery and study have one predictor each, so that each can be tuned separately. If the prompt is
    too long for the model, long reasoning is cut first. Then the rounds between the first and the last are left out. If
    a lesson repeats an example of the instructions, the model is called again without the examples.

    DSPy's optimizers tune it by ``flex_dspy.evaluation.teaching.LessonMetric``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.golden = RolePredict(DistilSuccess)
        self.warning = RolePredict(DistilFailure)
        self.mixed = RolePredict(DistilRecovery)
        self.study = RolePredict(StudyWorkedAnswer)

    def forward(
        self,
        precedent: Precedent,
        trajectory: Trajectory | None = None,
        *,
        task: str = "",
        shown: Sequence[Experience] = (),
        steps: Collection[str] = (),
    ) -> dspy.Prediction:
        """Distil a rollout, or a worked answer, into an experience.

        Args:
            precedent: The example: its id, problem and reference answer. The answer is "" if it is not known.
            trajectory: The rollout; None to study the reference answer without a rollout.
            task: The description of the task; see ``flex_dspy.programs.task_description``.
            shown: The lessons that the actor was shown.
            steps: Names of the program's predictors if it has several. The lesson then names the predictor that it is
                for.

        Returns:
            A prediction with ``experience`` and ``corrects``. The latter is the id of the shown lesson that the new
            lesson corrects, or "".
        """
        predictor, inputs = self._request(precedent, trajectory, task=task, shown=shown, steps=steps)
        lesson = self._write(predictor, trajectory, inputs)
        if is_copied(lesson):
            lesson = self._write(predictor, trajectory, _without_examples(inputs))
        return _make_experience(lesson, precedent, trajectory, shown, steps)

    async def aforward(
        self,
        precedent: Precedent,
        trajectory: Trajectory | None = None,
        *,
        task: str = "",
        shown: Sequence[Experience] = (),
        steps: Collection[str] = (),
    ) -> dspy.Prediction:
        """Asynchronous version of ``forward``."""
        predictor, inputs = self._request(precedent, trajectory, task=task, shown=shown, steps=steps)
        lesson = await self._awrite(predictor, trajectory, inputs)
        if is_copied(lesson):
            lesson = await self._awrite(predictor, trajectory, _without_examples(inputs))
        return _make_experience(lesson, precedent, trajectory, shown, steps)

    def _write(self, predictor: dspy.Predict, trajectory: Trajectory | None, inputs: dict[str, Any]) -> Lesson:
        if trajectory is None:
            written = predictor(**inputs)
        else:
            written = ask_shortening(predictor, "attempts", shorter_attempts(trajectory), **inputs)
        lesson: Lesson = written.lesson
        return lesson

    async def _awrite(self, predictor: dspy.Predict, trajectory: Trajectory | None, inputs: dict[str, Any]) -> Lesson:
        if trajectory is None:
            written = await predictor.acall(**inputs)
        else:
            written = await aask_shortening(predictor.acall, "attempts", shorter_attempts(trajectory), **inputs)
        lesson: Lesson = written.lesson
        return lesson

    def _request(
        self,
        precedent: Precedent,
        trajectory: Trajectory | None,
        *,
        task: str,
        shown: Sequence[Experience],
        steps: Collection[str],
    ) -> tuple[dspy.Predict, dict[str, Any]]:
        """The predictor, and its inputs without the attempts. Unknown values have no field in the prompt."""
        predictor = self.study if trajectory is None else self._of(trajectory.zone)
        given = {"task": task, "lessons_shown": "" if trajectory is None else _lessons_shown(shown, trajectory)}
        given = {name: text for name, text in given.items() if text}
        signature = without(predictor.signature, tuple({"task", "lessons_shown"} - given.keys()))
        further = [*(["corrects"] if "lessons_shown" in given else []), *(["step"] if len(steps) > 1 else [])]
        if further:
            signature = signature.with_updated_fields("lesson", lesson_with(*further))
        problem = {"problem": precedent.problem, "reference": precedent.answer or NOT_KNOWN}
        return predictor, {**problem, **given, "signature": signature}

    def _of(self, zone: Zone) -> dspy.Predict:
        predictors: dict[Zone, dspy.Predict] = {
            "golden": self.golden,
            "warning": self.warning,
            "mixed": self.mixed,
        }
        return predictors[zone]


def _without_examples(inputs: dict[str, Any]) -> dict[str, Any]:
    return {**inputs, "signature": without_examples(inputs["signature"])}


def _lessons_shown(shown: Sequence[Experience], trajectory: Trajectory) -> str:
    """The lessons that the actor was shown; "" for none. The lessons that it says it relied on come first."""
    if not shown:
        return ""
    relied_on = trajectory.relied_on
    order = sorted(shown, key=lambda entry: entry.id not in relied_on)
    hits = [Hit(entry, 0.0) for entry in order[:MOST_SHOWN]]
    ids = ", ".join(entry.id for entry in order if entry.id in relied_on)
    return f"{render(hits, SHOWN_TOKENS, ('method', 'rules'))}\nRelied on: {ids or 'none of them, as the author says'}"


def _make_experience(
    lesson: Lesson,
    precedent: Precedent,
    trajectory: Trajectory | None,
    shown: Sequence[Experience],
    steps: Collection[str],
) -> dspy.Prediction:
    lesson = sound(lesson)  # its texts go into a file, and into other prompts
    step, corrects = getattr(lesson, "step", "").strip(), getattr(lesson, "corrects", "").strip()
    experience = Experience(
        zone="golden" if trajectory is None else trajectory.zone,
        method=lesson.method,
        rules=tuple(Rule(rule.text, tuple(rule.examples)) for rule in lesson.rules),
        trajectory=lesson.trajectory,
        category=lesson.category,
        priority=lesson.priority,
        precedents=(precedent,),
        step=step if step in steps else "",
    ).within_caps()
    known = any(entry.id == corrects for entry in shown)
    return dspy.Prediction(experience=experience, corrects=corrects if known else "")

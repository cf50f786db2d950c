"""Rejection sampling: makes rollouts with several rounds until an attempt is accepted."""

from __future__ import annotations

import functools
import logging
from typing import Any

import dspy

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.examples import problem_of, problem_text, reference_of, value_text
from flex_dspy.core.running import aask_shortening, call, raise_if_systemic, run_sync, select_inputs, takes
from flex_dspy.core.scoring import Metric, ascore, failure_feedback, lacks_reference
from flex_dspy.core.secrets import error_text
from flex_dspy.core.shortening import shorter_attempts
from flex_dspy.core.text import sound
from flex_dspy.core.trajectory import UNVERIFIED, Feedback, Round, Trajectory
from flex_dspy.models.adapter import reading_answers
from flex_dspy.models.failures import is_outage
from flex_dspy.models.rollouts import ROUND, variant
from flex_dspy.models.spending import charge_to
from flex_dspy.programs.actor import Actor
from flex_dspy.programs.experienced import ExperiencedPredict, tell_attempts
from flex_dspy.programs.predict import NO_ATTEMPTS
from flex_dspy.programs.steps import Call, readable, steps_of
from flex_dspy.programs.task_description import describe_task
from flex_dspy.programs.verifier import Verifier
from flex_dspy.signatures.lessons import EARLIER_ATTEMPTS

logger = logging.getLogger(__name__)

# Outputs that show how an answer was found, and are not part of the answer.
WORKINGS = ("reasoning", "trajectory", "experiences_used")
_MAX_CALLS = 1_000  # calls of one attempt that are remembered
MAX_UNJUDGED = 20  # failures after which a metric that has judged no attempt yet is an error


class RejectionSampling(dspy.Module):
    """Tries a problem in up to ``max_rollouts`` rollouts of up to ``max_rounds`` rounds; stops at an accepted attempt.

    Each rollout is an independent sample. If a program cannot read its earlier attempts, each round is an independent
    sample too. If earlier attempts make the prompt too long for the model, they are shortened.

    Args:
        actor: Any program. A program that takes ``earlier_attempts`` (as ``Actor`` does), or that is equipped with
            experience, reads its rejected answers. For another program every round is a fresh try.
        verifier: Judges attempts and explains its verdict.
        metric: Decides whether an attempt is accepted. Some metrics need no reference answer. The verifier decides if
            there is no metric, or if the metric fails because the example has no reference answer.
        max_rounds: Rounds a rollout.
        max_rollouts: Rollouts a problem.

    Source: the exploration of FLEX, arXiv 2511.06449, section 3.
    """

    def __init__(
        self,
        actor: dspy.Module,
        verifier: Verifier | None = None,
        *,
        metric: Metric | None = None,
        max_rounds: int = 5,
        max_rollouts: int = 3,
    ) -> None:
        super().__init__()
        if min(max_rounds, max_rollouts) < 1:
            raise ConfigurationError("max_rounds and max_rollouts must be at least 1")
        self.actor = actor
        self.verifier = verifier or Verifier()
        self.metric = metric
        self.max_rounds = max_rounds
        self.max_rollouts = max_rollouts
        self._is_metric_sound, self._unjudged = False, 0

    def forward(self, example: dspy.Example) -> dspy.Prediction:
        """See ``aforward``."""
        return run_sync(self.acall(example=example))

    async def aforward(self, example: dspy.Example) -> dspy.Prediction:
        """Attempt one example.

        Args:
            example: Inputs, and the reference answer if there is one.

        Returns:
            A prediction with ``trajectories`` (every rollout), ``accepted``, ``outputs`` (of the accepted attempt, else
            of the last one), and ``answer``. The latter is the accepted answer as text, to learn from if no reference
            answer is known. It is marked as not verified unless the metric accepted it. It is "" if no answer was
            accepted.
        """
        trajectories: list[Trajectory] = []
        for rollout in range(self.max_rollouts):
            trajectories.append(await self._rollout(example, rollout))
            if trajectories[-1].solved:
                break
        rounds = [round_ for trajectory in trajectories for round_ in trajectory.rounds]
        outputs = dict(rounds[-1].outputs) if rounds else {}
        accepted = trajectories[-1].solved
        return dspy.Prediction(
            trajectories=trajectories,
            accepted=accepted,
            outputs=outputs,
            answer=_answer_to_learn(rounds[-1]) if accepted else "",
        )

    async def _rollout(self, example: dspy.Example, rollout: int) -> Trajectory:
        rounds: list[Round] = []
        try:
            while len(rounds) < self.max_rounds and not (rounds and rounds[-1].accepted):
                rounds.append(await self._round(example, rollout, rounds))
        except Exception as error:  # an unreadable answer or a server's error ends only this rollout
            raise_if_systemic(error)
            logger.info("a rollout ended early: %s", error_text(error))
            return Trajectory(tuple(rounds), error=error_text(error)[:500], outage=is_outage(error))
        return Trajectory(tuple(rounds))

    async def _round(self, example: dspy.Example, rollout: int, rounds: list[Round]) -> Round:
        problem = problem_of(example)
        prediction, steps = await self._attempt(example, rollout, rounds)
        reference = reference_of(example, prediction.keys())
        outputs = {name: readable(name, sound(value)) for name, value in prediction.items()}
        attempt = "\n".join(f"{name}: {value_text(value)}" for name, value in outputs.items() if _says_something(value))
        with charge_to("verifier"):
            measured = await self._measure(example, prediction, reference)
            told = select_inputs(self.verifier, task=describe_task(self.actor))
            verdict = await call(
                self.verifier, problem=problem, attempt=attempt, measured=measured, reference=reference, **told
            )
        return Round(
            outputs=outputs,
            score=measured.score if measured else None,
            accepted=verdict.accepted,
            feedback=verdict.feedback,
            redacted=bool(verdict.get("redacted")),
            steps=steps,
        )

    async def _measure(self, example: dspy.Example, prediction: dspy.Prediction, reference: str) -> Feedback | None:
        """The metric's verdict; None if there is no metric, or if it needs a missing reference answer."""
        if self.metric is None:
            return None
        try:
            measured = await ascore(self.metric, example, prediction)
        except Exception as error:  # an error on one attempt, which then scores 0
            raise_if_systemic(error)
            if not reference and lacks_reference(error, example):
                return None
            self._count_unjudged(error)
            return failure_feedback(self.metric, error)
        self._is_metric_sound = True
        return measured

    def _count_unjudged(self, error: Exception) -> None:
        """Count a failure of the metric. If it fails on all of the first attempts, the metric itself is at fault.

        Raises:
            ConfigurationError: If the metric failed on each of the first ``MAX_UNJUDGED`` attempts.
        """
        logger.warning("the metric failed on an attempt: %s", error_text(error))
        self._unjudged += 1
        if self._unjudged >= MAX_UNJUDGED and not self._is_metric_sound:
            raise ConfigurationError(
                f"the metric failed on each of the first {MAX_UNJUDGED} attempts; the last time with "
                f"{error_text(error)}. Try it on one example: metric(example, prediction)"
            )

    async def _attempt(
        self, example: dspy.Example, rollout: int, rounds: list[Round]
    ) -> tuple[dspy.Prediction, tuple[str, ...]]:
        """An answer, and the steps that led to it if the program has several."""
        calls: list[Call] = []
        with dspy.context(trace=calls, max_trace_size=_MAX_CALLS):
            prediction = await self._answer(dict(example.inputs()), rollout, rounds)
        # An actor's own steps are among its outputs.
        return prediction, () if isinstance(self.actor, Actor) else steps_of(self.actor, calls, prediction)

    async def _answer(self, inputs: dict[str, Any], rollout: int, rounds: list[Round]) -> dspy.Prediction:
        """The next answer of a rollout. The program reads its earlier attempts if it can, else this is a fresh try."""
        earlier = shorter_attempts(Trajectory(tuple(rounds))) if rounds else [NO_ATTEMPTS]
        if takes(self.actor, EARLIER_ATTEMPTS):
            return await aask_shortening(functools.partial(self._sample, rollout), EARLIER_ATTEMPTS, earlier, **inputs)
        if not any(self.actor.named_sub_modules(ExperiencedPredict)):
            return await self._sample(rollout + ROUND * len(rounds), **inputs)

        async def ask(earlier_attempts: str, **inputs: Any) -> dspy.Prediction:
            with tell_attempts(earlier_attempts if rounds else ""):
                return await self._sample(rollout, **inputs)

        return await aask_shortening(ask, EARLIER_ATTEMPTS, earlier, **inputs)

    async def _sample(self, sample: int, /, **inputs: Any) -> dspy.Prediction:
        """One independent sample."""
        with reading_answers():
            return await call(variant(self.actor, sample), **inputs)


def _says_something(value: Any) -> bool:
    return value is not None and value not in ("", [], (), {})


def _answer_to_learn(accepted: Round) -> str:
    answer = problem_text({name: value for name, value in accepted.outputs.items() if name not in WORKINGS})
    return f"{answer} {UNVERIFIED}" if accepted.score is None else answer

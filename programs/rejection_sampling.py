"""Rejection sampling: rollouts of rounds, until an attempt is accepted."""

from __future__ import annotations

import logging
from typing import Any

import dspy

from flex_dspy.errors import ConfigurationError
from flex_dspy.examples import problem_of, reference_of
from flex_dspy.programs.actor import NO_ATTEMPTS
from flex_dspy.programs.verifier import Verifier
from flex_dspy.running import call, raise_if_systemic, run_sync
from flex_dspy.scoring import Metric, score
from flex_dspy.trajectory import Feedback, Round, Trajectory

logger = logging.getLogger(__name__)


class RejectionSampling(dspy.Module):
    """Tries a problem up to ``max_rollouts`` times, each of up to ``max_rounds`` rounds; stops at acceptance.

    Args:
        actor: Any program; where it takes ``earlier_attempts`` (as ``Actor`` does) it is told of its rejected
            answers, else every round is a fresh try.
        verifier: Judges and explains.
        metric: Decides, where the example has a reference answer; None leaves the decision to the verifier.
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

    def forward(self, example: dspy.Example) -> dspy.Prediction:
        """See ``aforward``."""
        return run_sync(self.acall(example=example))

    async def aforward(self, example: dspy.Example) -> dspy.Prediction:
        """Attempt one example.

        Args:
            example: Inputs, and the reference answer where there is one.

        Returns:
            A prediction with ``trajectories`` (every rollout), ``accepted``, and ``outputs``: the accepted
            attempt's, else the last one's.
        """
        trajectories: list[Trajectory] = []
        for rollout in range(self.max_rollouts):
            trajectories.append(await self._rollout(example, rollout))
            if trajectories[-1].solved:
                break
        rounds = [round_ for trajectory in trajectories for round_ in trajectory.rounds]
        return dspy.Prediction(
            trajectories=trajectories,
            accepted=trajectories[-1].solved,
            outputs=dict(rounds[-1].outputs) if rounds else {},
        )

    async def _rollout(self, example: dspy.Example, rollout: int) -> Trajectory:
        rounds: list[Round] = []
        try:
            while len(rounds) < self.max_rounds and not (rounds and rounds[-1].accepted):
                rounds.append(await self._round(example, rollout, rounds))
        except Exception as error:  # no answer in the format, a server that gave up: the rollout's failure
            raise_if_systemic(error)
            logger.info("a rollout ended early: %s", error)
            return Trajectory(tuple(rounds), error=f"{type(error).__name__}: {str(error)[:500]}")
        return Trajectory(tuple(rounds))

    async def _round(self, example: dspy.Example, rollout: int, rounds: list[Round]) -> Round:
        problem = problem_of(example)
        prediction = await call(self.actor, **self._inputs(example, rollout, rounds))
        reference = reference_of(example, prediction.keys())
        measured: Feedback | None = None
        if self.metric is not None and reference:
            measured = score(self.metric, example, prediction)
        outputs = dict(prediction.items())
        attempt = "\n".join(f"{name}: {value}" for name, value in outputs.items())
        verdict = await self.verifier.acall(problem=problem, attempt=attempt, measured=measured, reference=reference)
        return Round(
            outputs=outputs,
            score=measured.score if measured else None,
            accepted=verdict.accepted,
            feedback=verdict.feedback,
            redacted=verdict.redacted,
        )

    def _inputs(self, example: dspy.Example, rollout: int, rounds: list[Round]) -> dict[str, Any]:
        inputs: dict[str, Any] = dict(example.inputs())
        if hasattr(self.actor, "attempt"):
            inputs["earlier_attempts"] = Trajectory(tuple(rounds)).text() or NO_ATTEMPTS
            if rollout:  # another rollout is another sample, not the first one from a cache
                inputs["config"] = {"rollout_id": rollout, "temperature": 1.0}
        return inputs

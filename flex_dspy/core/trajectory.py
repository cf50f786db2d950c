"""The record of one rollout: its rounds, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flex_dspy.core.examples import value_text
from flex_dspy.core.representations import Representable
from flex_dspy.core.zones import Zone

RELIED_ON = "experiences_used"  # the output in which an actor names the experiences that it relied on
UNVERIFIED = "(not verified: the verifier accepted it, and nothing else did)"  # after an answer without a score


@dataclass(frozen=True, slots=True)
class Round:
    """One attempt and the verifier's feedback.

    Attributes:
        outputs: The actor's output fields.
        score: The metric's score, or None where the verifier decided.
        accepted: Whether the attempt was accepted.
        feedback: The text that the actor reads.
        redacted: Whether the reference answer was removed from the feedback.
        steps: Inputs and outputs of each step of a program with several steps, one line for each.
    """

    outputs: Mapping[str, Any]
    score: float | None
    accepted: bool
    feedback: str
    redacted: bool = False
    steps: tuple[str, ...] = ()

    def text(self, number: int) -> str:
        """Text of the round for the next round or the critic."""
        lines = [f"Attempt {number}:", *(f"  step {step}" for step in self.steps)]
        lines += [
            f"  {name}: {value_text(value)}" for name, value in self.outputs.items() if value not in (None, "", [])
        ]
        lines.append(f"  verdict: {'accepted' if self.accepted else 'rejected'}")
        if self.score not in (None, 0.0, 1.0):  # the verdict already says 0 or 1
            lines.append(f"  score: {self.score:.4g}")
        lines.append(f"  feedback: {self.feedback}")
        if self.redacted:
            lines.append("  (the right answer was taken out of this feedback)")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Trajectory(Representable):
    """One finished rollout.

    Attributes:
        rounds: Rounds in order.
        error: The error that ended the rollout, if any. A failed rollout is recorded as data and does not stop the run.
        outage: Whether the error was an unreachable model, and not the model's answer.
    """

    rounds: tuple[Round, ...] = ()
    error: str = ""
    outage: bool = False

    @property
    def solved(self) -> bool:
        """Whether the last attempt was accepted."""
        return bool(self.rounds) and self.rounds[-1].accepted

    @property
    def zone(self) -> Zone:
        """The zone of its experience: golden if solved at once, mixed if solved after a failure, else warning."""
        if not self.solved:
            return "warning"
        return "golden" if len(self.rounds) == 1 else "mixed"

    @property
    def relied_on(self) -> frozenset[str]:
        """Ids of the lessons that its attempts say they relied on."""
        named = (round_.outputs.get(RELIED_ON) for round_ in self.rounds)
        return frozenset(str(entry_id) for ids in named if isinstance(ids, list | tuple) for entry_id in ids)

    def text(self) -> str:
        """Text of all rounds."""
        return "\n".join(round_.text(number) for number, round_ in enumerate(self.rounds, start=1))


@dataclass(frozen=True, slots=True)
class Feedback:
    """A metric's verdict on one prediction.

    Attributes:
        score: The score; 0 if the metric failed.
        text: The metric's remarks on the answer.
        failed: Whether the metric could not judge the answer. The answer then never counts as a success.
        accepted: The metric's own decision on success; None uses the threshold.
    """

    score: float
    text: str = ""
    failed: bool = False
    accepted: bool | None = None

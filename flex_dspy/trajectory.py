"""The record of one rollout: its rounds, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flex_dspy.libraries.experience import Zone


@dataclass(frozen=True, slots=True)
class Round:
    """One attempt and the verifier's feedback.

    Attributes:
        outputs: The actor's output fields.
        score: The metric's score, or None where the verifier decided.
        accepted: Whether the attempt was accepted.
        feedback: What the actor is told.
        redacted: The feedback held the reference answer, which was taken out.
    """

    outputs: Mapping[str, Any]
    score: float | None
    accepted: bool
    feedback: str
    redacted: bool = False

    def text(self, number: int) -> str:
        """The round as the next round, or the critic, reads it."""
        lines = [f"Attempt {number}:"]
        lines += [f"  {name}: {value}" for name, value in self.outputs.items() if value not in (None, "", [])]
        lines += [f"  verdict: {'accepted' if self.accepted else 'rejected'}", f"  feedback: {self.feedback}"]
        if self.redacted:
            lines.append("  (the right answer was taken out of this feedback)")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One finished rollout.

    Attributes:
        rounds: Its rounds, in order.
        error: What broke the rollout off, if anything did: a bad rollout is data, not a crash.
    """

    rounds: tuple[Round, ...] = ()
    error: str = ""

    @property
    def solved(self) -> bool:
        """Whether the last attempt was accepted."""
        return bool(self.rounds) and self.rounds[-1].accepted

    @property
    def zone(self) -> Zone:
        """What the rollout teaches: golden at once, mixed after failure, warning never."""
        if not self.solved:
            return "warning"
        return "golden" if len(self.rounds) == 1 else "mixed"

    def text(self) -> str:
        """All rounds."""
        return "\n".join(round_.text(number) for number, round_ in enumerate(self.rounds, start=1))


@dataclass(frozen=True, slots=True)
class Feedback:
    """A metric's verdict on one prediction."""

    score: float
    text: str = field(default="")

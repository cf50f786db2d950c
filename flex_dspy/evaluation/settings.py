"""Settings of evaluations and of valuing a library's entries."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from flex_dspy.core.settings import Settings

HOPELESS = 10  # so many failures in a row without one success are not the examples' fault
SOLVED = 1.0  # the score from which a sample counts as right
LEAST_BUDGET = 4  # program calls: one pair of trials, and as many to see which entries are shown


class MeasuringSettings(Settings):
    """Settings of everything that runs a program on examples and scores it."""

    concurrency: int = Field(default=16, ge=1)
    """Most program calls at once. It changes speed, never the result."""

    progress: bool | None = True
    """Whether to show a progress bar; None shows it in a terminal alone."""

    allow_overlap: bool = False
    """Measure even on examples that the library was learned from."""


class EvaluationSettings(MeasuringSettings):
    """Settings of one evaluation."""

    samples: int = 1
    """Independent samples of each example, at least one."""

    role: str = "actor"
    """The role that the ledger charges tokens to."""

    label: str = "evaluating"
    """Text beside the progress bar."""

    max_failures: int = Field(default=HOPELESS, ge=1)
    """Give up when the first so many examples all fail."""


class ValuationSettings(MeasuringSettings):
    """Settings of measuring the value of a library's entries."""

    budget: int
    """Most program calls. A call may ask models several times; answers from DSPy's cache are free."""

    seed: int = 0
    """Fixes the coins and the choice of examples."""

    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Confidence of each interval."""

    threshold: float = 0.0
    """The effect that matters: calls go to the entries of which it is unclear on which side they are."""

    @field_validator("budget")
    @classmethod
    def _check_budget(cls, budget: Any) -> Any:
        if budget < LEAST_BUDGET:
            raise ValueError(f"a budget of {LEAST_BUDGET} calls is the least, got {budget}")
        return budget

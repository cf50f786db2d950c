"""Settings of evaluations, of valuing a library's entries, of pruning and of sets for the roles that teach."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from flex_dspy.core.settings import Settings

HOPELESS = 10  # this number of failures in a row, without a success, is a general fault, not one of the examples
SOLVED = 1.0  # the score from which a sample counts as right
LEAST_BUDGET = 4  # program calls: two for a pair of trials, two to find out which entries are shown


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


class PruningSettings(Settings):
    """Rules by which entries are taken out of a library."""

    min_value: float = 0.0
    """The effect below which an entry is not worth its place."""

    confidence: float = Field(default=0.95, gt=0, lt=1)
    """One less the share of innocent entries among those removed by value."""

    stale_after: int | None = Field(default=None, ge=1)
    """Take out entries neither shown nor changed within so many examples; None takes out none."""

    redundancy: float | None = Field(default=None, gt=0, le=1)
    """Take out entries that another one repeats: the share of common words from which two texts say the same, such as
    0.8; None takes out none."""

    keep_pinned: bool = True
    """Whether pinned entries stay. Only a person should say no."""


class RolloutSettings(Settings):
    """Settings of the rollouts that a critic's training set is made from."""

    max_rounds: int = Field(default=5, ge=1)
    """Most rounds of a rollout."""

    max_rollouts: int = Field(default=3, ge=1)
    """Most rollouts of a problem; each that finished is an example."""

    concurrency: int = Field(default=16, ge=1)
    """Most problems under way at once."""

    progress: bool = True
    """Whether to show a progress bar."""

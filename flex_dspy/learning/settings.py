"""Settings of learning: names, defaults, checks and help texts."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from flex_dspy.core.scopes import Scope
from flex_dspy.core.settings import Settings


class LearningSettings(Settings):
    """Settings of ``ForwardLearning``."""

    max_rounds: int = Field(5, ge=1)
    """Rounds a rollout: an attempt and the verifier's feedback each."""
    max_rollouts: int = Field(3, ge=1)
    """Rollouts an example; the first accepted attempt ends them."""
    epochs: int = Field(1, ge=1)
    """Passes over the training set, each in an order of its own."""
    concurrency: int = Field(16, ge=1)
    """Most examples under way at once. It changes speed, never the result."""
    window: int = Field(32, ge=1)
    """Staleness bound: example i sees the library after the edits of example i - window, or of the last version if that
    is newer. Larger windows keep more models busy."""
    checkpoint_every: int | None = Field(None, ge=1)
    """Publish a version every so many examples. None spreads six versions evenly on a log scale, from 50 examples (a
    quarter of all if there are fewer than 200) to all; with 50 examples or fewer it publishes the last one alone."""
    study: bool = False
    """Skip the attempts, and learn from the reference answers alone."""
    lessons_from: Literal["all", "failures"] = "all"
    """Rollouts to write lessons from. ``failures`` keeps an example that is solved at the first attempt as a precedent
    without a lesson. It costs no request of critic and updater; ``tally`` and ``demonstrations`` bring it back."""
    review: bool = False
    """Let every lesson wait for a person's approval. Nothing that actors are shown changes before it."""
    reference: bool = True
    """Use reference answers to learn. False hides them: the verifier alone decides, and lessons are marked as not
    verified. The metric then measures validation examples only."""
    retry_failed: bool = True
    """Attempt examples again that failed in an earlier call. Measure versions again that were measured with errors."""
    seed: int = 0
    """Fixes the order of the examples."""
    threshold: float | None = None
    """Least score that counts as success, for a graded metric; None for 1. A verifier has its own."""
    progress: bool = True
    """Show progress bars."""
    scope: Scope = ""
    """Whom the lessons will belong to: a tenant, user, agent or team; empty for all. The program must read it."""
    allow_overlap: bool = False
    """Measure even on validation examples that are learned from."""

    @model_validator(mode="after")
    def _check_study(self) -> Self:
        if self.study and not self.reference:
            raise ValueError(
                "study learns from the reference answers alone: it cannot go without them. Leave out one of the two "
                "(--study, --without-reference)"
            )
        return self


class OnlineSettings(Settings):
    """Settings of ``OnlineLearner``."""

    threshold: float = 1.0
    """Least score that counts as success, for the default verifier."""
    concurrency: int = Field(4, ge=1)
    """Most observations under way at once. It changes speed, never the result."""
    window: int = Field(8, ge=1)
    """Staleness bound: observation i is compared with the library after the edits of observation i - window, or of the
    last version if that is newer."""
    publish_every: int | None = Field(100, ge=1)
    """Observations from one version to the next; None publishes only when ``publish`` is called."""
    lessons_from: Literal["all", "failures"] = "all"
    """Observations to write lessons from. ``failures`` keeps an accepted answer as a precedent without a lesson."""
    review: bool = False
    """Let every lesson wait for a person's approval. Nothing that actors are shown changes before it."""
    follow: bool = True
    """The program reads each commit, of other processes too, within about a second. False reads the library of the last
    ``refresh``."""
    scope: Scope = ""
    """Whom the lessons will belong to: a tenant, user, agent or team; empty for all. ``observe`` may name another."""
    exclude_self: bool = False
    """Answer a repeated problem without the lessons that were learned from it alone. By default they are shown: a known
    answer, or a warning against the last one, helps in deployment. The share of solved observations then says little
    about new problems where users repeat themselves."""

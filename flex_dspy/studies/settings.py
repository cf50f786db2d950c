"""Settings of a scaling law."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from flex_dspy.core.settings import Settings

Axis = Literal["examples", "entries", "epochs"]


class ScalingSettings(Settings):
    """Settings of a scaling law."""

    against: Axis = "examples"
    """The axis: examples learned from, repeated ones included; entries of the library; or epochs, which are examples in
    units of ``epoch``."""

    epoch: int | None = None
    """Number of training examples."""

    form: str | None = None
    """``log-linear``, ``power law`` or ``logistic``; None takes the one with the least Akaike criterion."""

    title: str = "Accuracy against experience"
    """Title, such as the model and the data that it learned from."""

    @model_validator(mode="after")
    def _check_epoch(self) -> Self:
        if self.against == "epochs" and not self.epoch:
            raise ValueError("epochs are counted in training examples: scaling(..., epoch=len(train))")
        return self

"""The program that every method starts from."""

from __future__ import annotations

from typing import Any

import dspy


class Program(dspy.Module):
    """One question to the model.

    DSPy's optimizers show the model the source of a program's class: of a bare ``dspy.Predict`` that would be pages of
    DSPy itself, so the predictor lies in a module of a few lines.

    Args:
        answer: The predictor.
    """

    def __init__(self, answer: dspy.Module) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Ask."""
        return self.answer(**inputs)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """The same, asynchronously."""
        return await self.answer.acall(**inputs)


class OnThreads(dspy.Module):
    """A program whose ``forward`` was replaced: asked asynchronously it would pass over the new one.

    Args:
        program: Any program.
    """

    def __init__(self, program: dspy.Module) -> None:
        super().__init__()
        self.program = program

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """Ask."""
        return self.program(**inputs)

"""What one run of the benchmark is told. Nothing heavy is imported here: ``--help`` needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Settings:
    """The settings of a run.

    Attributes:
        task: Name of the task.
        lm: The model that learns and answers.
        data: Folder with a folder for each data set.
        out: Folder for everything that is learned and measured.
        api_base: Address of the model's server; None for the provider's own.
        other_lm: The model that learns the library of ``flex-inherited``; "" where there is none.
        other_api_base: Address of its server.
        test: File with the test examples; None draws them from the validation file.
        train_examples: Examples to learn from.
        val_examples: Examples that an optimizer may measure its candidates on.
        test_examples: Examples that every method is measured on.
        learning_tokens: Most model tokens that a method may take to learn, sent and received.
        concurrency: Most requests under way at once.
        seed: Fixes the choice of examples and every method's own choices.
        temperature: Sampling temperature; methods that need variety raise it themselves.
        max_tokens: Most tokens of one answer.
        rounds: FLEX: most rounds of a rollout.
        rollouts: FLEX: most rollouts of a training example.
        epochs: FLEX: most passes over the training examples.
        shown: FLEX: most entries in a prompt. KNN: number of neighbours.
        block_tokens: FLEX: most tokens of the entries in a prompt.
    """

    task: str
    lm: str
    data: Path
    out: Path
    api_base: str | None = None
    other_lm: str = ""
    other_api_base: str | None = None
    test: Path | None = None
    train_examples: int = 150
    val_examples: int = 50
    test_examples: int = 100
    learning_tokens: int = 200_000
    concurrency: int = 1
    seed: int = 0
    temperature: float = 0.0
    max_tokens: int = 600
    rounds: int = 2
    rollouts: int = 1
    epochs: int = 1
    shown: int = 8
    block_tokens: int = 4_000

    def identity(self, *further: str) -> Mapping[str, Any]:
        """Everything that learning depends on, and nothing that only moves or speeds it up.

        Args:
            *further: Names of settings that only some methods depend on.
        """
        names = ("task", "lm", "train_examples", "val_examples", "learning_tokens", "seed", "temperature", "max_tokens")
        return {name: getattr(self, name) for name in (*names, *further)}

"""``flex-dspy compare``: which of several libraries is better, by how much, how surely, and on which examples."""

from __future__ import annotations

from pathlib import Path

from flex_dspy.commands import paths
from flex_dspy.commands.options.compare import CompareOptions
from flex_dspy.core.errors import ConfigurationError


def compare(*sources: str, options: CompareOptions = CompareOptions()) -> None:
    """Compare libraries: which is better, by how much, how surely, and on which examples.

    Libraries are measured on the same examples, and each is compared with the first: accuracies with intervals, a
    paired test, examples won and lost, and costs. Saved evaluations are compared as they are; no model is asked for
    those.

    Args:
        sources: Two or more: a library (a file, a folder, NAME@alias or NAME/version in MLflow), 'none' for no
            library, or a saved evaluation (a folder that flex-dspy eval wrote, or its records.jsonl).
        options: The other options.
    """
    if len(sources) < 2:
        raise ConfigurationError("name two or more to compare; 'none' stands for no library")
    paths.check_folder(options.output.out or Path("exps"))
    from flex_dspy.commands.actions import compare as action

    action.run(sources, options)

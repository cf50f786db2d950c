"""Makes the learner of a served library, which learns from the observations of clients."""

from __future__ import annotations

from pathlib import Path

import dspy

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.learning.online import OnlineLearner
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.locations import LIBRARY_FILE
from flex_dspy.models.lm import language_model
from flex_dspy.tasks.registry import get_task


def make_learner(library: str, model: str) -> OnlineLearner:
    """Make a learner that writes into a library's file. It sets the language model of the whole process.

    Args:
        library: The file, or its folder.
        model: Name of the language model that writes lessons.

    Raises:
        ConfigurationError: If the library is not a file, or the model cannot be used.
        LibraryError: If the file cannot be read.
    """
    path = Path(library)
    path = path / LIBRARY_FILE if path.is_dir() else path
    if not path.exists():
        raise ConfigurationError(f"{library} is no file on this machine: only such a library is learned into")
    dspy.configure(lm=language_model(model))
    return OnlineLearner(dspy.Predict(problem_signature(ExperienceLibrary.load(path).task)), library=path)


def problem_signature(task: str) -> type[dspy.Signature]:
    """Signature with a problem and an answer as texts, and the instructions of the task if it is known."""
    try:
        instructions = "" if ":" in task else dspy.ensure_signature(get_task(task).signature).instructions
    except ConfigurationError:
        instructions = ""
    plain: type[dspy.Signature] = dspy.Signature("problem -> answer")
    return plain.with_instructions(instructions) if instructions else plain

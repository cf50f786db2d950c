"""``flex-dspy eval``: measure a library, beside the same actor without one."""

from __future__ import annotations

from pathlib import Path

from flex_dspy.commands import paths
from flex_dspy.commands.arguments import TaskName
from flex_dspy.commands.options.evaluate import EvaluateOptions
from flex_dspy.core.errors import ConfigurationError


def evaluate(task: TaskName, *, options: EvaluateOptions = EvaluateOptions()) -> None:
    """Measure a library on a task's examples.

    The same actor is measured without a library too. One record an example is kept.
    """
    if options.retrieval.retrieve:
        if options.data.library is None:
            raise ConfigurationError("name a library with --library, or measure without one with --no-retrieve")
        paths.check_library(options.data.library)
    paths.check_folder(options.output.out or Path("exps"))
    from flex_dspy.commands.actions import evaluate as action

    action.run(task, options)

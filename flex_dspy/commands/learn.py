"""``flex-dspy learn``: learn a library, publish versions of it, measure each."""

from __future__ import annotations

from flex_dspy.commands import paths
from flex_dspy.commands.arguments import TaskName
from flex_dspy.commands.options.learn import LearnOptions


def learn(task: TaskName, *, options: LearnOptions = LearnOptions()) -> None:
    """Learn an experience library from a task's training examples.

    Versions of the library are published, and each is measured on validation examples. A run that was cut short
    continues when the same command is given again. The run's folder holds run.toml: --config run.toml repeats the run.
    """
    if not options.run.dry_run:
        paths.check_run(options.run.out, options.run.library)
    if options.run.start_from is not None:
        paths.check_library(options.run.start_from)
    from flex_dspy.commands.actions import learn as action

    action.run(task, options)

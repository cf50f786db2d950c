"""``flex-dspy learn``: learn a library, publish versions of it, measure each."""

from __future__ import annotations

from cyclopts import CycloptsError

from flex_dspy.commands import paths
from flex_dspy.commands.arguments import TaskName
from flex_dspy.commands.options.learn import LearnOptions


def learn(task: TaskName | None = None, *, options: LearnOptions = LearnOptions()) -> None:
    """Learn an experience library from a task's training examples, or from rated requests.

    Versions of the library are published, and each is measured on validation examples. A run that was cut short
    continues when the same command is given again. The run's folder holds run.toml: --config run.toml repeats the run.
    With --traces or --requests, the library is learned from what was answered in the past, and nothing is run again.
    Without a task, the names of inputs and outputs are those of the first request.
    """
    if task is None and not options.requests.are_given:
        said = "TASK requires an argument, unless --traces or --requests names rated requests to learn from"
        raise CycloptsError(msg=said, command_chain=("learn",))
    if not options.run.dry_run:
        paths.check_run(options.run.out, options.run.library)
    if options.run.start_from is not None:
        paths.check_library(options.run.start_from)
    if options.requests.are_given:
        from flex_dspy.commands.actions import learn_requests

        learn_requests.run(task, options)
        return
    from flex_dspy.commands.actions import learn as action

    action.run(task or "", options)

"""``flex-dspy rescore``: judge saved records under another metric, without asking a model."""

from __future__ import annotations

import argparse
import importlib

from flex_dspy.commands.table import table
from flex_dspy.errors import ConfigurationError
from flex_dspy.measuring.rescoring import rescore
from flex_dspy.scoring import Metric
from flex_dspy.tasks import TASKS, get_task


def run(arguments: argparse.Namespace) -> None:
    """Do it."""
    task = get_task(arguments.metric) if arguments.metric in TASKS else None
    measures, normalize = (task.measures, task.normalize) if task else (None, None)
    rescored = rescore(arguments.folder, metric(arguments.metric), measures, normalize=normalize)
    print(table({"before": rescored.before, "after": rescored.after}))
    print(f"\n{rescored.gained} became right, {rescored.lost} became wrong")
    print(f"records  {rescored.write()}")


def metric(name: str) -> Metric:
    """The metric of a task, or a function named as ``module:function``.

    Raises:
        ConfigurationError: If there is no such metric.
    """
    if name in TASKS:
        return get_task(name).metric
    module, _, function = name.partition(":")
    try:
        found: Metric = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        tasks = ", ".join(TASKS)
        raise ConfigurationError(f"there is no metric {name!r}: name a task ({tasks}) or module:function") from error
    return found

"""``flex-dspy rescore``: judges saved records with another metric, without calling a model."""

from __future__ import annotations

from pathlib import Path

from flex_dspy.commands.actions.tables import evaluation_table, print_json, print_table
from flex_dspy.core.entry_points import import_object
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.scoring import Metric
from flex_dspy.evaluation.rescoring import rescore
from flex_dspy.tasks.registry import get_task
from flex_dspy.tasks.task import Task


def run(folder: Path, metric_name: str, *, as_json: bool) -> None:
    """Judge the records of a folder again, and write the new records beside the old ones."""
    metric, task = find_metric(metric_name)
    measures, normalize = (task.measures, task.normalize) if task else (None, None)
    rescored = rescore(folder, metric, measures, normalize=normalize)
    file = rescored.write()
    if as_json:
        numbers = {"before": rescored.before.metrics(), "after": rescored.after.metrics()}
        print_json({**numbers, "gained": rescored.gained, "lost": rescored.lost, "records": str(file)})
        return
    print_table(evaluation_table({"before": rescored.before, "after": rescored.after}))
    print(f"\n{rescored.gained} became right, {rescored.lost} became wrong")
    print(f"records  {file}")


def find_metric(name: str) -> tuple[Metric, Task | None]:
    """Find a metric by the name of its task or as ``module:function``.

    Returns:
        The metric, and its task or None.

    Raises:
        ConfigurationError: If the metric does not exist.
    """
    found = import_object(name) if ":" in name else get_task(name)
    if isinstance(found, Task):
        return found.metric, found
    if not callable(found):
        raise ConfigurationError(f"{name!r} is no metric, but {type(found).__name__}")
    return found, None

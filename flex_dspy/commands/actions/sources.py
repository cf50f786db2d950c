"""Loads the data and libraries that a command names."""

from __future__ import annotations

import logging

import dspy

from flex_dspy.commands.arguments import Overlap
from flex_dspy.commands.options.shared import ActorOptions
from flex_dspy.core.errors import ConfigurationError, OverlapError
from flex_dspy.data.loading import LoadedData, sample
from flex_dspy.evaluation.overlap import without_overlap
from flex_dspy.models.lm import is_offline
from flex_dspy.tasks.task import Task

logger = logging.getLogger(__name__)


def examples(task: Task, model: dspy.LM, split: str, source: str | None, samples: int | None, seed: int) -> LoadedData:
    """Load the examples of a source, by default the task's own. Invalid rows are reported and left out.

    Raises:
        ConfigurationError: If there is neither a source nor a default.
    """
    defaults = task.offline_splits if is_offline(model) and task.offline_splits else task.splits
    if source is None and split not in defaults:
        raise ConfigurationError(f"task {task.name} has no default {split} examples: name a file or a hub id")
    data: LoadedData = task.load(source or defaults[split], limit=samples, seed=seed if samples else None)
    if data.bad_rows:
        listed = "; ".join(f"row {row.row}: {row.reason}" for row in data.bad_rows[:3])
        logger.warning("%s: %d rows left out (%s)", data.source, len(data.bad_rows), listed)
    return data


def shots(options: ActorOptions, data: LoadedData | None) -> list[dspy.Example]:
    """Worked examples for an actor with in-context learning; empty for other actors."""
    return sample(data.examples, options.shots, options.seed) if options.actor == "icl" and data else []


def load_shots(options: ActorOptions, task: Task, model: dspy.LM, source: str | None) -> list[dspy.Example]:
    """Load worked examples from a source. The source is read only for an actor with in-context learning."""
    if options.actor != "icl":
        return []
    return shots(options, examples(task, model, "train", source, None, options.seed))


def measurable(overlap: Overlap, task: Task, data: LoadedData, learned: set[str]) -> list[dspy.Example]:
    """Examples to measure on, without examples that were learned from, unless these are allowed.

    Args:
        overlap: ``drop`` leaves out learned examples and reports it, ``refuse`` raises an error, ``allow`` keeps them.
        task: The task. It defines when two problems are equal.
        data: The examples.
        learned: Problems that were learned from.

    Raises:
        OverlapError: If there are learned examples, and ``overlap`` is ``refuse``.
        ConfigurationError: If no example is left.
    """
    clean, shared = without_overlap(data.examples, learned, key=task.key)
    if not shared or overlap == "allow":
        return data.examples
    where = f"{len(shared)} of {len(data.examples)} examples of {data.source} are also training examples"
    if overlap == "refuse":
        raise OverlapError(f"{where}: choose others, or say --overlap drop or --overlap allow")
    print(f"{where}: left out")
    if not clean:
        raise ConfigurationError(f"no example of {data.source} is left to measure on")
    return clean

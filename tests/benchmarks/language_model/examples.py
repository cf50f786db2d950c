"""The examples of a run: the same ones for every method."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import dspy

from flex_dspy.core.errors import DataError
from flex_dspy.core.examples import problem_of
from flex_dspy.data.loading import digest
from flex_dspy.evaluation.problem_text import normal_text
from tests.benchmarks.language_model.settings import Settings
from tests.benchmarks.language_model.tasks import BenchTask


@dataclass(frozen=True)
class Data:
    """Three disjoint sets of examples.

    Attributes:
        train: To learn from.
        val: To measure candidates on while learning.
        test: To measure the methods on.
    """

    train: list[dspy.Example]
    val: list[dspy.Example]
    test: list[dspy.Example]

    @property
    def learned_from(self) -> str:
        """Twelve hexadecimal digits of the examples to learn from, in order."""
        return digest([*self.train, *self.val])[:12]

    @property
    def tested_on(self) -> str:
        """The same of the test examples."""
        return digest(self.test)[:12]


def load(task: BenchTask, settings: Settings) -> Data:
    """Draw the examples.

    No problem is in two sets. Without a test file, test examples come from the validation file, after those that are
    used for validation.

    Raises:
        DataError: If a file cannot be read, or holds too few examples.
    """
    train_file, val_file = settings.data / task.train, settings.data / task.val
    train = _drawn(task, task.read(train_file), settings.train_examples, settings.seed, (), str(train_file))
    rest = task.read(val_file)
    val = _drawn(task, rest, settings.val_examples, settings.seed, train, str(val_file))
    source = rest if settings.test is None else task.read(settings.test)
    named = str(settings.test or f"{val_file} beside those for validation")
    test = _drawn(task, source, settings.test_examples, settings.seed, [*train, *val], named)
    return Data(train, val, test)


def _drawn(
    task: BenchTask,
    examples: Sequence[dspy.Example],
    count: int,
    seed: int,
    taken: Collection[dspy.Example],
    source: str,
) -> list[dspy.Example]:
    """So many examples of a shuffle that the seed fixes, balanced over labels, none of them among those taken."""
    seen = {_problem(example) for example in taken}
    free: list[dspy.Example] = []
    for example in random.Random(seed).sample(list(examples), len(examples)):
        if _problem(example) not in seen:
            seen.add(_problem(example))
            free.append(example)
    if len(free) < count:
        raise DataError(f"{source}: {count} examples of {task.name} are asked for, and there are {len(free)}")
    return _in_turn(free, task.label)[:count]


def _in_turn(examples: Sequence[dspy.Example], label: str) -> list[dspy.Example]:
    """The examples with their labels taking turns; as they are where there is no label."""
    if not label:
        return list(examples)
    groups: defaultdict[str, list[dspy.Example]] = defaultdict(list)
    for example in examples:
        groups[example[label]].append(example)
    ordered = [(place, name, example) for name, group in groups.items() for place, example in enumerate(group)]
    return [example for _, _, example in sorted(ordered, key=lambda item: item[:2])]


def _problem(example: dspy.Example) -> str:
    return normal_text(problem_of(example)) or problem_of(example)

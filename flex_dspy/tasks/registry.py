"""Tasks by name: registered in this process, or offered by an installed package such as this project.

The module of a task is imported when the task is first used. The modules of other tasks are not imported with it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import Any

from flex_dspy.core.entry_points import describe_point, import_object, is_own, load_point
from flex_dspy.core.errors import ConfigurationError, FlexError
from flex_dspy.tasks.names import TASKS, explain_unknown, task_points
from flex_dspy.tasks.task import Task

logger = logging.getLogger(__name__)


def register(task: Task, *, replace: bool = False) -> Task:
    """Register a task by its name and aliases, for ``get_task`` and for commands that run in this process.

    Args:
        task: The task.
        replace: Replace tasks that have one of these names, for example when a notebook cell runs again.

    Returns:
        The task.

    Raises:
        ConfigurationError: If another task has one of its names, or ``task`` is no ``Task``.
    """
    if not isinstance(task, Task):
        raise ConfigurationError(f"register takes a flex_dspy.Task, got {type(task).__name__}")
    names = (task.name, *task.aliases)
    if not replace:
        _refuse_taken(task, names)
    for other in [TASKS[name] for name in names if name in TASKS]:
        for name in (other.name, *other.aliases):
            if TASKS.get(name) is other:
                del TASKS[name]
    TASKS.update(dict.fromkeys(names, task))
    return task


def _refuse_taken(task: Task, names: Sequence[str]) -> None:
    points = task_points()
    for name in names:
        is_loaded = name in TASKS
        is_built_in = not is_loaded and name in points and is_own(points[name][0])
        if is_built_in or (is_loaded and TASKS[name] is not task):
            raise ConfigurationError(f"there is a task {name!r} already: choose another name, or say replace=True")


def get_task(name: str) -> Task:
    """The task with this name or alias: this project's, a registered one, or one of an installed package.

    Args:
        name: A name, an alias, or ``package.module:attribute`` of a ``Task`` or of a function that returns a ``Task``.
            The module may lie in the current folder.

    Raises:
        ConfigurationError: If there is no such task, it cannot be imported, or two packages have a task of this name.
    """
    if not isinstance(name, str):
        raise ConfigurationError(f"a task is named by a text, such as 'aime'; got {type(name).__name__}")
    if ":" in name:
        return _as_task(import_object(name), repr(name))
    points = task_points()
    candidates = _without_shadowed(points.get(name, ()))
    if name in TASKS:
        return TASKS[name]
    if candidates:
        return _load_task(name, candidates)
    _load_others(points)  # one of these tasks may have the name as an alias
    if name not in TASKS:
        raise ConfigurationError(explain_unknown(name))
    return TASKS[name]


def _without_shadowed(points: Sequence[EntryPoint]) -> Sequence[EntryPoint]:
    """The entry points without those of other packages that use a name of this project's tasks."""
    if not points or not is_own(points[0]):
        return points
    for point in points[1:]:
        logger.warning("%s is left out: a built-in task has this name", describe_point(point))
    return points[:1]


def _load_task(name: str, points: Sequence[EntryPoint]) -> Task:
    if len(points) > 1:
        listed = " and ".join(map(describe_point, points))
        raise ConfigurationError(f"two packages bring a task {name!r}: {listed}; name one as module:attribute")
    (point,) = points
    task = _as_task(load_point(point), describe_point(point))
    if name not in (task.name, *task.aliases):
        raise ConfigurationError(f"{describe_point(point)} calls itself {task.name!r}: the names must be the same")
    if not is_own(point):
        return register(task)
    for own_name in (task.name, *task.aliases):
        TASKS.setdefault(own_name, task)  # a user's task may have replaced it under another name
    return task


def _load_others(points: Mapping[str, Sequence[EntryPoint]]) -> None:
    """Register the tasks of other packages. A task that cannot be loaded is logged and left out."""
    for name, found in points.items():
        if name not in TASKS and not is_own(found[0]):
            try:
                _load_task(name, found)
            except ConfigurationError as error:
                logger.warning("left out: %s", error)


def _as_task(value: Any, where: str) -> Task:
    """The value if it is a task, or the task that it returns if it is a function."""
    if not isinstance(value, Task) and callable(value):
        try:
            value = value()
        except FlexError:
            raise
        except Exception as error:  # the function is foreign code
            raise ConfigurationError(f"{where} gives no task: {type(error).__name__}: {error}") from error
    if not isinstance(value, Task):
        raise ConfigurationError(f"{where} is no flex_dspy.Task, but {type(value).__name__}")
    return value

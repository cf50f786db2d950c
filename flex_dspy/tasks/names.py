"""The names of tasks: of this project, registered ones, and of installed packages. No task is imported for them.

A package offers a task by an entry point in its ``pyproject.toml``. Each alias that shall be listed needs one too:

    [project.entry-points."flex_dspy.tasks"]
    reviews = "my_package.tasks:REVIEWS"
"""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

from flex_dspy.core.entry_points import find_points, is_own
from flex_dspy.core.errors import ConfigurationError

if TYPE_CHECKING:
    from flex_dspy.tasks.task import Task

GROUP = "flex_dspy.tasks"
# The order of names in help texts. A name that no installed package offers is not shown.
_SHOWN_FIRST = ("uspto50k", "retro", "uspto", "aime", "math", "gsm8k", "proteingym", "fitness")

TASKS: dict[str, Task] = {}  # by name and alias: the tasks that are registered or loaded


def task_points() -> dict[str, list[EntryPoint]]:
    """The entry points of tasks by name, not loaded. For each name, this project's entry points come first."""
    points = find_points(GROUP)
    return {name: sorted(points[name], key=is_own, reverse=True) for name in points}


def task_names() -> list[str]:
    """Every name of a task: those of this project, then registered ones, then those of other packages."""
    points = task_points()
    own = [name for name, found in points.items() if is_own(found[0])]
    first = [name for name in _SHOWN_FIRST if name in own]
    return list(dict.fromkeys([*first, *sorted(own), *TASKS, *sorted(points)]))


def explain_unknown(name: str) -> str:
    """The error message for a name that no task has."""
    names = task_names()
    close = difflib.get_close_matches(name, names)
    guess = f"did you mean {' or '.join(close)}? " if close else ""
    return f"there is no task {name!r}; {guess}tasks are {', '.join(names)}, or module:attribute"


def check_task_name(text: str) -> str:
    """Check a task's name from a command line, and return it.

    ``module:attribute`` is accepted unchecked; it is looked up when the task is needed.

    Raises:
        ConfigurationError: If there is no such name.
    """
    if ":" not in text and text not in task_names():
        raise ConfigurationError(explain_unknown(text))
    return text

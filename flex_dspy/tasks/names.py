"""The names of tasks: built in, registered, or brought by an installed package. Nothing heavy is imported here.

A package brings a task by an entry point, in its ``pyproject.toml``:

    [project.entry-points."flex_dspy.tasks.task"]
    reviews = "my_package.tasks:REVIEWS"
"""

from __future__ import annotations

import difflib
import importlib
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flex_dspy.core.errors import ConfigurationError

if TYPE_CHECKING:
    from flex_dspy.tasks.task import Task

GROUP = "flex_dspy.tasks.task"
BUILT_IN = ("uspto50k", "retro", "uspto", "aime", "math", "gsm8k", "proteingym", "fitness")

REGISTERED: dict[str, Task] = {}  # filled by flex_dspy.tasks.task, with the built-in ones too


def installed() -> dict[str, list[EntryPoint]]:
    """The tasks of installed packages by name, not loaded: one each, or two packages have chosen the same name."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, []).append(point)
    return found


def known() -> list[str]:
    """Every name of a task: those built in, then the others."""
    return list(dict.fromkeys([*BUILT_IN, *REGISTERED, *sorted(installed())]))


def unknown(name: str) -> str:
    """What to say of a name that no task has."""
    names = known()
    close = difflib.get_close_matches(name, names)
    meant = f"did you mean {' or '.join(close)}? " if close else ""
    return f"there is no task {name!r}; {meant}tasks are {', '.join(names)}, or module:attribute"


def task_name(text: str) -> str:
    """A task's name on a command line, or ``module:attribute``, which is looked up when the task is needed.

    Raises:
        ConfigurationError: If there is no such name.
    """
    if ":" not in text and text not in known():
        raise ConfigurationError(unknown(text))
    return text


def imported(name: str) -> Any:
    """What ``package.module:attribute`` names; modules in the current folder count, after those that are installed.

    Raises:
        ConfigurationError: If there is no such thing, or the module cannot be imported.
    """
    module_name, _, attribute = name.partition(":")
    if module_name.endswith(".py"):
        raise ConfigurationError(f"{name!r} names a file: say {module_name.removesuffix('.py')}:{attribute}")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    importlib.invalidate_caches()  # the module may have been written just now
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module does
        raise ConfigurationError(f"{name!r}: {module_name} cannot be imported: {_said(error)}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            where = getattr(found, "__file__", None) or module_name
            raise ConfigurationError(f"{name!r}: there is no {part!r} in {where}")
        found = getattr(found, part)
    return found


def loaded(point: EntryPoint) -> Any:
    """What an entry point names.

    Raises:
        ConfigurationError: If it cannot be loaded; the error names the package.
    """
    try:
        return point.load()
    except Exception as error:  # whatever the package does
        raise ConfigurationError(f"{described(point)} cannot be loaded: {_said(error)}") from error


def described(point: EntryPoint) -> str:
    """An entry point, with the package that it is from."""
    package = point.dist.name if point.dist is not None else "an unnamed package"
    return f"task {point.name!r} of {package} ({point.value})"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"

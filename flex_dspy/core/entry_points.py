"""Tasks, views and engines of installed packages, found by their entry points.

A package names each in its ``pyproject.toml``; this project's own stand there in the same way:

    [project.entry-points."flex_dspy.tasks"]
    reviews = "my_package.tasks:REVIEWS"
"""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from flex_dspy.core.errors import ConfigurationError

OWN_PACKAGE = "flex-dspy"


def find_points(group: str) -> dict[str, list[EntryPoint]]:
    """Entry points of a group by name, not loaded: one each, unless two packages have chosen the same name."""
    points: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        points.setdefault(point.name, []).append(point)
    return points


def is_own(point: EntryPoint) -> bool:
    """Whether the entry point is of this project."""
    return point.dist is not None and point.dist.name == OWN_PACKAGE


def load_point(point: EntryPoint) -> Any:
    """Import the object that an entry point names.

    Raises:
        ConfigurationError: If it cannot be loaded; the error names the package.
    """
    try:
        return point.load()
    except Exception as error:  # whatever the package does
        raise ConfigurationError(f"{describe_point(point)} cannot be loaded: {_reason(error)}") from error


def describe_point(point: EntryPoint) -> str:
    """An entry point, with the package that it is from: ``task 'reviews' of my-package (my_package.tasks:REVIEWS)``."""
    package = point.dist.name if point.dist is not None else "an unnamed package"
    kind = point.group.rpartition(".")[2].removesuffix("s")
    return f"{kind} {point.name!r} of {package} ({point.value})"


def import_object(name: str) -> Any:
    """Import ``package.module:attribute``; modules in the current folder count, after those that are installed.

    Raises:
        ConfigurationError: If there is no such thing, or the module cannot be imported.
    """
    module_name, _, attribute = name.partition(":")
    if module_name.endswith(".py"):
        raise ConfigurationError(f"{name!r} names a file: say {module_name.removesuffix('.py')}:{attribute}")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    importlib.invalidate_caches()  # the module may be new
    try:
        value: Any = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module does
        raise ConfigurationError(f"{name!r}: {module_name} cannot be imported: {_reason(error)}") from error
    for part in attribute.split("."):
        if not hasattr(value, part):
            where = getattr(value, "__file__", None) or module_name
            raise ConfigurationError(f"{name!r}: there is no {part!r} in {where}")
        value = getattr(value, part)
    return value


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"

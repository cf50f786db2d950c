"""Finds tasks, views and engines of installed packages by their entry points.

A package declares them in its ``pyproject.toml``, as this project does for its own:

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
    """Entry points of a group by name, not loaded. A name has several if several packages have chosen it."""
    points: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=group):
        points.setdefault(point.name, []).append(point)
    return points


def is_own(point: EntryPoint) -> bool:
    """Whether the entry point belongs to this project."""
    return point.dist is not None and point.dist.name == OWN_PACKAGE


def load_point(point: EntryPoint) -> Any:
    """Import the object that an entry point names.

    Raises:
        ConfigurationError: If it cannot be loaded; the error names the package.
    """
    try:
        return point.load()
    except Exception as error:  # the package's code may raise any error
        raise ConfigurationError(f"{describe_point(point)} cannot be loaded: {_reason(error)}") from error


def describe_point(point: EntryPoint) -> str:
    """Text with an entry point and its package: ``task 'reviews' of my-package (my_package.tasks:REVIEWS)``."""
    package = point.dist.name if point.dist is not None else "an unnamed package"
    kind = point.group.rpartition(".")[2].removesuffix("s")
    return f"{kind} {point.name!r} of {package} ({point.value})"


def import_object(name: str) -> Any:
    """Import ``package.module:attribute``, from installed modules first and then from the current folder.

    Raises:
        ConfigurationError: If the module or the attribute does not exist, or the import fails.
    """
    module_name, _, attribute = name.partition(":")
    if module_name.endswith(".py"):
        raise ConfigurationError(f"{name!r} names a file: say {module_name.removesuffix('.py')}:{attribute}")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    importlib.invalidate_caches()  # the module may have been created after the process started
    try:
        value: Any = importlib.import_module(module_name)
    except Exception as error:  # the user's module may raise any error
        raise ConfigurationError(f"{name!r}: {module_name} cannot be imported: {_reason(error)}") from error
    for part in attribute.split("."):
        if not hasattr(value, part):
            where = getattr(value, "__file__", None) or module_name
            raise ConfigurationError(f"{name!r}: there is no {part!r} in {where}")
        value = getattr(value, part)
    return value


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"

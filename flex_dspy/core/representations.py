"""Registry of representations: higher layers register functions for showing an object, so that it never imports them.

A package names a module under the entry point group ``flex_dspy.representations``. The module is imported when the
first representation is asked for, and registers a function for each kind and type::

    register("html", ExperienceLibrary, library_cell)

A subclass is represented as its base, unless it has a registration of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flex_dspy.core.entry_points import find_points, load_point
from flex_dspy.core.errors import ConfigurationError

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["html", "page", "frame", "figure"]
GROUP = "flex_dspy.representations"

_REGISTRY: dict[tuple[Kind, type], Callable[..., Any]] = {}


def register(kind: Kind, type_: type, represent: Callable[..., Any]) -> None:
    """Register a representation of a type. It replaces an earlier registration.

    Args:
        kind: ``"html"`` for a notebook's cell, ``"page"`` for a complete HTML document, ``"frame"`` for a pandas frame,
            ``"figure"`` for a picture.
        type_: The type of the object.
        represent: Takes the object; for a page also ``title`` and ``limit``, for a figure also its path and options. It
            returns HTML, the frame or the path.
    """
    _REGISTRY[kind, type_] = represent


def html(value: object) -> str:
    """HTML of an object for a notebook's cell.

    Raises:
        ConfigurationError: If no package registered a function for its type.
    """
    return str(_find("html", type(value))(value))


def page(value: object, *, title: str = "", limit: int = 100) -> str:
    """Complete HTML document that shows an object.

    Args:
        value: The object.
        title: The document's title; by default the object's own.
        limit: Most entries, or examples, of each kind.

    Raises:
        ConfigurationError: If no package registered a function for its type.
    """
    return str(_find("page", type(value))(value, title=title, limit=limit))


def frame(value: object) -> pd.DataFrame:
    """Pandas frame of an object.

    Raises:
        ConfigurationError: If no package registered a function for its type.
    """
    return _find("frame", type(value))(value)


def figure(value: object, path: str | Path, **options: Any) -> Path:
    """Draw an object as a PNG, and return its path.

    Args:
        value: The object.
        path: The file; its folder must exist.
        **options: Options of the type's figure, such as ``title``.

    Raises:
        ConfigurationError: If no package registered a function for its type.
    """
    file: Path = _find("figure", type(value))(value, Path(path), **options)
    return file


class Representable:
    """Base of objects that a notebook shows as HTML."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return html(self)


def _find(kind: Kind, type_: type) -> Callable[..., Any]:
    _load_registrations()
    for base in type_.__mro__:
        if (represent := _REGISTRY.get((kind, base))) is not None:
            return represent
    raise ConfigurationError(
        f"no package registers {kind!r} for {type_.__name__}; if flex-dspy was updated in place, install it again"
    )


@functools.cache
def _load_registrations() -> None:
    for points in find_points(GROUP).values():
        for point in points:
            load_point(point)

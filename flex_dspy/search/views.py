"""Views by name: the ways to find entries that fit a problem.

``lexical``, ``precedents`` and ``dense`` read any text. A further view compares problems by their fingerprints. A
fingerprint is a row of bits for the features of a problem. A package adds such a view by an entry point:

    [project.entry-points."flex_dspy.views"]
    structural = "flex_dspy.metrics.molecules:problem_fingerprint"
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

from flex_dspy.core.entry_points import find_points, load_point
from flex_dspy.core.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# From a problem's text to its bits as words, of fixed shape (words,); None if it has no fingerprint.
Fingerprint = Callable[[str], "npt.NDArray[np.uint64] | None"]

GROUP = "flex_dspy.views"
TEXT_VIEWS = ("lexical", "dense", "precedents")
_FINGERPRINTS: dict[str, Fingerprint] = {}


def register_view(name: str, fingerprint: Fingerprint) -> None:
    """Register a view that compares problems by their fingerprints.

    Args:
        name: The view's name, for ``ExperienceRetriever(views=...)``.
        fingerprint: From a problem's text to its bits as 64-bit words, or None.

    Raises:
        ConfigurationError: If a text view has this name.
    """
    if name in TEXT_VIEWS:
        raise ConfigurationError(f"the view {name!r} is built in: choose another name")
    _FINGERPRINTS[name] = fingerprint


def view_names() -> tuple[str, ...]:
    """The names of all views: first the views of fingerprints, then the views of texts."""
    return tuple(dict.fromkeys([*_FINGERPRINTS, *_points_by_view(tuple(sys.path)), *TEXT_VIEWS]))


def fingerprint_of(view: str) -> Fingerprint:
    """Return the fingerprint function of a view. It is imported at its first use.

    Raises:
        ConfigurationError: If there is no such view, or its function cannot be imported.
    """
    if view not in _FINGERPRINTS:
        point = _points_by_view(tuple(sys.path)).get(view)
        if point is None:
            raise ConfigurationError(f"there is no view {view!r}; views are {', '.join(view_names())}")
        register_view(view, load_point(point))
    return _FINGERPRINTS[view]


@functools.cache  # a program may make thousands of retrievers, and each checks its views
def _points_by_view(path: tuple[str, ...]) -> dict[str, EntryPoint]:
    return {name: points[0] for name, points in sorted(find_points(GROUP).items())}

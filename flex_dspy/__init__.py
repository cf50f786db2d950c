"""Forward Learning from Experience (FLEX, arXiv 2511.06449) for DSPy."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flex_dspy.experience import Experience as Experience
    from flex_dspy.library import ExperienceLibrary as ExperienceLibrary
    from flex_dspy.store import LibraryStore as LibraryStore

# Importing dspy takes seconds: `flex-dspy --help` must not.
_EXPORTS = {
    "Experience": "flex_dspy.experience",
    "ExperienceLibrary": "flex_dspy.library",
    "LibraryStore": "flex_dspy.store",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)

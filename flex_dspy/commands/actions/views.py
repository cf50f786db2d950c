"""Views of a library by the scopes that a command names."""

from __future__ import annotations

from collections.abc import Sequence

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.library import ExperienceLibrary


def scoped_view(library: ExperienceLibrary, scopes: Sequence[str]) -> ExperienceLibrary:
    """The shared entries of a library, and those of the scopes that are named.

    Raises:
        ConfigurationError: If the library has no such scope.
    """
    held = [scope for scope in library.scopes if scope]
    if unknown := [scope for scope in scopes if scope not in held]:
        raise ConfigurationError(f"there is no scope {unknown[0]!r} in the library: it has {', '.join(held) or 'none'}")
    return library.scoped(*scopes)

"""Makes views of a library from the scopes that a command names."""

from __future__ import annotations

from collections.abc import Sequence

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.library import ExperienceLibrary


def scoped_view(library: ExperienceLibrary, scopes: Sequence[str]) -> ExperienceLibrary:
    """View of a library with its shared entries and the entries of the given scopes.

    Raises:
        ConfigurationError: If the library does not have one of the scopes.
    """
    held = [scope for scope in library.scopes if scope]
    if unknown := [scope for scope in scopes if scope not in held]:
        raise ConfigurationError(f"there is no scope {unknown[0]!r} in the library: it has {', '.join(held) or 'none'}")
    return library.scoped(*scopes)

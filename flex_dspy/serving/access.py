"""Access rights of a server's clients: the scopes that a client may read, and the scope that it may write."""

from __future__ import annotations

from dataclasses import dataclass

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.scopes import SHARED, SHARED_NAME, check_scope
from flex_dspy.libraries.library import ExperienceLibrary


@dataclass(frozen=True, slots=True)
class Access:
    """Access rights of a client.

    Attributes:
        reads: Scopes that the client may read, besides the shared entries.
        writes: Scope of the client's lessons, which it may also read; "" for the shared scope, None if it may not
            teach.
    """

    reads: tuple[str, ...] = ()
    writes: str | None = None

    def view(self, library: ExperienceLibrary) -> ExperienceLibrary:
        """Part of a library that the client may read."""
        return library.scoped(*self.reads, *((self.writes,) if self.writes else ()))


def named_scope(name: str) -> str:
    """Scope with a name from a file or a command line. ``shared`` is the shared scope.

    Raises:
        ConfigurationError: If the name is not a valid scope.
    """
    try:
        return SHARED if name == SHARED_NAME else check_scope(name or "?")
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def parse_access(words: list[str]) -> Access:
    """Parse access rights from words such as ``read=team-a,team-b`` and ``write=team-a``.

    Raises:
        ConfigurationError: If a word has another form, occurs twice, or names an invalid scope.
    """
    given: dict[str, str] = {}
    for word in words:
        key, found, names = word.partition("=")
        if not found or key not in ("read", "write") or key in given:
            raise ConfigurationError("after a token come read=SCOPE,SCOPE and write=SCOPE, each at most once")
        given[key] = names
    reads = tuple(named_scope(name) for name in given["read"].split(",")) if "read" in given else ()
    return Access(reads, named_scope(given["write"]) if "write" in given else None)

"""The scopes that a client of a server may read, and the one that it may write."""

from __future__ import annotations

from dataclasses import dataclass

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.scopes import SHARED, SHARED_NAME, check_scope
from flex_dspy.libraries.library import ExperienceLibrary


@dataclass(frozen=True, slots=True)
class Access:
    """What a client may do.

    Attributes:
        reads: Scopes that it reads, besides the entries that all share.
        writes: Scope that its lessons belong to, which it reads too; "" for all, None where it may not teach.
    """

    reads: tuple[str, ...] = ()
    writes: str | None = None

    def view(self, library: ExperienceLibrary) -> ExperienceLibrary:
        """The part of a library that the client may read."""
        return library.scoped(*self.reads, *((self.writes,) if self.writes else ()))


def named_scope(name: str) -> str:
    """The scope of a name in a file or on a command line: ``shared`` is what all share.

    Raises:
        ConfigurationError: If it is no scope.
    """
    try:
        return SHARED if name == SHARED_NAME else check_scope(name or "?")
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def parse_access(words: list[str]) -> Access:
    """The access that words such as ``read=team-a,team-b`` and ``write=team-a`` give.

    Raises:
        ConfigurationError: If a word is of another form, is there twice, or names no scope.
    """
    given: dict[str, str] = {}
    for word in words:
        key, found, names = word.partition("=")
        if not found or key not in ("read", "write") or key in given:
            raise ConfigurationError("after a token come read=SCOPE,SCOPE and write=SCOPE, each at most once")
        given[key] = names
    reads = tuple(named_scope(name) for name in given["read"].split(",")) if "read" in given else ()
    return Access(reads, named_scope(given["write"]) if "write" in given else None)

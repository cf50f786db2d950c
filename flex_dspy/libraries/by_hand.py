"""A person's edits by name: pin, revise and veto entries of a library in a notebook's cell.

Example:
    >>> from flex_dspy.libraries.experience import Experience
    >>> from flex_dspy.libraries.library import ExperienceLibrary
    >>> library = ExperienceLibrary([Experience("golden", "Count the complement."), Experience("warning", "Guess.")])
    >>> guess = next(entry for entry in library if entry.method == "Guess.")
    >>> library = library.veto(guess.id, reason="no method")
    >>> [entry] = library.pin("c9774c")  # the beginning of an id is enough where no other begins so
    >>> entry.pinned
    True
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from flex_dspy.libraries.contents import Contents
from flex_dspy.libraries.editing import find_entry
from flex_dspy.libraries.experience import PersonEdit, Pin, Remove, Revise

Library = TypeVar("Library", bound=Contents, covariant=True)


class _Editable(Protocol[Library]):
    def edit(self, edits: Sequence[PersonEdit]) -> Library: ...
    def _newest(self) -> Library: ...


class ByHand:
    """Edits of one entry each, by a person: on a snapshot, which gives the next one, or on a store.

    Every method takes an entry's id, or the beginning of one, and returns the library after the edit; it raises
    ``ConfigurationError`` if there is no such entry, or the edit cannot be made.
    """

    def pin(self: _Editable[Library], entry_id: str, reason: str = "") -> Library:
        """Vouch for an entry: it is never pruned, and merges only add precedents to it."""
        return self.edit([Pin(_whole(self, entry_id), reason=reason)])

    def unpin(self: _Editable[Library], entry_id: str, reason: str = "") -> Library:
        """Unpin a pinned entry."""
        return self.edit([Pin(_whole(self, entry_id), pinned=False, reason=reason)])

    def veto(self: _Editable[Library], entry_id: str, reason: str = "", *, force: bool = False) -> Library:
        """Take an entry out; one that is pinned only by ``force``. Learning goes on, and may teach the like again."""
        return self.edit([Remove(_whole(self, entry_id), reason, force)])

    def revise(self: _Editable[Library], entry_id: str, reason: str = "", **fields: Any) -> Library:
        """Change what an entry says; its id, precedents and usage record stay.

        Args:
            entry_id: The entry.
            reason: Why.
            **fields: New values of ``zone``, ``method``, ``rules``, ``trajectory``, ``category`` or ``priority``.
        """
        return self.edit([Revise(_whole(self, entry_id), reason, **fields)])


def _whole(edited: _Editable[Contents], entry_id: str) -> str:
    return find_entry(edited._newest(), entry_id).id

"""A person's edits by name: add, pin, revise and veto entries of a library in a notebook's cell.

Example:
    >>> from flex_dspy.libraries.experience import Experience
    >>> from flex_dspy.libraries.library import ExperienceLibrary
    >>> library = ExperienceLibrary([Experience("golden", "Count the complement."), Experience("warning", "Guess.")])
    >>> guess = next(entry for entry in library if entry.method == "Guess.")
    >>> library = library.veto(guess.id, reason="no method")
    >>> [entry] = library.pin("c9774c")  # the beginning of an id is enough where no other begins so
    >>> entry.pinned
    True
    >>> library = library.add("Ask for the order number.", ["Before you promise a refund."], author="Ann", review=True)
    >>> [lesson] = library.waiting  # nobody is shown it yet
    >>> library.approve(lesson.id)[lesson.id].author
    'Ann'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.zones import Zone
from flex_dspy.libraries.contents import Contents
from flex_dspy.libraries.editing import find_entry, find_waiting
from flex_dspy.libraries.experience import (
    Approve,
    Experience,
    Insert,
    PersonEdit,
    Pin,
    Precedent,
    Propose,
    Reject,
    Remove,
    Revise,
    Rule,
)

PERSON = "a person"  # the author of a lesson, where no name is given

Library = TypeVar("Library", bound=Contents, covariant=True)


class _Editable(Protocol[Library]):
    def edit(self, edits: Sequence[PersonEdit]) -> Library: ...
    def _newest(self) -> Library: ...


class ByHand:
    """Edits of one entry each, by a person: on a snapshot, which gives the next one, or on a store.

    Every method takes an entry's id, or the beginning of one, and returns the library after the edit; it raises
    ``ConfigurationError`` if there is no such entry, or the edit cannot be made.
    """

    def add(
        self: _Editable[Library],
        method: str,
        rules: Sequence[str | Rule] = (),
        *,
        zone: Zone = "golden",
        category: str = "",
        priority: int = 3,
        trajectory: str = "",
        precedents: Sequence[Precedent] = (),
        step: str = "",
        author: str = PERSON,
        pinned: bool = True,
        review: bool = False,
        reason: str = "",
    ) -> Library:
        """Add a lesson that a person wrote.

        Args:
            method: The strategy, one paragraph.
            rules: When to do exactly what; texts, or ``Rule`` with examples.
            zone: ``golden`` for advice, ``warning`` for what goes wrong, ``mixed`` for a way out of it.
            category: The problem family.
            priority: 1 (minor) to 5 (decisive).
            trajectory: A worked instance.
            precedents: Solved cases, by which the lesson is found too.
            step: Name of the predictor that it is for, in a program of several.
            author: Who wrote it; the entry says so.
            pinned: Keep its words: it is never pruned, and merges only add precedents to it.
            review: Let it wait for approval; nobody is shown it before.
            reason: Why.
        """
        if not author:
            raise ConfigurationError("a lesson that a person adds has an author: say who, or leave it out")
        try:
            lesson = Experience(
                zone=zone,
                method=method,
                rules=tuple(rule if isinstance(rule, Rule) else Rule(rule) for rule in rules),
                trajectory=trajectory,
                category=category,
                priority=priority,
                precedents=tuple(precedents),
                step=step,
                author=author,
                pinned=pinned,
            )
        except ValueError as error:
            raise ConfigurationError(f"the lesson: {error}") from error
        return self.edit([Propose(lesson, reason) if review else Insert(lesson, reason)])

    def approve(self: _Editable[Library], entry_id: str, reason: str = "") -> Library:
        """Make a lesson that waits an entry, which actors are shown."""
        return self.edit([Approve(find_waiting(self._newest(), entry_id).id, reason)])

    def reject(self: _Editable[Library], entry_id: str, reason: str = "") -> Library:
        """Drop a lesson that waits. Learning goes on, and may propose the like again."""
        return self.edit([Reject(find_waiting(self._newest(), entry_id).id, reason)])

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

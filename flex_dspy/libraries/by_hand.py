"""Methods by which a person edits a library: add, pin, revise and veto entries, for example in a notebook.

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
    """Methods that change one entry each, for a snapshot and for a store.

    Every method takes the id of an entry, or the beginning of an id. It returns the library after the edit. It raises
    ``ConfigurationError`` if there is no such entry, or if the edit cannot be made.
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
            rules: Exact instructions and when to follow them; texts, or ``Rule`` with examples.
            zone: ``golden`` for advice, ``warning`` for what goes wrong, ``mixed`` for a way to correct a mistake.
            category: The problem family.
            priority: 1 (minor) to 5 (decisive).
            trajectory: A worked instance.
            precedents: Precedents; a search finds the lesson by them too.
            step: Name of the predictor that the lesson is for, if the program has several.
            author: Who wrote the lesson; the entry stores this name.
            pinned: Whether to protect the lesson: it is never pruned, and merges only add precedents to it.
            review: Whether the lesson waits for approval; until then no actor sees it.
            reason: Why the lesson is added.

        Returns:
            The library after the edit.
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
        """Approve a waiting lesson: it becomes an entry, and actors see it."""
        return self.edit([Approve(find_waiting(self._newest(), entry_id).id, reason)])

    def reject(self: _Editable[Library], entry_id: str, reason: str = "") -> Library:
        """Drop a waiting lesson. Later learning may propose a similar lesson again."""
        return self.edit([Reject(find_waiting(self._newest(), entry_id).id, reason)])

    def pin(self: _Editable[Library], entry_id: str, reason: str = "") -> Library:
        """Pin an entry: it is never pruned, and merges only add precedents to it."""
        return self.edit([Pin(_whole(self, entry_id), reason=reason)])

    def unpin(self: _Editable[Library], entry_id: str, reason: str = "") -> Library:
        """Unpin a pinned entry."""
        return self.edit([Pin(_whole(self, entry_id), pinned=False, reason=reason)])

    def veto(self: _Editable[Library], entry_id: str, reason: str = "", *, force: bool = False) -> Library:
        """Remove an entry. A pinned entry needs ``force``. Later learning may add a similar entry again."""
        return self.edit([Remove(_whole(self, entry_id), reason, force)])

    def revise(self: _Editable[Library], entry_id: str, reason: str = "", **fields: Any) -> Library:
        """Change the content of an entry; its id, precedents and usage record stay.

        Args:
            entry_id: The entry.
            reason: Why.
            **fields: New values of ``zone``, ``method``, ``rules``, ``trajectory``, ``category`` or ``priority``.
        """
        return self.edit([Revise(_whole(self, entry_id), reason, **fields)])


def _whole(edited: _Editable[Contents], entry_id: str) -> str:
    return find_entry(edited._newest(), entry_id).id

"""The changes that led from one snapshot of a library to the next, for the indexes to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flex_dspy.libraries.experience import Experience, Precedent


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one entry, as the indexes read it.

    Attributes:
        entry_id: The entry.
        precedents: Its new precedents.
        rewritten: The entry as it is now, where it is new or its text or zone changed.
        removed: The entry is gone, with all that was read of it. Its id may come back later.
    """

    entry_id: str
    precedents: tuple[Precedent, ...] = ()
    rewritten: Experience | None = None
    removed: bool = False


class ChangeLog:
    """The changes of a line of snapshots, oldest first, and the indexes built from them.

    Snapshots of one line share one log; each knows how much of it is its own (``ExperienceLibrary.tip``).
    Only the newest snapshot appends; an older one that is changed copies its part first.
    """

    def __init__(self, changes: list[Change]) -> None:
        self.changes = changes
        self.views: dict[Any, Any] = {}

    def extend(self, tip: int, changes: list[Change]) -> ChangeLog:
        """This log with ``changes`` after its first ``tip``, in place where nothing follows them yet."""
        log = self if tip == len(self.changes) else ChangeLog(self.changes[:tip])
        log.changes.extend(changes)
        return log

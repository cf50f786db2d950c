"""The log of changes between snapshots of a library; indexes and replicas read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flex_dspy.libraries.experience import Commit, Experience, Precedent

_RECENT = 1_024  # commits that a log keeps; a replica that misses more gets the whole library


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one entry, as the indexes read it.

    Attributes:
        entry_id: The entry.
        precedents: Its new precedents.
        rewritten: The entry as it is now, if it is new or if its text or zone changed.
        removed: Whether the entry was removed, so that indexes drop it. Its id may come back later.
    """

    entry_id: str
    precedents: tuple[Precedent, ...] = ()
    rewritten: Experience | None = None
    removed: bool = False


class ChangeLog:
    """The changes of a series of snapshots, oldest first, with their indexes and their last commits.

    The snapshots of one series share one log. Each snapshot knows how many of the changes belong to it
    (``ExperienceLibrary.tip``). Only the newest snapshot appends to the log. If an older snapshot is changed, it first
    copies its part of the log.
    """

    def __init__(self, changes: list[Change]) -> None:
        self.changes = changes
        self.views: dict[Any, Any] = {}
        self._commits: dict[int, Commit] = {}  # by number, oldest first

    def extend(self, tip: int, changes: list[Change], number: int, commit: Commit) -> ChangeLog:
        """Add the changes of a commit, and return the log that holds them.

        The log is changed in place if ``tip`` is its end; otherwise the first ``tip`` changes are copied.

        Args:
            tip: Number of changes that stay.
            changes: The changes that follow them.
            number: The commit's number in the library.
            commit: The commit.
        """
        is_newest = tip == len(self.changes) and number not in self._commits
        log = self if is_newest else self._copy(tip, number)
        log.changes.extend(changes)
        log._commits[number] = commit
        if len(log._commits) > _RECENT:
            del log._commits[next(iter(log._commits))]
        return log

    def _copy(self, tip: int, number: int) -> ChangeLog:
        log = ChangeLog(self.changes[:tip])
        log._commits = {earlier: commit for earlier, commit in self._commits.items() if earlier < number}
        return log

    def commits(self, after: int, last: int) -> list[Commit] | None:
        """The commits from one snapshot to a later one; None if the log no longer has all of them.

        Args:
            after: Number of the last commit of the earlier snapshot.
            last: Number of the last commit of the later one.
        """
        found = [self._commits.get(number) for number in range(after + 1, last + 1)]
        known = [commit for commit in found if commit is not None]
        return known if len(known) == len(found) else None

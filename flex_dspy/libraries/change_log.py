"""The changes that led from one snapshot of a library to the next, for the indexes and for replicas to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flex_dspy.libraries.experience import Commit, Experience, Precedent

_RECENT = 1_024  # commits that a log remembers; a replica that lacks more is given the library whole


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
    """The changes of a line of snapshots, oldest first, the indexes built from them, and the last commits.

    Snapshots of one line share one log; each knows how much of it is its own (``ExperienceLibrary.tip``).
    Only the newest snapshot appends; an older one that is changed copies its part first.
    """

    def __init__(self, changes: list[Change]) -> None:
        self.changes = changes
        self.views: dict[Any, Any] = {}
        self._commits: dict[int, Commit] = {}  # by number, oldest first

    def extend(self, tip: int, changes: list[Change], number: int, commit: Commit) -> ChangeLog:
        """This log with the changes of one more commit, in place where nothing follows its first changes yet.

        Args:
            tip: How many of the changes stay.
            changes: Those that follow.
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
        """The commits from one snapshot to a later one; None where they are forgotten.

        Args:
            after: Number of the last commit of the earlier snapshot.
            last: Number of the last commit of the later one.
        """
        found = [self._commits.get(number) for number in range(after + 1, last + 1)]
        known = [commit for commit in found if commit is not None]
        return known if len(known) == len(found) else None

"""A worker's copy of a line of snapshots, kept up to date by commits."""

from __future__ import annotations

from flex_dspy.cluster.messages import Commits
from flex_dspy.libraries.experience import COMMIT_JSON
from flex_dspy.libraries.library import ExperienceLibrary


class Replica:
    """The last snapshots of a line. They share their data structures, as the driver's snapshots do.

    Args:
        base: The snapshot to start from.
    """

    def __init__(self, base: ExperienceLibrary) -> None:
        self._newest = base
        self._snapshots = {base.seen: base}

    @property
    def newest(self) -> int:
        """Number of the newest snapshot."""
        return self._newest.seen

    def apply(self, commits: Commits) -> None:
        """Apply the commits that the replica lacks. Do nothing if an earlier commit is missing too."""
        skip = self.newest + 1 - commits.first
        if skip < 0:
            return
        for body in commits.bodies[skip:]:
            self._newest = self._newest.apply(COMMIT_JSON.validate_json(body, strict=True))
            self._snapshots[self.newest] = self._newest

    def forget(self, oldest: int) -> None:
        """Drop the snapshots before number ``oldest``. The newest snapshot always stays."""
        for seen in [seen for seen in self._snapshots if seen < oldest and seen != self.newest]:
            del self._snapshots[seen]

    def get(self, seen: int) -> ExperienceLibrary | None:
        """The snapshot after ``seen`` commits; None if the replica does not have it."""
        return self._snapshots.get(seen)

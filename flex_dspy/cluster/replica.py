"""A worker's copy of a line of snapshots, kept up to date by commits."""

from __future__ import annotations

from flex_dspy.cluster.messages import Commits
from flex_dspy.libraries.experience import COMMIT_JSON
from flex_dspy.libraries.library import ExperienceLibrary


class Replica:
    """The last snapshots of a line. They share their structure, as the driver's do.

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
        """Apply those of the commits that are missing. Nothing changes where one before them is missing too."""
        skip = self.newest + 1 - commits.first
        if skip < 0:
            return
        for body in commits.bodies[skip:]:
            self._newest = self._newest.apply(COMMIT_JSON.validate_json(body, strict=True))
            self._snapshots[self.newest] = self._newest

    def forget(self, oldest: int) -> None:
        """Let go of the snapshots before this one. The newest stays."""
        for seen in [seen for seen in self._snapshots if seen < oldest and seen != self.newest]:
            del self._snapshots[seen]

    def get(self, seen: int) -> ExperienceLibrary | None:
        """The snapshot after so many commits; None where it is not here."""
        return self._snapshots.get(seen)

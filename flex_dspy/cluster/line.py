"""The driver's view of a line of snapshots. It gives the base and the commits that a replica needs."""

from __future__ import annotations

import itertools
import secrets
from collections import Counter, deque

from flex_dspy.cluster.messages import Commits
from flex_dspy.libraries.experience import COMMIT_JSON
from flex_dspy.libraries.library import ExperienceLibrary

_SPARE = 1_000  # commits before the base; kept for replicas that are slightly behind


class Line:
    """A line of snapshots: a base, and the commits after it.

    The base moves forward, so that a new worker starts near the newest snapshot and not at the first commit.

    Args:
        base: The first snapshot.

    Attributes:
        id: Name of the line.
        under_way: How many running calls see each snapshot, by number of the snapshot.
    """

    def __init__(self, base: ExperienceLibrary) -> None:
        self.id = secrets.token_hex(8)
        self.base = base
        self.newest = base.seen
        self.under_way: Counter[int] = Counter()
        self._bodies: deque[bytes] = deque()  # the last of them is commit ``newest``
        self._text: bytes | None = None

    def advance(self, library: ExperienceLibrary) -> bool:
        """Add the commits up to a snapshot. Return False if the library no longer has all of them."""
        if library.seen <= self.newest:
            return True
        commits = library.log.commits(self.newest, library.seen)
        if commits is None:
            return False
        self._bodies.extend(map(COMMIT_JSON.dump_json, commits))
        self.newest = library.seen
        if self.newest - self.base.seen > len(library) + _SPARE:
            self._move_base(library)
        return True

    def _move_base(self, library: ExperienceLibrary) -> None:
        self.base, self._text = library, None
        while len(self._bodies) > _SPARE:
            self._bodies.popleft()

    def after(self, seen: int) -> Commits | None:
        """The commits after a snapshot; None if some of them are no longer kept."""
        count = self.newest - seen
        if not 0 <= count <= len(self._bodies):
            return None
        bodies = itertools.islice(self._bodies, len(self._bodies) - count, None)
        return Commits(seen + 1, tuple(bodies))

    def base_text(self) -> bytes:
        """The base as the text of a library file.

        The first call takes a second for 40,000 entries. Later calls return the same text.
        """
        if self._text is None:
            self._text = self.base.to_json().encode()
        return self._text

    @property
    def oldest(self) -> int:
        """Number of the oldest snapshot that a running call sees."""
        return min(self.under_way, default=self.newest)

    def begin(self, seen: int) -> None:
        """Note that a call which sees a snapshot has started."""
        self.under_way[seen] += 1

    def end(self, seen: int) -> None:
        """Note that a call which saw a snapshot has ended."""
        self.under_way[seen] -= 1
        if not self.under_way[seen]:
            del self.under_way[seen]

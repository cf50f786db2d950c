"""Publishes the versions of a library that is learned online."""

from __future__ import annotations

from collections import deque

from flex_dspy.evaluation.evaluation import Evaluation
from flex_dspy.learning.events import EditCommitted, Event, VersionPublished
from flex_dspy.learning.listeners import Broadcast
from flex_dspy.learning.version import Version, VersionRecord, Versions
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import Store
from flex_dspy.models.spending import Ledger


class OnlineVersions:
    """Publishes versions, from any thread. It is also a listener that counts the share of solved observations.

    Args:
        store: The library.
        run: Identity of the run that its versions are of.
        last: Number of the newest observations that the share is computed from.
        ledger: What was spent.

    Attributes:
        is_waited_for: True: the thread that learns has nothing else to do.
        records: The published versions, including those of earlier processes of this run.
        listeners: Receive an event for each version.
    """

    is_waited_for = True

    def __init__(self, store: Store, run: str, last: int, ledger: Ledger) -> None:
        self._log = VersionLog(store.path, run)
        self.records: Versions = self._log.records
        self.listeners = Broadcast()
        self._store = store
        self._ledger = ledger
        self._solved: deque[bool] = deque(maxlen=last)
        self._before = (store.replay() or (store.library,))[0]

    def __call__(self, event: Event) -> None:
        """Count an observation."""
        if isinstance(event, EditCommitted):
            self._solved.append(bool(event.commit.solved))

    @property
    def newest_hash(self) -> str:
        """The last version's hash; "" if none is known."""
        return self._log.newest_hash

    async def probe(self, library: ExperienceLibrary) -> Evaluation | None:
        """Return None: there are no validation examples to measure on."""
        return None

    def write(self) -> ExperienceLibrary:
        """Return the newest library. ``publish_now`` writes it, because any thread may publish."""
        return self._store.library

    async def publish(self, step: int, library: ExperienceLibrary, evaluation: Evaluation | None = None) -> None:
        """See ``publish_now``."""
        self.publish_now(step)

    def publish_now(self, step: int) -> str:
        """Write the library's file as a version, and tell the listeners.

        Args:
            step: Number of observations learned from.

        Returns:
            The version's hash.

        Raises:
            LibraryError: If the file cannot be written.
        """
        with self.listeners.lock:
            before, newest = self._before, self._store.library
            library = self._store.checkpoint(before.hash if len(before) and before != newest else None)
            self._before = library
            version = Version(library, step, self._metrics())
            record = VersionRecord.of(self._log.run, step, library, version.metrics)
            self.listeners.tell(VersionPublished(self._log.run, version, record))
            self._log.refresh()
            self._log.append(record)
            return library.hash

    def checkpoint(self) -> None:
        """Write the library's file without publishing a version."""
        with self.listeners.lock:
            self._store.checkpoint()

    def _metrics(self) -> dict[str, float]:
        count = len(self._solved)
        metrics = {"solved": sum(self._solved) / count, "n": float(count)} if count else {}
        return metrics | (self._ledger.metrics() if self._ledger.total.tokens else {})

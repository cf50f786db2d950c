"""The versions of a library that is learned online: the file, a line about it, and MLflow."""

from __future__ import annotations

import threading
from collections import deque

from flex_dspy.libraries.store import Store
from flex_dspy.models.spending import Ledger
from flex_dspy.tracking.tracker import Tracker, Version
from flex_dspy.tracking.versions import VersionLog, Versions


class OnlineVersions:
    """Publishes versions. Any thread may.

    Args:
        store: The library.
        run: Identity of the run that its versions are of.
        last: How many observations the share of solved ones is of.
        tracker: Logs every version; None logs nothing.
        ledger: What was spent.

    Attributes:
        records: What was published, of earlier processes of this run too.
        writing: Held for each change of the store.
    """

    def __init__(self, store: Store, run: str, last: int, tracker: Tracker | None, ledger: Ledger) -> None:
        self._log = VersionLog(store.path, run)
        self.records: Versions = self._log.records
        self.writing = threading.Lock()
        self._store = store
        self._tracker = tracker
        self._ledger = ledger
        self._solved: deque[bool] = deque(maxlen=last)
        self._before = store.replayed[0] if store.replayed else store.library

    def note(self, solved: bool) -> None:
        """Count one observation."""
        with self.writing:
            self._solved.append(solved)

    def publish(self, step: int) -> str:
        """Write the library's file, and log it.

        Args:
            step: Number of observations learned from.

        Returns:
            The version's hash.

        Raises:
            LibraryError: If the file cannot be written.
        """
        with self.writing:
            before, now = self._before, self._store.library
            library = self._store.checkpoint(before.hash if len(before) and before != now else None)
            self._before = library
            numbers = self._metrics()
            if self._tracker is not None:
                self._tracker.log_version(Version(library, step, numbers))
            self._log.refresh()
            self._log.add(step, library, numbers)
            return library.hash

    def checkpoint(self) -> None:
        """Write the library's file, and publish nothing."""
        with self.writing:
            self._store.checkpoint()

    def _metrics(self) -> dict[str, float]:
        count = len(self._solved)
        numbers = {"solved": sum(self._solved) / count, "n": float(count)} if count else {}
        return numbers | (self._ledger.metrics() if self._ledger.total.tokens else {})

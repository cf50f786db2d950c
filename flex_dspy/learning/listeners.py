"""Telling listeners and stop rules of events."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from flex_dspy.learning.events import Event, Listener, StopRule


class Broadcast:
    """Tells every listener of each event, then asks the stop rules.

    Args:
        listeners: Called in this order.
        stop: Stop rules. The first that returns True, or a reason as text, stops the run.

    Attributes:
        lock: Held while an event is told, and for each change of the store: any thread may publish a version.
        reason: The reason to stop; "" as long as there is none.
    """

    def __init__(self, listeners: Sequence[Listener] = (), stop: Sequence[StopRule] = ()) -> None:
        self.listeners = tuple(listeners)
        self.stop = tuple(stop)
        self.lock = threading.RLock()
        self.reason = ""

    def tell(self, event: Event) -> None:
        """Tell all of an event. An error of a listener is the caller's."""
        with self.lock:
            for listener in self.listeners:
                listener(event)
            for rule in self.stop:
                answer = rule(event)
                if answer and not self.reason:
                    self.reason = answer if isinstance(answer, str) else f"{rule!r} said so"

"""Sends events to listeners and stop rules."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from flex_dspy.learning.events import Event, Listener, StopRule


class Broadcast:
    """Sends each event to every listener, then to the stop rules.

    Args:
        listeners: Called in this order.
        stop: Stop rules. The first that returns True, or a reason as text, stops the run.

    Attributes:
        lock: Held while an event is sent, and for each change of the store, because any thread may publish a version.
        reason: The reason to stop; "" if there is none.
    """

    def __init__(self, listeners: Sequence[Listener] = (), stop: Sequence[StopRule] = ()) -> None:
        self.listeners = tuple(listeners)
        self.stop = tuple(stop)
        self.lock = threading.RLock()
        self.reason = ""

    def tell(self, event: Event) -> None:
        """Send an event to all listeners and stop rules. An error of a listener reaches the caller."""
        with self.lock:
            for listener in self.listeners:
                listener(event)
            for rule in self.stop:
                answer = rule(event)
                if answer and not self.reason:
                    self.reason = answer if isinstance(answer, str) else f"{rule!r} said so"

"""Counts failures in a row, to notice when nothing works."""

from __future__ import annotations

from flex_dspy.core.errors import ModelError
from flex_dspy.evaluation.settings import HOPELESS


class Streak:
    """The failures since the last success.

    Args:
        has_worked: Whether an example has succeeded before.
        is_endless: Whether the run has no last example. Nobody watches such a run, so ``HOPELESS`` failures in a row of
            any kind end it.
    """

    def __init__(self, has_worked: bool, *, is_endless: bool = False) -> None:
        self.has_worked = has_worked
        self.is_endless = is_endless
        self._failures = 0
        self._outages = 0

    def end(self) -> None:
        """Note that an example succeeded."""
        self.has_worked, self._failures, self._outages = True, 0, 0

    def add(self, error: str, *, outage: bool) -> None:
        """Note that an example failed.

        Args:
            error: The error it ended with.
            outage: Whether a model could not be reached. Unreadable answers never stop a run in which an example has
                succeeded, unless the run is endless.

        Raises:
            ModelError: If ``HOPELESS`` failed in a row, and nothing worked before or no model could be reached.
        """
        self._failures += 1
        self._outages = self._outages + 1 if outage else 0
        if self.is_endless and self._failures >= HOPELESS:
            raise ModelError(f"the last {HOPELESS} observations all failed; the last one said: {error}")
        if not self.has_worked and self._failures >= HOPELESS:
            raise ModelError(
                f"the first {HOPELESS} examples all failed; the last one said: {error}. The same call begins with them"
            )
        if self._outages >= HOPELESS:
            raise ModelError(
                f"{HOPELESS} attempts in a row met a model that does not work; the last one said: {error}. What was "
                "learned is kept: the same call goes on where it stood"
            )

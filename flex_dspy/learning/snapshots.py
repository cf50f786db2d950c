"""The snapshots of the library that the next examples see."""

from __future__ import annotations

from collections.abc import Sequence

from flex_dspy.libraries.library import ExperienceLibrary


class StalenessWindow:
    """The library after each of the last steps, for bounded staleness.

    The example of a step sees the library after the edits up to ``step - window``, or the last version if it is newer.
    The order in which attempts finish does not matter.

    Args:
        replayed: The snapshots of the store since its last checkpoint, in order.
        run: Identity of the run.
        window: The staleness bound.

    Source: Ho et al., NeurIPS 2013 (stale synchronous parallel).
    """

    def __init__(self, replayed: Sequence[ExperienceLibrary], run: str, window: int) -> None:
        self.window = window
        self._after = {library.runs.get(run, 0): library for library in replayed}

    def keep(self, step: int, library: ExperienceLibrary) -> None:
        """Keep the library after a step, and drop the snapshots that no later example can see."""
        self._after[step] = library
        for old in [known for known in self._after if known < step - self.window]:
            del self._after[old]

    def snapshot_for(self, step: int, start: int) -> ExperienceLibrary:
        """The snapshot that the example of a step sees.

        Args:
            step: The example's step.
            start: Step of the last version before the example.
        """
        newest = max(step - self.window, start)
        known = [after for after in self._after if after <= newest]
        return self._after[max(known) if known else min(self._after)]

"""Repeats examples that failed in an earlier call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from flex_dspy.learning.pipeline import Pipeline, cancel
from flex_dspy.learning.sources import TrainingSet
from flex_dspy.libraries.experience import Commit
from flex_dspy.libraries.failures import Failure


class Retrying:
    """Attempts again the examples that failed in an earlier call.

    All examples see one snapshot: the library after the last example of the training set. A run that was killed finds
    this snapshot again, because no version is published during the pass. The commits of the retried examples form a
    separate run. Each pass over the failures has its own steps, which are higher than the steps of the pass before.

    Args:
        pipeline: The run.
        source: Its examples.
        failures: The failures of the earlier call.
        is_written: Whether a version holds the newest library.
    """

    def __init__(
        self, pipeline: Pipeline, source: TrainingSet, failures: Sequence[Failure], is_written: Callable[[], bool]
    ) -> None:
        self.pipeline = pipeline
        self.source = source
        self.failures = list(failures)
        self.is_written = is_written
        self.run_id = retry_run(source.run)
        total = len(source.order)
        complete = (each for each in pipeline.store.replay() if each.runs.get(source.run, 0) == total)
        self._complete = next(complete, None)  # the library after the last example, if an earlier call reached it

    def has_unpublished(self) -> bool:
        """Whether the library holds edits of retried examples that no version holds."""
        return self.run_id in self.pipeline.store.library.runs and not self.is_written()

    async def run(self) -> bool:
        """Attempt the failed examples, and commit their edits in the order of the examples.

        Returns:
            Whether the library has edits of these examples that no version holds.
        """
        if self.failures:
            self.pipeline.pass_over()
            await self._attempt_all()
        return self.has_unpublished()

    async def _attempt_all(self) -> None:
        library, total = self.pipeline.store.library, len(self.source.order)
        seen = self._complete or library
        offset = -(-library.runs.get(self.run_id, 0) // total) * total
        items = [self.source.item(failure.step) for failure in self.failures]
        tasks = deque(asyncio.create_task(self.pipeline.explore(item, seen)) for item in items)
        try:
            for failure in self.failures:
                result, edits = await self.pipeline.edits(await tasks.popleft(), seen)
                item = self.source.item(failure.step)
                if result.error:
                    self.pipeline.failures.log.add([replace(failure, error=result.error)])
                    self.pipeline.tell_failure(item, result, is_retry=True)
                    self.pipeline.failures.count(result)
                    continue
                commit = Commit(self.run_id, offset + failure.step, edits, result.tally, result.solved)
                self.pipeline.commit(item, commit, is_retry=True)
                self.pipeline.failures.log.remove(failure.step)
                self.pipeline.failures.streak.end()
        finally:
            await cancel(list(tasks))


def retry_run(run: str) -> str:
    """The run id under which the commits of retried examples are kept."""
    return f"{run} again"


def step_of_retry(commit: int, total: int) -> int:
    """The step of an example, computed from the step of the commit that retried it; 0 if there is no commit."""
    return (commit - 1) % total + 1 if commit else 0

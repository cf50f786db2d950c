"""A second chance for examples that failed in an earlier call."""

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

    All see one snapshot: the library after the last example. It is found again after a kill, as no version is published
    on the way. Their commits are a run of their own. Each pass over the failures has steps of its own, above those of
    the pass before.

    Args:
        pipeline: The run.
        source: Its examples.
        failures: The failures of the earlier call.
        is_published: Whether a version holds the newest library.
    """

    def __init__(
        self, pipeline: Pipeline, source: TrainingSet, failures: Sequence[Failure], is_published: Callable[[], bool]
    ) -> None:
        self.pipeline = pipeline
        self.source = source
        self.failures = list(failures)
        self.is_published = is_published
        self.run_id = retry_run(source.run)
        total = len(source.order)
        complete = (each for each in pipeline.store.replay() if each.runs.get(source.run, 0) == total)
        self._complete = next(complete, None)  # the library after the last example, if that was reached before

    def has_unpublished(self) -> bool:
        """Whether an example that failed at first was learned from since the last version."""
        return self.run_id in self.pipeline.store.library.runs and not self.is_published()

    async def run(self) -> bool:
        """Attempt them, and commit their edits in the order of the examples.

        Returns:
            Whether the library has edits of theirs that no version holds.
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
    """The run of the commits of examples that failed at first."""
    return f"{run} again"


def step_of_retry(commit: int, total: int) -> int:
    """The example's step, from the step of the commit that retried it; 0 for none."""
    return (commit - 1) % total + 1 if commit else 0

"""The thread in which an online learner learns."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import dspy

from flex_dspy.learning.journal_source import JournalSource
from flex_dspy.learning.pipeline import Pipeline
from flex_dspy.models.adapter import lean

logger = logging.getLogger(__name__)

EXIT_SECONDS = 1.0  # how long the end of a program waits


@dataclass(frozen=True, slots=True)
class Job:
    """One journal to learn from.

    Attributes:
        source: The journal.
        pipeline: Learns from it.
    """

    source: JournalSource
    pipeline: Pipeline


class BackgroundLearning:
    """Runs pipelines one after the other, on its own event loop. Any thread may call its methods.

    It uses the model and the adapter of DSPy's settings at the time of ``start``.

    Attributes:
        left: Journals of dead processes that are still to be learned from.
        error: The error that has stopped learning; None if none has.
        is_over: Whether learning has ended.
    """

    def __init__(self) -> None:
        self.left: list[Job] = []
        self.error: BaseException | None = None
        self.is_over = False
        self._changed = threading.Condition()
        self._is_stopping = False
        self._main: asyncio.Task[None] | None = None
        self._process = os.getpid()

    def start(self, left: Sequence[Job], own: Job) -> None:
        """Start learning, and return when the loop runs.

        Args:
            left: Journals of dead processes, which are learned from first, up to their ends.
            own: The journal of this process, which is followed until ``stop``.
        """
        self.left, self._own = list(left), own
        ready = threading.Event()
        models = {"lm": dspy.settings.lm, "adapter": dspy.settings.adapter}
        run = partial(contextvars.copy_context().run, self._work, models, ready)
        self._thread = threading.Thread(target=run, name="flex-dspy-online", daemon=True)
        self._thread.start()
        ready.wait()
        if self._main is None and self.error is not None:
            raise self.error
        atexit.register(self._stop_at_exit)

    def wake(self) -> None:
        """Tell the pipeline that the journal may have new lines."""
        self._call(self._own.pipeline.wake)

    def notify(self) -> None:
        """Wake the threads that wait in ``wait_until``."""
        with self._changed:
            self._changed.notify_all()

    def wait_until(self, is_done: Callable[[], bool], timeout: float | None) -> None:
        """Wait until a condition holds, or learning has ended.

        Args:
            is_done: The condition, which is checked after each change.
            timeout: Most seconds to wait; None sets no limit.
        """
        with self._changed:
            self._changed.wait_for(lambda: is_done() or self.is_over, timeout)

    def stop(self, timeout: float) -> bool:
        """Begin no more observations, and finish the observations under way.

        Args:
            timeout: Seconds after which the observations under way are cancelled.

        Returns:
            Whether the thread has ended.
        """
        self._is_stopping = True
        atexit.unregister(self._stop_at_exit)
        for job in (*self.left, self._own):
            self._call(job.pipeline.stop)
        self._thread.join(timeout)
        if self._thread.is_alive() and self._main is not None:
            self._call(self._main.cancel)
            self._thread.join(EXIT_SECONDS)
        return not self._thread.is_alive()

    def _stop_at_exit(self) -> None:
        """Stop at the end of a program that did not call ``stop``.

        It does not wait, because all observations are on the disk.
        """
        if os.getpid() == self._process:
            self.stop(0.0)

    def _call(self, function: Callable[[], object]) -> None:
        """Call a function on the loop, if the loop still runs."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function)

    def _work(self, models: Mapping[str, Any], ready: threading.Event) -> None:
        try:
            with dspy.context(**models), lean():
                asyncio.run(self._learn(ready))
        except asyncio.CancelledError:
            logger.debug("learning was cut short; the observations that were not learned from are kept")
        except BaseException as error:  # a later call raises it in the caller's thread
            logger.warning("online learning has stopped, and observations are only kept: %s", error)
            self.error = error
        finally:
            self.is_over = True
            self.notify()
            ready.set()

    async def _learn(self, ready: threading.Event) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        ready.set()
        while self.left and not self._is_stopping:
            job = self.left[0]
            await job.pipeline.run()
            if self._is_stopping:
                return
            del self.left[0]
            job.source.journal.close(remove=not job.pipeline.failures.held)
            self.notify()
        await self._own.pipeline.run()

"""Learning from a deployed program: what it answered, and what came of it.

::

    with OnlineLearner(MyAgent(), library="support.json") as learner:
        agent = learner.program                      # reads what was learned, as soon as it is learned
        answer = agent(question="...")
        learner.observe({"question": "..."}, answer, "that was the wrong year")

``observe`` puts the observation on the disk and returns; the critic and the updater work in the background. The
guarantees are those of ``ForwardLearning``: nothing is lost, nothing is learned twice, and the same observations in the
same order give the same library, at any concurrency.

Observations hold what users asked, were answered and said. They lie in ``<library>.observed.jsonl``, readable by its
owner alone, until nothing waits to be learned from; the library keeps problem and answer as precedents, and lessons
that may quote them. A library that starts here is readable by its owner alone too; one that was there keeps its
permissions. Leave out what must not be kept. What users say of an answer is evidence, and may be wrong or meant
to mislead: whom you let teach is up to you.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import logging
import os
import shutil
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import dspy

from flex_dspy.core.errors import BudgetError, ConfigurationError
from flex_dspy.learning.following import NewestSnapshot, following
from flex_dspy.learning.forward import Outcome, model_names
from flex_dspy.learning.observing import Verdict, observation
from flex_dspy.learning.online_versions import OnlineVersions
from flex_dspy.learning.online_writer import OnlineWriter, Pace
from flex_dspy.libraries.failures import Failure
from flex_dspy.libraries.known_ids import digest
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.memory_store import open_store
from flex_dspy.libraries.observed import ObservationJournal, claim
from flex_dspy.libraries.paths import PRIVATE
from flex_dspy.libraries.store import Store
from flex_dspy.models.adapter import lean
from flex_dspy.models.spending import Ledger
from flex_dspy.programs.critic import Critic
from flex_dspy.programs.lesson_writer import LessonWriter
from flex_dspy.programs.updater import Updater
from flex_dspy.programs.verifier import Verifier
from flex_dspy.search.retrieval import retrievers
from flex_dspy.tracking.tracker import Tracker
from flex_dspy.tracking.versions import Versions

logger = logging.getLogger(__name__)

FAILURES = 1_000  # that are remembered
SHARE_OF = 100  # observations that the share of solved ones is of, where versions are published when told to
REFRESH_SECONDS = 1.0  # between two looks at what other processes committed
EXIT_SECONDS = 1.0  # that the end of a program waits


class OnlineLearner:
    """Learns in the background from what a deployed program does.

    Args:
        program: Any program; ``equip`` gives it experience if it has none. It is not changed: ``learner.program`` is
            the copy that reads the library.
        library: Where to learn: a store, or the path of its file, which any number of processes may share, or a
            snapshot to start from in memory. None starts in memory from what the program has.
        critic: The critic; by default a new ``Critic``.
        updater: The updater; by default a new ``Updater``.
        verifier: Reads from a remark without a score whether the answer is accepted; by default a new ``Verifier``.
        threshold: Least score that counts as success, of the default verifier.
        concurrency: Most observations under way at once. It changes speed, never the result.
        window: Staleness bound: an observation is compared with the library after all those up to so many before it.
        publish_every: Observations from one version to the next; None publishes when told to.
        tracker: Logs every version; None logs nothing.
        ledger: Counts tokens and money by role, and keeps a budget. Once that is spent, observations are only kept.
        follow: Whether the program reads each commit, of other processes too, within a second or so; otherwise it reads
            what was there at the last ``refresh``.
        exclude_self: Whether a problem that is asked again is answered without what was learned from it alone. By
            default it is not: a known answer, or a warning against the last one, is what deployment wants. Then the
            share of solved observations says little about new problems where users repeat themselves.

    The model and the adapter are those that DSPy is set to where the learner is made. Make one in each process, after
    forking.

    Raises:
        ConfigurationError: If a number is not positive, the program has nothing to equip, or the tracker cannot be
            used.
        LibraryError: If the library's file, or the journal of observations beside it, cannot be used.
    """

    def __init__(
        self,
        program: dspy.Module,
        *,
        library: Store | ExperienceLibrary | str | Path | None = None,
        critic: Critic | None = None,
        updater: Updater | None = None,
        verifier: Verifier | None = None,
        threshold: float = 1.0,
        concurrency: int = 4,
        window: int = 8,
        publish_every: int | None = 100,
        tracker: Tracker | None = None,
        ledger: Ledger | None = None,
        follow: bool = True,
        exclude_self: bool = False,
    ) -> None:
        for name, value in {"concurrency": concurrency, "window": window, "publish_every": publish_every}.items():
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} must be at least 1, got {value}")
        own = retrievers(program)
        self.ledger = ledger or Ledger()
        self.tracker = tracker
        self._store = open_store(library, own[0].library if own else ExperienceLibrary(), PRIVATE)
        self._newest = NewestSnapshot(self._store, follow)
        self.program = following(program, self._newest, exclude_self)
        self._lessons = LessonWriter(critic or Critic(), updater or Updater(), self.ledger, self.program)
        self._verifier = verifier or Verifier(threshold)
        self._pace = Pace(concurrency, window, publish_every)
        if tracker is not None:
            tracker.start(self._parameters())
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._failures: deque[Failure] = deque(maxlen=FAILURES)
        self._error: BaseException | None = None
        self._main: asyncio.Task[None] | None = None
        self._is_told = self._is_closing = self._is_closed = self._is_over = False
        self._seen_in_file = (self._store.replayed or (self._store.library,))[0].seen
        journal, left = _journals(self._store.path)
        # Without a library's file the journal is one that nobody else will look for.
        self._forget: Any = None
        if self._store.path is None:
            self._forget = weakref.finalize(self, shutil.rmtree, journal.path.parent, ignore_errors=True)
        last = self._pace.publish_every or SHARE_OF
        self._versions = OnlineVersions(self._store, journal.run, last, self.tracker, self.ledger)
        self._left = [self._writer(each) for each in left]
        self._own = self._writer(journal)
        self._store.replayed = ()
        self._start()

    def _writer(self, journal: ObservationJournal) -> OnlineWriter:
        return OnlineWriter(
            journal,
            self._store,
            self._lessons,
            self._verifier,
            self._pace,
            writing=self._versions.writing,
            publish=self._versions.publish,
            report=self._note,
            passed=self._notify,
        )

    # -- what a deployment calls ---------------------------------------------------------------------------

    def observe(
        self,
        inputs: Mapping[str, Any] | dspy.Example,
        prediction: Mapping[str, Any] | dspy.Prediction,
        verdict: Verdict,
        *,
        shown: Sequence[str] = (),
        id: str = "",
    ) -> None:
        """Keep what the program answered and what came of it, to be learned from in the background.

        It returns as soon as the observation is on the disk. Any thread may call it, and code on an event loop too,
        which waits for the disk meanwhile, as any caller does.

        Args:
            inputs: What was asked; a ``dspy.Example`` may hold the right answer under the names of the outputs.
            prediction: What was answered.
            verdict: A number, a bool, a remark as text, or score and feedback in any form that a metric may return. A
                remark alone is read by the verifier. Where it holds the right answer, that is taken out.
            shown: Ids of the entries that the program was shown, from ``pinned``; without, only those count that it
                says it relied on.
            id: Names this observation, such as the id of the request: of two with one id the first counts, after a
                restart too, so that a call which failed or was cut short can be made again. The newest 50,000 ids are
                known; processes at work at the same time do not know each other's.

        Raises:
            ConfigurationError: If an argument cannot be read, the learner is closed, or belongs to another process.
            ValueError: If a score is infinite or no number.
            LibraryError: If the observation cannot be kept. It is not learned from then.
            FlexError: Once, if learning has stopped for a reason that no observation would survive, such as a wrong
                key. The observation is kept nevertheless.
        """
        self._check_usable()
        self._own.journal.append(observation(inputs, prediction, verdict, shown), digest(id))
        self._call(self._wake.set)
        self._tell()

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all that was observed here is learned from, or failed.

        On an event loop: ``await asyncio.to_thread(learner.flush)``.

        Args:
            timeout: Seconds; None waits as long as it takes.

        Raises:
            TimeoutError: If it takes longer.
            FlexError: If learning has stopped: see ``observe``, and ``BudgetError``.
        """
        self._check_usable()
        last = self._own.journal.last

        def done() -> bool:
            return not self._left and self._own.settled >= last

        with self._changed:
            self._changed.wait_for(lambda: done() or self._is_over, timeout)
        if self._error is not None:
            self._is_told = True
            raise self._error
        if not done():
            raise TimeoutError(f"{self.pending} observations are not learned from after {timeout} s")

    def refresh(self) -> ExperienceLibrary:
        """Let the program read the newest library, with the commits of other processes; for ``follow=False``.

        Raises:
            LibraryError: If its file cannot be used.
        """
        library = self._store.refresh()
        self._newest.refreshed(library)
        return library

    def publish(self) -> str:
        """Write the library's file as a version, and log it.

        Returns:
            The version's hash.

        Raises:
            LibraryError: If it cannot be written.
        """
        self._check_usable()
        return self._versions.publish(self._own.settled)

    def close(self, timeout: float = 10.0) -> None:
        """Stop, and write the library's file. What is not learned from stays, and is when a learner is next opened.

        Args:
            timeout: Seconds that observations under way are waited for.

        Raises:
            FlexError: If learning had stopped, and nobody was told.
        """
        if self._is_closed:
            return
        self._stop(timeout)
        self._own.journal.close()
        for writer in self._left:
            writer.journal.close()
        if self._forget is not None:
            self._forget()
        if self._store.library.seen > self._seen_in_file and not self._thread.is_alive():
            self._versions.checkpoint()
        if self.tracker is not None:
            self.tracker.finish()
        self._tell()

    def __enter__(self) -> OnlineLearner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Learn from all that was observed, then close; after an error, close at once."""
        try:
            if kind is None and not self._is_closed:
                self.flush()
        finally:
            self.close()

    @property
    def library(self) -> ExperienceLibrary:
        """The newest snapshot."""
        return self._store.library

    @property
    def versions(self) -> Versions:
        """What was published, with the share of solved ones (``solved``) among the last ``n`` observations."""
        return self._versions.records

    @property
    def pending(self) -> int:
        """How many observations of this process are not learned from yet."""
        return max(0, self._own.journal.last - self._own.settled)

    @property
    def failures(self) -> list[Failure]:
        """The last observations that gave nothing, because the critic, the updater or the verifier failed on them."""
        with self._changed:
            return list(self._failures)

    @property
    def error(self) -> BaseException | None:
        """What has stopped learning, if anything has: a ``BudgetError`` too, which only ``flush`` raises."""
        return self._error

    def _check_usable(self) -> None:
        if os.getpid() != self._process:
            raise ConfigurationError("the learner was made before this process was forked: make one in each process")
        if self._is_closing:
            raise ConfigurationError("the learner is closed")

    def _tell(self) -> None:
        """Raise what has stopped learning, once. That a budget is spent was asked for: only ``flush`` says so."""
        if self._error is not None and not self._is_told and not isinstance(self._error, BudgetError):
            self._is_told = True
            raise self._error

    # -- in the background ---------------------------------------------------------------------------------

    def _start(self) -> None:
        ready = threading.Event()
        models = {"lm": dspy.settings.lm, "adapter": dspy.settings.adapter}
        run = partial(contextvars.copy_context().run, self._work, models, ready)
        self._thread = threading.Thread(target=run, name="flex-dspy-online", daemon=True)
        self._thread.start()
        ready.wait()
        if self._main is None and self._error is not None:
            raise self._error
        atexit.register(self._at_exit)

    def _work(self, models: Mapping[str, Any], ready: threading.Event) -> None:
        try:
            with dspy.context(**models), lean():
                asyncio.run(self._learn(ready))
        except asyncio.CancelledError:
            logger.debug("learning was cut short; what was not learned from is kept")
        except BaseException as error:  # raised in the caller's thread
            logger.warning("online learning has stopped, and observations are only kept: %s", error)
            self._error = error
        finally:
            self._is_over = True
            self._notify()
            ready.set()

    async def _learn(self, ready: threading.Event) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._main = asyncio.current_task()
        ready.set()
        while self._left and not self._is_closing:
            await self._left[0].run(self._wake, lambda: self._is_closing)
            if self._is_closing:
                return
            writer = self._left.pop(0)
            writer.journal.close(remove=not writer.failed)
            self._notify()
        await self._own.run(self._wake, lambda: self._is_closing, REFRESH_SECONDS)

    def _note(self, outcome: Outcome, failure: Failure | None) -> None:
        if failure is None:
            self._versions.note(bool(outcome.solved))
            return
        with self._changed:
            self._failures.append(failure)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _call(self, function: Any) -> None:
        """Call a function on the loop in the background, if that still runs."""
        with contextlib.suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(function)

    def _stop(self, timeout: float) -> None:
        self._is_closing = self._is_closed = True
        atexit.unregister(self._at_exit)
        self._call(self._wake.set)
        self._thread.join(timeout)
        if self._thread.is_alive() and self._main is not None:
            self._call(self._main.cancel)
            self._thread.join(EXIT_SECONDS)

    def _at_exit(self) -> None:
        """At the end of a program that did not close the learner: all is on the disk, so nothing is waited for."""
        if os.getpid() == self._process and not self._is_closed:
            self._stop(0.0)

    def _parameters(self) -> dict[str, Any]:
        return {
            "task": self._store.library.task,
            "online": True,
            "window": self._pace.window,
            "concurrency": self._pace.concurrency,
            "publish_every": self._pace.publish_every,
            "actor": model_names(self.program),
            "verifier": model_names(self._verifier),
            "critic": model_names(self._lessons.critic),
            "updater": model_names(self._lessons.updater),
        }


def _journals(library: Path | None) -> tuple[ObservationJournal, list[ObservationJournal]]:
    """The journal to write to, and those that dead processes left; without a library's file, one for this process."""
    if library is not None:
        return claim(library)
    folder = Path(tempfile.mkdtemp(prefix="flex-dspy-online-"))
    return ObservationJournal(folder / "observed.jsonl", durable=False), []

"""Learns from a deployed program: from its answers and their verdicts.

::

    with OnlineLearner(MyAgent(), library="support.json") as learner:
        agent = learner.program                      # reads each lesson as soon as it is learned
        answer = agent(question="...")
        learner.observe({"question": "..."}, answer, "that was the wrong year")

``observe`` writes the observation to disk and returns. The critic and the updater work in the background. The
guarantees are those of ``ForwardLearning``. Every observation is processed exactly once. The same observations in the
same order give the same library, at any concurrency.

Observations hold the questions, the answers and the remarks of users. They lie in ``<library>.observed.jsonl``, which
only its owner can read, until all of them are learned from. The library keeps problem and answer as precedents, and its
lessons may quote them. Only the owner can read a new library; an existing library keeps its permissions. Remove
sensitive data before you call ``observe``. A user's remark may be wrong or meant to mislead, so decide whose remarks
the program learns from.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import dspy

from flex_dspy.core.errors import BudgetError, ConfigurationError
from flex_dspy.core.settings import accepts
from flex_dspy.learning.background import BackgroundLearning, Job
from flex_dspy.learning.events import Event, ExampleFailed, Listener, RunEnded, RunStarted
from flex_dspy.learning.executors import Executor, LocalExecutor
from flex_dspy.learning.following import NewestSnapshot, follow
from flex_dspy.learning.held_failures import HeldFailures
from flex_dspy.learning.journal_source import JournalSource, ObservationAttempt
from flex_dspy.learning.listeners import Broadcast
from flex_dspy.learning.online_versions import OnlineVersions
from flex_dspy.learning.pipeline import Pipeline
from flex_dspy.learning.ports import Ports
from flex_dspy.learning.records import UsageRecorder
from flex_dspy.learning.run_identity import model_names
from flex_dspy.learning.settings import OnlineSettings
from flex_dspy.learning.streak import Streak
from flex_dspy.learning.trackers import Tracker, TrackerListener
from flex_dspy.learning.verdicts import Verdict, observation
from flex_dspy.learning.version import Versions
from flex_dspy.libraries.failures import Failure, FailureLog
from flex_dspy.libraries.known_ids import digest
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.memory_store import open_store
from flex_dspy.libraries.observed import ObservationJournal, claim
from flex_dspy.libraries.paths import PRIVATE
from flex_dspy.libraries.store import Store
from flex_dspy.models.spending import Ledger
from flex_dspy.programs.critic import Critic
from flex_dspy.programs.lesson_writer import LessonWriter
from flex_dspy.programs.updater import Updater
from flex_dspy.programs.verifier import Verifier
from flex_dspy.search.retrieval import retrievers

FAILURES = 1_000  # failures that are remembered
SHARE_OF = 100  # newest observations in the share, if only ``publish`` publishes
REFRESH_SECONDS = 1.0  # between two looks at what other processes committed


class OnlineLearner:
    """Learns in the background from the answers of a deployed program.

    Args:
        program: Any program; ``equip`` gives experience to its copy if it has none. It is not changed:
            ``learner.program`` is the copy that reads the library.
        library: Where to learn: a store, the path of its file, or a snapshot to start from in memory. Any number of
            processes may share a file. None starts in memory from the program's own library.
        critic: The critic; by default a new ``Critic``.
        updater: The updater; by default a new ``Updater``.
        verifier: Decides from a remark without a score whether the answer is accepted; by default a new ``Verifier``.
        tracker: Logs every version; None logs nothing.
        ledger: Counts tokens and money by role, and enforces a budget. After the budget is spent, observations are kept
            but not learned from.
        listeners: Called with every event, on the thread that learns; see ``flex_dspy.learning.events``.
        executor: Where lessons are written; None writes them in this process.
        settings: The settings; None starts from the defaults.
        **options: Fields of ``OnlineSettings`` by name.

    The learner uses the model and the adapter of DSPy's settings at the time when it is made. Make a learner in each
    process, after forking.

    Raises:
        ConfigurationError: If a number is not positive, the program has no predictor that can read a library, or the
            tracker cannot be used.
        LibraryError: If the library's file, or the journal of observations beside it, cannot be used.
    """

    @accepts(OnlineSettings)
    def __init__(
        self,
        program: dspy.Module,
        *,
        library: Store | ExperienceLibrary | str | Path | None = None,
        critic: Critic | None = None,
        updater: Updater | None = None,
        verifier: Verifier | None = None,
        tracker: Tracker | None = None,
        ledger: Ledger | None = None,
        listeners: Sequence[Listener] = (),
        executor: Executor | None = None,
        settings: OnlineSettings | None = None,
        **options: Any,
    ) -> None:
        self.settings = OnlineSettings.resolve(settings, options)
        own = retrievers(program)
        self.ledger = ledger or Ledger()
        self._store = open_store(library, own[0].snapshot() if own else ExperienceLibrary(), PRIVATE)
        self._newest = NewestSnapshot(self._store, self.settings.follow)
        self.program = follow(program, self._newest, self.settings)
        roles = critic or Critic(), updater or Updater()
        given = self.settings.lessons_from
        self._lessons = LessonWriter(*roles, self.ledger, self.program, given, review=self.settings.review)
        self._verifier = verifier or Verifier(self.settings.threshold)
        self._executor = executor or LocalExecutor(self.settings.concurrency)
        self._process = os.getpid()
        self._background = BackgroundLearning()
        self._failures: deque[Failure] = deque(maxlen=FAILURES)
        self._is_told = self._is_closed = False
        self._begin([TrackerListener(tracker)] if tracker else [], listeners)

    def _begin(self, trackers: Sequence[Listener], listeners: Sequence[Listener]) -> None:
        """Claim the journals, tell the listeners that the run starts, and start learning."""
        self._seen_in_file = (self._store.replay() or (self._store.library,))[0].seen
        self._journal, left = _claim_journals(self._store.path)
        # Without a library's file no other process knows the journal, so it is deleted at the end.
        self._forget: Any = None
        if self._store.path is None:
            self._forget = weakref.finalize(self, shutil.rmtree, self._journal.path.parent, ignore_errors=True)
        last = self.settings.publish_every or SHARE_OF
        self._versions = OnlineVersions(self._store, self._journal.run, last, self.ledger)
        recorder = [UsageRecorder(self._store.path)] if self._store.path else []
        self._listeners = Broadcast([*recorder, self._versions, self._note, *trackers, *listeners])
        self._versions.listeners = self._listeners
        try:
            self._listeners.tell(RunStarted(self._journal.run, self._parameters(), done=self._store.library.seen))
        except BaseException:
            for journal in (self._journal, *left):  # another process can then claim them
                journal.close()
            raise
        self._own = self._job(self._journal, REFRESH_SECONDS)
        self._background.start([self._job(journal, None) for journal in left], self._own)

    def _job(self, journal: ObservationJournal, poll_seconds: float | None) -> Job:
        """The source and the pipeline of a journal.

        Without ``poll_seconds`` they end with the last line of the journal.
        """
        done = self._store.library.runs.get(journal.run, 0)
        source = JournalSource(journal, done, self.settings.publish_every, poll_seconds, self._background.notify)
        attempt = ObservationAttempt(self._verifier, self._lessons, self.program)
        failures = HeldFailures(FailureLog(None, journal.run), Streak(has_worked=done > 0, is_endless=True))
        ports = Ports(source, self._executor, self._store, self._listeners)
        window = self.settings.window
        return Job(source, Pipeline(ports, attempt, self._lessons, self._versions, failures, window))

    # -- what a deployment calls ---------------------------------------------------------------------------

    def observe(
        self,
        inputs: Mapping[str, Any] | dspy.Example,
        prediction: Mapping[str, Any] | dspy.Prediction,
        verdict: Verdict,
        *,
        shown: Sequence[str] = (),
        id: str = "",
        scope: str | None = None,
    ) -> None:
        """Store an answer of the program with its verdict. The learner learns from it in the background.

        The call returns as soon as the observation is on the disk. Any thread may call it. A call on an event loop
        blocks the loop until the disk has written.

        Args:
            inputs: The program's inputs. A ``dspy.Example`` may also hold the right answer under the names of the
                outputs.
            prediction: The program's answer.
            verdict: A number, a bool, a remark as text, or score and feedback in any form that a metric may return. The
                verifier reads a remark without a score. If a remark holds the right answer, the answer is removed from
                it.
            shown: Ids of the entries that the program was shown, from ``pinned``. Without them, only the entries that
                the program says it relied on count as shown.
            id: Name of the observation, such as the id of the request. If two observations have one id, the first
                counts, also after a restart. So a call that failed or was interrupted can be repeated. The newest
                50,000 ids are remembered. Processes that run at the same time do not know each other's ids. Each scope
                has its own ids.
            scope: The scope that the lesson will belong to; "" for all, None for the scope of the settings.

        Raises:
            ConfigurationError: If an argument cannot be read, the learner is closed, or belongs to another process.
            ValueError: If a score is infinite or not a number.
            LibraryError: If the observation cannot be stored. It is then not learned from.
            FlexError: Once, if learning has stopped with an error that would end every observation, such as a wrong
                key. The observation is stored nevertheless.
        """
        self._check_usable()
        scope = self.settings.scope if scope is None else scope
        known_as = digest(f"{scope}\n{id}" if id and scope else id)
        self._journal.append(observation(inputs, prediction, verdict, shown, scope), known_as)
        self._background.wake()
        self._tell()

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every observation of this learner is learned from or failed.

        On an event loop: ``await asyncio.to_thread(learner.flush)``.

        Args:
            timeout: Most seconds to wait; None sets no limit.

        Raises:
            TimeoutError: If it takes longer.
            FlexError: If learning has stopped: see ``observe``, and ``BudgetError``.
        """
        self._check_usable()
        last = self._journal.last

        def is_done() -> bool:
            return not self._background.left and self._own.source.settled >= last

        self._background.wait_until(is_done, timeout)
        if self.error is not None:
            self._is_told = True
            raise self.error
        if not is_done():
            raise TimeoutError(f"{self.pending} observations are not learned from after {timeout} s")

    def refresh(self) -> ExperienceLibrary:
        """Let the program read the newest library, with the commits of other processes. Useful with ``follow=False``.

        Raises:
            LibraryError: If its file cannot be used.
        """
        library = self._store.refresh()
        self._newest.refresh_to(library)
        return library

    def publish(self) -> str:
        """Write the library's file as a version, and log it.

        Returns:
            The version's hash.

        Raises:
            LibraryError: If it cannot be written.
        """
        self._check_usable()
        return self._versions.publish_now(self._own.source.settled)

    def close(self, timeout: float = 10.0) -> None:
        """Stop learning, and write the library's file. The next learner learns from the observations that are left.

        Args:
            timeout: Most seconds to wait for observations under way.

        Raises:
            FlexError: If learning had stopped with an error that no earlier call raised.
        """
        if self._is_closed:
            return
        self._is_closed = True
        has_ended = self._background.stop(timeout)
        for job in (*self._background.left, self._own):
            job.source.journal.close()
        if self._forget is not None:
            self._forget()
        if self._store.library.seen > self._seen_in_file and has_ended:
            self._versions.checkpoint()
        self._listeners.tell(RunEnded(self._journal.run, self._store.library))
        self._tell()

    def __enter__(self) -> OnlineLearner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Learn from all observations, then close. After an error in the block, close at once."""
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
        """The published versions, with the share of solved ones (``solved``) among the last ``n`` observations."""
        return self._versions.records

    @property
    def pending(self) -> int:
        """Number of observations of this process that are not learned from yet."""
        return max(0, self._journal.last - self._own.source.settled)

    @property
    def failures(self) -> list[Failure]:
        """The last observations on which the critic, the updater or the verifier failed."""
        with self._listeners.lock:
            return list(self._failures)

    @property
    def error(self) -> BaseException | None:
        """The error that has stopped learning; None if there is none.

        It may be a ``BudgetError``, which only ``flush`` raises.
        """
        return self._background.error

    def _check_usable(self) -> None:
        if os.getpid() != self._process:
            raise ConfigurationError("the learner was made before this process was forked: make one in each process")
        if self._is_closed:
            raise ConfigurationError("the learner is closed")

    def _tell(self) -> None:
        """Raise the error that has stopped learning, once. Only ``flush`` raises ``BudgetError``."""
        if self.error is not None and not self._is_told and not isinstance(self.error, BudgetError):
            self._is_told = True
            raise self.error

    def _note(self, event: Event) -> None:
        if isinstance(event, ExampleFailed):
            self._failures.append(Failure(event.example_id, event.error))

    def _parameters(self) -> dict[str, Any]:
        return {
            "task": self._store.library.task,
            "online": True,
            "window": self.settings.window,
            "concurrency": self.settings.concurrency,
            "publish_every": self.settings.publish_every,
            "lessons_from": self.settings.lessons_from,
            "actor": model_names(self.program),
            "verifier": model_names(self._verifier),
            "critic": model_names(self._lessons.critic),
            "updater": model_names(self._lessons.updater),
        }


def _claim_journals(library: Path | None) -> tuple[ObservationJournal, list[ObservationJournal]]:
    """Claim the journal to write to, and the journals that dead processes left.

    Without a library's file, the journal is a temporary file of this process.
    """
    if library is not None:
        return claim(library)
    folder = Path(tempfile.mkdtemp(prefix="flex-dspy-online-"))
    return ObservationJournal(folder / "observed.jsonl", durable=False), []

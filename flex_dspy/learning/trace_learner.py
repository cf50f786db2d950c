"""Learns from the past answers of a program. The program is not run again, and no right answers are needed.

::

    from flex_dspy import TraceLearner, traces

    learner = TraceLearner(MyAgent(), library="support.json")
    learner.learn(traces("support-bot"))
    agent = learner.program

The guarantees are those of ``OnlineLearner``. Every request is processed exactly once. The same requests in the same
order give the same library, at any concurrency. As with ``OnlineLearner``, the library may quote what users wrote.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dspy

from flex_dspy.core.running import run_sync
from flex_dspy.core.settings import accepts
from flex_dspy.learning.events import ExampleFailed, Listener, RunEnded, RunStarted, StopRule
from flex_dspy.learning.executors import Executor, LocalExecutor
from flex_dspy.learning.following import NewestSnapshot, follow
from flex_dspy.learning.held_failures import HeldFailures
from flex_dspy.learning.journal_source import ObservationAttempt
from flex_dspy.learning.kept_batches import keep_batches
from flex_dspy.learning.listeners import Broadcast
from flex_dspy.learning.online_versions import OnlineVersions
from flex_dspy.learning.pipeline import Pipeline
from flex_dspy.learning.ports import Ports
from flex_dspy.learning.rated_requests import RatedRequests, program_fields
from flex_dspy.learning.records import UsageRecorder
from flex_dspy.learning.request_source import RequestSource
from flex_dspy.learning.run_identity import model_names
from flex_dspy.learning.settings import OnlineSettings
from flex_dspy.learning.streak import Streak
from flex_dspy.learning.trackers import Tracker, TrackerListener
from flex_dspy.learning.version import Versions
from flex_dspy.libraries.failures import Failure, FailureLog
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.locking import learning_into
from flex_dspy.libraries.memory_store import open_store
from flex_dspy.libraries.paths import PRIVATE
from flex_dspy.libraries.request_log import RequestLog
from flex_dspy.libraries.store import Store
from flex_dspy.models.adapter import lean
from flex_dspy.models.spending import Ledger
from flex_dspy.programs.critic import Critic
from flex_dspy.programs.lesson_writer import LessonWriter
from flex_dspy.programs.updater import Updater
from flex_dspy.programs.verifier import Verifier
from flex_dspy.search.retrieval import retrievers

_SHARE_OF = 100  # newest requests in the share of solved ones, if only the end of a call publishes


class TraceLearner:
    """Learns from rated requests, which come from traces or from a file.

    Args:
        program: The program that answered, or another program for the same task. It defines the task. It is not
            changed: ``learner.program`` is a copy that reads the library.
        library: Where to learn: a store, the path of its file, or a snapshot to start from in memory. None starts in
            memory from the program's own library.
        critic: The critic; by default a new ``Critic``.
        updater: The updater; by default a new ``Updater``.
        verifier: Decides from a remark without a score whether the answer is accepted; by default a new ``Verifier``.
        tracker: Logs every version; None logs nothing.
        ledger: Counts tokens and money by role, and keeps a budget.
        listeners: Called with every event; see ``flex_dspy.learning.events``.
        stop: Rules that end a call early. The next call continues at the same place.
        executor: Where lessons are written; None writes them in this process.
        settings: The settings; None starts from the defaults.
        **options: Fields of ``OnlineSettings`` by name.

    Attributes:
        program: The copy of the program that reads the library.
        executor: Where lessons are written.
        failures: The requests of the last call from which no lesson could be written because of an error.

    Raises:
        ConfigurationError: If a number is not positive, or the program has no predictor that can read a library.
        LibraryError: If the library's file cannot be used.
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
        stop: Sequence[StopRule] = (),
        executor: Executor | None = None,
        settings: OnlineSettings | None = None,
        **options: Any,
    ) -> None:
        self.settings = OnlineSettings.resolve(settings, options)
        own = retrievers(program)
        self.ledger = ledger or Ledger()
        self._store = open_store(library, own[0].snapshot() if own else ExperienceLibrary(), PRIVATE)
        self._fields = program_fields(program)
        newest = NewestSnapshot(self._store, self.settings.follow)
        self.program = follow(program, newest, self.settings)
        roles = critic or Critic(), updater or Updater()
        given = self.settings.lessons_from
        self._lessons = LessonWriter(*roles, self.ledger, self.program, given, review=self.settings.review)
        self._verifier = verifier or Verifier(self.settings.threshold)
        keep_batches((*roles, self._verifier), self._store.path)
        self.executor = executor or LocalExecutor(self.settings.concurrency)
        self._tracker, self._stop = tracker, stop
        self._own_listeners = listeners
        self.versions = Versions(())
        self.failures: list[Failure] = []
        self._logs: dict[str, RequestLog] = {}  # the logs of a library in memory

    @property
    def library(self) -> ExperienceLibrary:
        """The newest snapshot."""
        return self._store.library

    def learn(self, requests: RatedRequests, *, poll_seconds: float | None = None) -> ExperienceLibrary:
        """Learn from the new requests, oldest first, and publish the library.

        Args:
            requests: The place that holds the requests: ``traces(...)`` or ``RatedFile(...)``.
            poll_seconds: Seconds between two looks for new requests. The call then never ends by itself. None ends
                after the requests that exist now.

        Returns:
            The library.

        Raises:
            FlexError: If the place cannot be read, or if learning stops with an error that would end every request. The
                learned lessons are kept, and the same call continues at the same place.
        """
        self.failures = []
        log = self._open_log(requests)
        try:
            with lean(), learning_into(self._store.path):
                run_sync(self._learn(requests, log, poll_seconds))
        finally:
            log.close()
        return self._store.library

    def _open_log(self, requests: RatedRequests) -> RequestLog:
        """The log with the order of the requests. A log in memory lives as long as the learner."""
        if self._store.path is not None:
            return RequestLog(self._store.path, requests.name, self._store.library)
        if requests.name not in self._logs:
            self._logs[requests.name] = RequestLog(None, requests.name, self._store.library)
        return self._logs[requests.name]

    async def _learn(self, requests: RatedRequests, log: RequestLog, poll_seconds: float | None) -> None:
        done, every = self._store.library.runs.get(log.run, 0), self.settings.publish_every
        versions = OnlineVersions(self._store, log.run, every or _SHARE_OF, self.ledger)
        versions.listeners = listeners = self._listeners(versions)
        self.versions = versions.records
        source = RequestSource(requests, log, done, self._fields, every, poll_seconds)
        pipeline = self._pipeline(source, versions, has_worked=done > 0)
        before = self._store.library
        listeners.tell(RunStarted(log.run, self._parameters(requests), done=done))
        try:
            await pipeline.run()
            self._publish(versions, source.settled, before)
        except BaseException as error:
            if poll_seconds is not None and isinstance(error, asyncio.CancelledError):
                self._publish(versions, source.settled, before)  # Ctrl-C is the usual end of polling
            listeners.tell(RunEnded(log.run, self._store.library, listeners.reason, type(error).__name__))
            raise
        listeners.tell(RunEnded(log.run, self._store.library, listeners.reason))

    def _pipeline(self, source: RequestSource, versions: OnlineVersions, *, has_worked: bool) -> Pipeline:
        attempt = ObservationAttempt(self._verifier, self._lessons, self.program, self.settings.scope)
        failures = HeldFailures(FailureLog(None, source.run), Streak(has_worked, is_endless=True))
        ports = Ports(source, self.executor, self._store, versions.listeners)
        return Pipeline(ports, attempt, self._lessons, versions, failures, self.settings.window)

    def _publish(self, versions: OnlineVersions, step: int, before: ExperienceLibrary) -> None:
        """Publish a version if the library has learned anything that no version holds."""
        if self._store.library.seen == before.seen:
            return
        if self._store.library.hash in (before.hash, versions.newest_hash):
            versions.checkpoint()
        else:
            versions.publish_now(step)

    def _listeners(self, versions: OnlineVersions) -> Broadcast:
        recorder = [UsageRecorder(self._store.path)] if self._store.path else []
        trackers = [TrackerListener(self._tracker)] if self._tracker else []
        return Broadcast([*recorder, versions, self._note, *trackers, *self._own_listeners], self._stop)

    def _note(self, event: object) -> None:
        if isinstance(event, ExampleFailed):
            self.failures.append(Failure(event.example_id, event.error))

    def _parameters(self, requests: RatedRequests) -> dict[str, Any]:
        return {
            "task": self._store.library.task,
            "requests": requests.name,
            "window": self.settings.window,
            "concurrency": self.settings.concurrency,
            "publish_every": self.settings.publish_every,
            "lessons_from": self.settings.lessons_from,
            "review": self.settings.review,
            "actor": model_names(self.program),
            "verifier": model_names(self._verifier),
            "critic": model_names(self._lessons.critic),
            "updater": model_names(self._lessons.updater),
        }

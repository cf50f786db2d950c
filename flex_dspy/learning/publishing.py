"""Publishes the versions of a learning run: writes, measures and logs each version, and tells the listeners."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import dspy

from flex_dspy.core.errors import ModelError
from flex_dspy.core.running import run_in_thread
from flex_dspy.core.scoring import Metric, name_of_score
from flex_dspy.data.loading import digest
from flex_dspy.evaluation.evaluate import aevaluate
from flex_dspy.evaluation.evaluation import Evaluation
from flex_dspy.evaluation.sampling import Measure
from flex_dspy.evaluation.settings import EvaluationSettings
from flex_dspy.learning.events import VersionMeasured, VersionPublished
from flex_dspy.learning.listeners import Broadcast
from flex_dspy.learning.program_description import describe_program
from flex_dspy.learning.trackers import Tracker
from flex_dspy.learning.version import Version, VersionRecord
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import Store
from flex_dspy.models.spending import Ledger, Usage, usage_metrics
from flex_dspy.programs.executors import Executor


@dataclass(frozen=True)
class Measurement:
    """How versions are measured.

    Attributes:
        program: The program that reads the library.
        valset: The validation examples; if there are none, nothing is measured.
        metric: Scores the predictions.
        measures: Further measures.
        ledger: Counts the tokens of the measurement.
        settings: Settings of the evaluation.
        executor: Where the program runs; None runs it in this process.
    """

    program: dspy.Module
    valset: Sequence[dspy.Example]
    metric: Metric
    measures: Mapping[str, Measure] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    settings: EvaluationSettings = field(default_factory=EvaluationSettings)
    executor: Executor | None = None

    async def measure(self, library: ExperienceLibrary) -> Evaluation | None:
        """Measure the program with a library; None if there are no examples."""
        if not self.valset:
            return None
        evaluation: Evaluation = await aevaluate(
            self.program,
            self.valset,
            self.metric,
            library=library,
            measures=self.measures,
            ledger=self.ledger,
            settings=self.settings,
            executor=self.executor,
        )
        return evaluation

    def version(
        self,
        library: ExperienceLibrary,
        step: int,
        evaluation: Evaluation | None,
        spent: Mapping[str, Usage] | None = None,
    ) -> Version:
        """A library as a version, with its measurements and the cost so far.

        Args:
            library: The version's library.
            step: Number of examples learned from.
            evaluation: The version's measurement.
            spent: The usage by role when the version was written, to which its measurement is added; None takes all
                usage so far.
        """
        metrics = evaluation.metrics() if evaluation else {}
        now, role = self.ledger.by_role_now(), self.settings.role
        spent = now if spent is None else {**spent, role: now.get(role, Usage())}
        cost = usage_metrics(spent) if any(usage.tokens for usage in spent.values()) else {}  # none of offline experts
        dataset, content = ("validation", digest(self.valset)[:16]) if self.valset else ("", "")
        records = evaluation.records if evaluation else ()
        return Version(
            library,
            step,
            {**metrics, **cost},
            dataset,
            content,
            records,
            score=name_of_score(self.metric),
            program=describe_program(self.program),
        )


class MeasuredVersions:
    """Publishes and measures the versions of one run.

    Args:
        store: The library.
        log: The run's versions. A version in the log is not published again.
        listeners: Receive an event for each version before the log holds it.
        measurement: How versions are measured.
        tracker: Logs each version; None for none.

    Attributes:
        newest_hash: Hash of the last version that was written; "" if it is not known. It is remembered because the
            cost of hashing a snapshot grows with its size.
    """

    def __init__(
        self,
        store: Store,
        log: VersionLog,
        listeners: Broadcast,
        measurement: Measurement,
        tracker: Tracker | None = None,
    ) -> None:
        self.store = store
        self.log = log
        self.listeners = listeners
        self.measurement = measurement
        self.tracker = tracker
        self.newest_hash = log.newest_hash
        self._spent: Mapping[str, Usage] = {}

    @property
    def is_waited_for(self) -> bool:
        """Whether there are stop rules. A run stops at the same example each time only if learning waits for them."""
        return bool(self.listeners.stop)

    def is_written(self) -> bool:
        """Whether the last version holds the newest library."""
        return self.store.library.hash == self.newest_hash

    def write(self) -> ExperienceLibrary:
        """Write the library's file as a version, and return the version's library."""
        library = self.store.checkpoint(self.newest_hash or None)
        self._note_written(library)
        return library

    def _note_written(self, library: ExperienceLibrary) -> None:
        self.newest_hash = library.hash
        self._spent = self.measurement.ledger.by_role_now()  # before later examples are charged

    async def publish(self, step: int, library: ExperienceLibrary, evaluation: Evaluation | None = None) -> None:
        """Measure a version that was written, and log it.

        Args:
            step: Number of examples learned from.
            library: The version's library.
            evaluation: The version's measurement, if it was measured already.
        """
        evaluation = evaluation or await self._measure(library)
        if evaluation and evaluation.metrics()["errors"]:
            self.log.keep(library)  # so that it can be measured again
        version = self.measurement.version(library, step, evaluation, self._spent)
        record = VersionRecord.of(self.log.run, step, library, version.metrics, version.score)
        await self._tell(version, record)
        self.log.append(record)

    async def _tell(self, version: Version, record: VersionRecord) -> None:
        """Log a version with the tracker, which may take seconds, then tell the listeners."""
        if self.tracker is not None:
            logging = asyncio.ensure_future(run_in_thread(self.tracker.log_version, version))
            try:
                await asyncio.shield(logging)
            except asyncio.CancelledError:  # a thread cannot be cancelled, and the same call may continue at once
                await asyncio.wait([logging])
                raise
        self.listeners.tell(VersionPublished(self.log.run, version, record))

    def unpublished(self, steps: Collection[int]) -> tuple[int, ExperienceLibrary] | None:
        """The version that an earlier call wrote but did not publish, as step and library; None if there is none.

        The library's file holds it until the next version is written. Of a version that another process has
        overwritten, nothing is left.

        Args:
            steps: The steps at which versions are published.
        """
        run = self.log.run
        snapshots = self.store.replay()
        step = snapshots[0].runs.get(run, 0) if snapshots else 0
        if step >= self.store.library.runs.get(run, 0) or step not in steps or self.log.get(step) is not None:
            return None
        self._note_written(snapshots[0])
        return step, snapshots[0]

    async def probe(self, library: ExperienceLibrary) -> Evaluation | None:
        """Measure the library before the last failures are committed. This shows whether the model works.

        Raises:
            ModelError: If all validation examples fail.
        """
        evaluation = await self._measure(library)
        if evaluation is not None and evaluation.metrics()["errors"] == len(evaluation.records):
            raise ModelError(f"all validation examples failed; the last one said: {evaluation.records[-1].error}")
        return evaluation

    async def _measure(self, library: ExperienceLibrary) -> Evaluation | None:
        evaluation = await self.measurement.measure(library)
        if evaluation is not None:
            self.listeners.tell(VersionMeasured(self.log.run, library, evaluation))
        return evaluation

    # -- versions that were measured with errors -----------------------------------------------------------

    def doubtful(self) -> list[tuple[VersionRecord, ExperienceLibrary]]:
        """The versions that were measured with errors, with their libraries.

        Versions whose library was not kept are left out.
        """
        records = [record for record in self.log.records if record.errors]
        if not records or not self.measurement.valset:
            return []
        present = {library.hash: library for library in (*self.store.replay()[:1], self.store.library)}
        found = [(record, present.get(record.hash) or self.log.load_kept(record.hash)) for record in records]
        return [(record, library) for record, library in found if library is not None]

    async def measure_again(self, record: VersionRecord, library: ExperienceLibrary) -> None:
        """Measure a version again, and replace its measurements. Cached answers are used again."""
        library = library.as_version(record.parent)
        version = self.measurement.version(library, record.step, await self._measure(library))
        version = replace(version, metrics={**record.metrics, **version.metrics}, is_again=True)
        measured = replace(record, metrics=dict(version.metrics))
        await self._tell(version, measured)
        self.log.measure_again(record, version.metrics)
        if not measured.errors:
            self.log.discard(record.hash)

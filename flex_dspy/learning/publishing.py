"""Publishes the versions of a learning run: writes, measures and logs each version, and tells the listeners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import dspy

from flex_dspy.core.errors import ModelError
from flex_dspy.core.scoring import Metric, name_of_score
from flex_dspy.data.loading import digest
from flex_dspy.evaluation.evaluate import aevaluate
from flex_dspy.evaluation.evaluation import Evaluation
from flex_dspy.evaluation.sampling import Measure
from flex_dspy.evaluation.settings import EvaluationSettings
from flex_dspy.learning.events import VersionMeasured, VersionPublished
from flex_dspy.learning.listeners import Broadcast
from flex_dspy.learning.program_description import describe_program
from flex_dspy.learning.version import Version, VersionRecord
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import Store
from flex_dspy.models.spending import Ledger
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

    def version(self, library: ExperienceLibrary, step: int, evaluation: Evaluation | None) -> Version:
        """A library as a version, with its measurements and the cost so far."""
        metrics = evaluation.metrics() if evaluation else {}
        spent = self.ledger.metrics() if self.ledger.total.tokens else {}  # offline experts use no tokens
        dataset, content = ("validation", digest(self.valset)[:16]) if self.valset else ("", "")
        records = evaluation.records if evaluation else ()
        return Version(
            library,
            step,
            {**metrics, **spent},
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
    """

    def __init__(self, store: Store, log: VersionLog, listeners: Broadcast, measurement: Measurement) -> None:
        self.store = store
        self.log = log
        self.listeners = listeners
        self.measurement = measurement

    @property
    def newest_hash(self) -> str:
        """The last version's hash; "" if it is not known.

        It is remembered because the cost of hashing a snapshot grows with its size.
        """
        return self.log.newest_hash

    def is_published(self) -> bool:
        """Whether the last version holds the newest library."""
        return self.store.library.hash == self.newest_hash

    async def publish(self, step: int, evaluation: Evaluation | None = None) -> None:
        """Write the library's file, measure the version, and log it.

        A call that was interrupted can be repeated.


        Args:
            step: Number of examples learned from.
            evaluation: The version's measurement, if it was measured already.
        """
        library = self.store.checkpoint(self.newest_hash or None)
        evaluation = evaluation or await self._measure(library)
        if evaluation and evaluation.metrics()["errors"]:
            self.log.keep(library)  # so that it can be measured again
        version = self.measurement.version(library, step, evaluation)
        record = VersionRecord.of(self.log.run, step, library, version.metrics, version.score)
        self.listeners.tell(VersionPublished(self.log.run, version, record))
        self.log.append(record)

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
        self.listeners.tell(VersionPublished(self.log.run, version, measured))
        self.log.measure_again(record, version.metrics)
        if not measured.errors:
            self.log.discard(record.hash)

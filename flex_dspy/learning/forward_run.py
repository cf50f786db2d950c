"""Runs one call of ``ForwardLearning.compile``: builds the pipeline, and runs it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.examples import problem_of
from flex_dspy.core.scoring import Metric
from flex_dspy.data.loading import content_id, digest
from flex_dspy.evaluation.overlap import precedent_ids, precedent_problems, without_overlap
from flex_dspy.evaluation.sampling import Measure
from flex_dspy.evaluation.settings import EvaluationSettings
from flex_dspy.learning.attempts import TrainingAttempt
from flex_dspy.learning.events import Listener, RunEnded, RunStarted, StopRule
from flex_dspy.learning.executors import Executor, LocalExecutor
from flex_dspy.learning.held_failures import HeldFailures
from flex_dspy.learning.kept_batches import keep_batches
from flex_dspy.learning.listeners import Broadcast
from flex_dspy.learning.pipeline import Pipeline
from flex_dspy.learning.ports import Ports
from flex_dspy.learning.precedents import keep_precedents, precedent_library
from flex_dspy.learning.progress import Progress
from flex_dspy.learning.publishing import MeasuredVersions, Measurement
from flex_dspy.learning.records import CurveDrawer, UsageRecorder
from flex_dspy.learning.retrying import Retrying, retry_run, step_of_retry
from flex_dspy.learning.run_folder import RunFolder
from flex_dspy.learning.run_identity import instructions_of, model_names, models_of, run_identity
from flex_dspy.learning.settings import LearningSettings
from flex_dspy.learning.sources import TrainingSet, shuffle_epochs, stops
from flex_dspy.learning.streak import Streak
from flex_dspy.learning.trackers import RunTracking, Tracker
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.failures import FailureLog
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.locking import learning_into
from flex_dspy.libraries.memory_store import open_store
from flex_dspy.libraries.store import Store
from flex_dspy.models.lm import is_offline
from flex_dspy.models.spending import Ledger
from flex_dspy.programs.critic import Critic
from flex_dspy.programs.lesson_writer import LessonWriter
from flex_dspy.programs.rejection_sampling import RejectionSampling
from flex_dspy.programs.updater import Updater
from flex_dspy.programs.verifier import Verifier
from flex_dspy.search.retrieval import retrievers

logger = logging.getLogger(__name__)

NO_REFERENCE = "no: the verifier decides, lessons are not verified"


@dataclass
class Parts:
    """The objects that a run is made of. ``ForwardLearning`` describes each."""

    settings: LearningSettings
    metric: Metric
    library: Store | RunFolder | ExperienceLibrary | str | Path | None
    tracker: Tracker | None
    critic: Critic
    updater: Updater
    verifier: Verifier
    measures: Mapping[str, Measure]
    key: Callable[[str], str | None] | None
    ledger: Ledger
    listeners: Sequence[Listener]
    stop: Sequence[StopRule]
    executor: Executor | None

    def run_id(self, actor: dspy.Module, trainset: Sequence[dspy.Example]) -> str:
        """See ``ForwardLearning.run_id``."""
        roles = (actor, self.critic, self.updater, self.verifier)
        return run_identity(self.settings, self.metric, roles, trainset)


class ForwardRun:
    """Builds the pipeline of one call, and runs it.

    Args:
        parts: Settings, roles and listeners.
        student: The program that is measured.
        actor: The program that makes the attempts.
        trainset: The training examples.
        valset: The validation examples.
    """

    def __init__(
        self,
        parts: Parts,
        student: dspy.Module,
        actor: dspy.Module,
        trainset: list[dspy.Example],
        valset: list[dspy.Example],
    ) -> None:
        if not parts.settings.reference:
            refuse_offline(parts)
        self.parts = parts
        self.settings = settings = parts.settings
        self.student, self.actor = student, actor
        self.id = parts.run_id(actor, trainset)
        self.store = self._open_store(trainset)
        if settings.precedents:
            precedents = precedent_library(trainset, output_names(actor), scope=settings.scope)
            keep_precedents(self.store, self.id, precedents)
        allowed = settings.allow_overlap
        self.valset = valset if allowed else unseen(valset, trainset, self.store.library, parts)
        examples = trainset if settings.reference else [without_labels(example) for example in trainset]
        self.order = shuffle_epochs(examples, settings.epochs, settings.seed)
        self.log = VersionLog(self.store.path, self.id)
        keep_batches((student, actor, parts.critic, parts.updater, parts.verifier), self.store.path)
        self.failures = self._failures()
        self.listeners = Broadcast(self._listeners(), parts.stop)
        self.executor = parts.executor or LocalExecutor(settings.concurrency)
        self.versions = MeasuredVersions(self.store, self.log, self.listeners, self._measurement(), parts.tracker)

    def _open_store(self, trainset: Sequence[dspy.Example]) -> Store:
        """Open the store to learn into. A run folder also gets its note, and a ledger that records the spending."""
        own, library = retrievers(self.student)[0].snapshot(), self.parts.library
        if not isinstance(library, RunFolder):
            return open_store(library, own)
        run = content_id(self.id, own.hash) if len(own) else self.id  # another start, another run
        store = library.open(run, task=own.task, start_from=own if len(own) else None)
        data = {"name": "training", "digest": digest(trainset)[:16], "source": "", "size": len(trainset)}
        library.write_note(run, self.settings.model_dump(), {"training": data})
        if self.parts.ledger.path is None:
            self.parts.ledger = library.ledger(self.parts.ledger)
        return store

    def _failures(self) -> HeldFailures:
        """The failures of earlier calls, without the failures that the library's commits show to be outdated."""
        runs, log = self.store.library.runs, FailureLog(self.store.path, self.id)
        done = runs.get(self.id, 0)
        log.reconcile(done, step_of_retry(runs.get(retry_run(self.id), 0), len(self.order)))
        streak = Streak(has_worked=done > len(log.standing))
        return HeldFailures(log, streak, retries=self.settings.retry_failed)

    def _listeners(self) -> list[Listener]:
        """The listeners of the run, in order: the run's own, then the user's.

        The figure is drawn before the tracker logs it.
        """
        parts, path = self.parts, self.store.path
        listeners: list[Listener] = []
        if path and not self.settings.study:  # with ``study`` no actor runs, so no entry is shown
            listeners.append(UsageRecorder(path, "learn "))
        drawer = CurveDrawer(path, self.log, model_names(self.student)) if path and self.valset else None
        listeners += [drawer] if drawer else []
        if parts.tracker is not None:
            listeners.append(RunTracking(parts.tracker, drawer.drawn if drawer else []))
        if self.settings.progress:
            listeners.append(Progress("studying" if self.settings.study else "learning", parts.ledger))
        return [*listeners, *parts.listeners]

    def _measurement(self) -> Measurement:
        parts = self.parts
        settings = EvaluationSettings(
            concurrency=self.settings.concurrency,
            progress=None if self.settings.progress else False,  # the second bar appears in terminals only
            allow_overlap=True,  # ``unseen`` has removed the overlap already
            role="validation",
            label="measuring",
        )
        return Measurement(
            self.student, self.valset, parts.metric, parts.measures, parts.ledger, settings, self.executor
        )

    # -- learning ------------------------------------------------------------------------------------------

    async def learn(self) -> ExperienceLibrary:
        """Learn from the examples that were not learned from yet. A finished run sends no events.

        Returns:
            The library.
        """
        settings, standing = self.settings, self.failures.log.standing
        done = self.store.library.runs.get(self.id, 0)
        places = stops(len(self.order), settings.checkpoint_every)
        due = {stop for stop in places if done <= stop and self.log.get(stop) is None}
        source = TrainingSet(self.id, self.order, places, due, done)
        pipeline = self._pipeline(source)
        earlier = list(standing) if settings.retry_failed else []
        doubtful = self.versions.doubtful() if settings.retry_failed else []
        unpublished = self.versions.unpublished(places)
        retry = Retrying(pipeline, source, earlier, self.versions.is_written)
        if earlier or retry.has_unpublished():
            pipeline.retry = retry
        if due or doubtful or unpublished or pipeline.retry:
            failed = tuple(failure.step for failure in standing)
            self.listeners.tell(RunStarted(self.id, self.parameters(), len(self.order), done, failed))
            try:
                with learning_into(self.store.path):
                    for record, library in doubtful:
                        await self.versions.measure_again(record, library)
                    if unpublished:
                        pipeline.begin_publishing(*unpublished)
                    await pipeline.run()
                if len(standing) == len(self.order):
                    raise self.failures.all_failed(standing)
            except BaseException as error:
                self._end(error=type(error).__name__)
                raise
            self._end()
        return self.store.library

    def _pipeline(self, source: TrainingSet) -> Pipeline:
        parts = self.parts
        settings = self.settings
        roles = parts.critic, parts.updater, parts.ledger, self.actor
        writer = LessonWriter(*roles, settings.lessons_from, review=settings.review)
        attempt = TrainingAttempt(self._sampling(), writer, output_names(self.actor), settings.study, settings.scope)
        ports = Ports(source, self.executor, self.store, self.listeners)
        return Pipeline(ports, attempt, writer, self.versions, self.failures, self.settings.window)

    def _sampling(self) -> RejectionSampling:
        metric: Metric | None = self.parts.metric if self.settings.reference else None
        rounds, rollouts = self.settings.max_rounds, self.settings.max_rollouts
        return RejectionSampling(
            self.actor, self.parts.verifier, metric=metric, max_rounds=rounds, max_rollouts=rollouts
        )

    def _end(self, error: str = "") -> None:
        self.listeners.tell(RunEnded(self.id, self.store.library, self.listeners.reason, error))

    def parameters(self) -> dict[str, Any]:
        """The settings and models of the run. MLflow keeps them as its parameters."""
        parts, settings = self.parts, self.settings
        return {
            "run": self.id,
            "task": self.store.library.task,
            "study": settings.study,
            "lessons_from": settings.lessons_from,
            "precedents": settings.precedents,
            "reference": "yes" if settings.reference else NO_REFERENCE,
            "max_rounds": settings.max_rounds,
            "max_rollouts": settings.max_rollouts,
            "epochs": settings.epochs,
            "window": settings.window,
            "concurrency": settings.concurrency,
            "seed": settings.seed,
            "train_examples": len(self.order) // settings.epochs,
            "val_examples": len(self.valset),
            "actor": model_names(self.actor),
            "strategy": getattr(self.actor, "strategy", type(self.actor).__name__),
            "experience": getattr(self.actor, "experience", ""),
            "verifier": model_names(parts.verifier),
            "critic": model_names(parts.critic),
            "updater": model_names(parts.updater),
            "budget_usd": parts.ledger.budget_usd,
            "budget_spend_tokens": parts.ledger.budget_tokens,
            "instructions": self._instructions(),
        }

    def _instructions(self) -> dict[str, str]:
        """The instructions of each role, by the role's name. If it has several predictors, their names are added."""
        parts = self.parts
        roles = {"actor": self.actor, "verifier": parts.verifier, "critic": parts.critic, "updater": parts.updater}
        return {name: text for role, program in roles.items() for name, text in instructions_of(role, program)}


def unseen(
    valset: Sequence[dspy.Example],
    trainset: Sequence[dspy.Example],
    library: ExperienceLibrary,
    parts: Parts,
) -> list[dspy.Example]:
    """The validation examples that are neither in the training set nor in the library."""
    learned = precedent_problems(library) | precedent_ids(library) | {problem_of(example) for example in trainset}
    clean, shared = without_overlap(valset, learned, key=parts.key)
    if shared:
        logger.warning("%d of %d validation examples are learned from: set aside", len(shared), len(valset))
    return clean


def output_names(program: dspy.Module) -> frozenset[str]:
    """The names of the outputs of a program's predictors."""
    return frozenset(name for each in program.predictors() for name in each.signature.output_fields)


def without_labels(example: dspy.Example) -> dspy.Example:
    """A copy of an example with its inputs only."""
    return dspy.Example(**example.inputs()).with_inputs(*example.inputs())


def refuse_offline(parts: Parts) -> None:
    """Refuse offline experts for a run without reference answers, because they need these to judge and teach.

    Raises:
        ConfigurationError: If the verifier or the critic is an offline expert.
    """
    for role, program in (("verifier", parts.verifier), ("critic", parts.critic)):
        if any(is_offline(model) for model in models_of(program)):
            raise ConfigurationError(
                f"the {role} is an offline expert, which knows right from wrong by the reference answer alone. To "
                f"learn without reference answers, name a language model for it (--lm or --{role}-lm)"
            )

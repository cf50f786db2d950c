"""Forward learning: the optimizer that fills an experience library.

    trajectories --critic--> lessons --updater--> edits --store--> library --retriever--> actor

Each training example is attempted against a pinned snapshot of the library; many run at once. Their edits are
committed by one thread in the order of the examples, so that the library depends on the data, the seed and the
models, and not on which answer came back first.

Source: FLEX, arXiv 2511.06449. Bounded staleness: Ho et al., NeurIPS 2013 (stale synchronous parallel).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import dspy
import numpy as np
from dspy.teleprompt import Teleprompter
from tqdm.auto import tqdm

from flex_dspy.core.errors import BudgetError, ConfigurationError, ModelError
from flex_dspy.core.examples import example_id, problem_of, reference_of
from flex_dspy.core.running import raise_if_systemic, run_sync
from flex_dspy.core.scoring import Metric
from flex_dspy.core.secrets import error_text
from flex_dspy.core.side_records import SideRecord
from flex_dspy.core.trajectory import Trajectory
from flex_dspy.data.loading import digest
from flex_dspy.evaluation.evaluate import Evaluation, Measure, aevaluate
from flex_dspy.evaluation.overlap import precedent_ids, precedent_problems, without_overlap
from flex_dspy.evaluation.usage_log import UsageLog
from flex_dspy.evaluation.usage_records import usage_of_evaluation, usage_of_step
from flex_dspy.learning.streak import Streak
from flex_dspy.libraries.experience import Commit, Edit, Precedent, Tally
from flex_dspy.libraries.failures import Failure, FailureLog
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.memory_store import open_store
from flex_dspy.libraries.paths import beside, mode_beside
from flex_dspy.libraries.store import Store
from flex_dspy.models.adapter import lean
from flex_dspy.models.failures import is_outage
from flex_dspy.models.lm import is_offline
from flex_dspy.models.spending import Ledger
from flex_dspy.programs.critic import Critic
from flex_dspy.programs.equip import equip
from flex_dspy.programs.lesson_writer import LessonWriter, Proposal
from flex_dspy.programs.rejection_sampling import RejectionSampling
from flex_dspy.programs.updater import Updater
from flex_dspy.programs.verifier import Verifier
from flex_dspy.search.reading import pinned
from flex_dspy.search.retrieval import retrievers
from flex_dspy.tracking.plots import learning_curve
from flex_dspy.tracking.tracker import Tracker, Version
from flex_dspy.tracking.versions import VersionLog, VersionRecord, Versions

logger = logging.getLogger(__name__)

DEFAULT_VERSIONS = 6
NO_REFERENCE = "no: the verifier decides, lessons are not verified"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one example gave.

    Attributes:
        proposals: Lessons with their edits; none where the example failed.
        tally: Use of the library by its attempts.
        solved: Whether an attempt was accepted; None where there was none.
        error: What it failed with, if it did.
        outage: Whether that was a model that could not be reached.
    """

    proposals: tuple[Proposal, ...] = ()
    tally: Tally = field(default_factory=Tally)
    solved: bool | None = None
    error: str = ""
    outage: bool = False

    @classmethod
    def failed(cls, error: Exception) -> Outcome:
        """The outcome of an example that an error broke off.

        Raises:
            FlexError: If no other example would survive that error either.
        """
        raise_if_systemic(error)
        logger.warning("an example was passed over: %s", error_text(error))
        return cls(error=error_text(error), outage=is_outage(error))


class ForwardLearning(Teleprompter):
    """Learns an experience library for a program: no gradients, no change of weights.

    Args:
        metric: Score, with feedback if it can; see ``flex_dspy.core.scoring.score``.
        max_rounds: Rounds a rollout: an attempt and the verifier's feedback each.
        max_rollouts: Rollouts an example; the first accepted attempt ends them.
        epochs: Passes over the training set, each in an order of its own.
        concurrency: Most examples under way at once. It changes speed, never the result.
        window: Staleness bound: example *i* sees the library after the edits of all examples up to
            *i - window*, and of all up to the last version at least. Larger windows keep more models busy.
        checkpoint_every: Publish a version every so many examples; None spreads six versions evenly on a log
            scale, from 50 examples (a quarter of all, where there are fewer than 200) to all.
        library: Where to learn: a store, or the path of its file, or a snapshot to start from in memory. None
            starts in memory from what the student has.
        tracker: Logs every version, with its accuracy; None logs nothing.
        study: Skip the attempts, and learn from the reference answers alone.
        reference: Whether reference answers are used to learn. False hides them: the verifier alone decides, and what
            it accepts is kept as not verified. The metric then measures validation examples only.
        retry_failed: Attempt again what failed in an earlier call, and measure again what was measured with errors.
        seed: Fixes the order of the examples.
        critic: The critic; by default a new ``Critic``.
        updater: The updater; by default a new ``Updater``.
        verifier: The verifier; by default a new ``Verifier``.
        threshold: Least score that counts as success, for a graded metric; 1 by default. A verifier has its own.
        measures: Further measures of validation predictions.
        progress: Whether to show progress bars.
        allow_overlap: Measure even on validation examples that are learned from.
        key: One form for all ways of writing a problem, to find those; see ``flex_dspy.evaluation.overlap``.
        ledger: Counts tokens and money by role, and keeps a budget; by default one in memory, without a budget.

    After ``compile``, ``versions`` holds what was published, with its accuracy, and ``failures`` the examples that
    gave nothing, in this call or in an earlier one.

    An example that fails changes nothing in the library. These rules decide when it is attempted again:

    1. A failure is committed only when a later example has succeeded, or a version is due. Ten attempts in a row that
       meet a model which does not work end the call with ``ModelError``; the next call begins at the first of them.
       So the library after a server was down is, byte for byte, the library of a run without failures.
    2. Where a version is due and the last examples before it met an outage, they are attempted once more.
    3. A failure that was committed stands in ``failures``, and in ``<library>.failures.jsonl``. The next call with the
       same data and settings attempts these examples again: after the last example, before the last version is
       published (anew, where there is one), all against the library as it is then. Their edits are committed in the
       order of the examples. So a kill at any moment changes nothing: the library depends on the data, the seed, the
       models, and on which examples failed when.

    Example:
        >>> optimizer = ForwardLearning(metric, library="chemist.json")  # doctest: +SKIP
        >>> learned = optimizer.compile(actor, trainset=train, valset=val)  # doctest: +SKIP
    """

    def __init__(
        self,
        metric: Metric,
        *,
        max_rounds: int = 5,
        max_rollouts: int = 3,
        epochs: int = 1,
        concurrency: int = 16,
        window: int = 32,
        checkpoint_every: int | None = None,
        library: Store | ExperienceLibrary | str | Path | None = None,
        tracker: Tracker | None = None,
        study: bool = False,
        reference: bool = True,
        retry_failed: bool = True,
        seed: int = 0,
        critic: Critic | None = None,
        updater: Updater | None = None,
        verifier: Verifier | None = None,
        threshold: float | None = None,
        measures: Mapping[str, Measure] | None = None,
        progress: bool = True,
        allow_overlap: bool = False,
        key: Callable[[str], str | None] | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        super().__init__()
        numbers = {"epochs": epochs, "concurrency": concurrency, "window": window}
        for name, value in numbers.items():
            if value < 1:
                raise ConfigurationError(f"{name} must be at least 1, got {value}")
        if checkpoint_every is not None and checkpoint_every < 1:
            raise ConfigurationError(f"checkpoint_every must be at least 1, got {checkpoint_every}")
        if study and not reference:
            raise ConfigurationError(
                "study learns from the reference answers alone: it cannot go without them. Leave out one of the two "
                "(--study, --without-reference)"
            )
        if verifier is not None and threshold is not None:
            raise ConfigurationError("give the threshold to the verifier: Verifier(threshold=...)")
        self.metric = metric
        self.max_rounds = max_rounds
        self.max_rollouts = max_rollouts
        self.epochs = epochs
        self.concurrency = concurrency
        self.window = window
        self.checkpoint_every = checkpoint_every
        self.library = library
        self.tracker = tracker
        self.study = study
        self.reference = reference
        self.retry_failed = retry_failed
        self.seed = seed
        self.critic = critic or Critic()
        self.updater = updater or Updater()
        self.verifier = verifier or Verifier(1.0 if threshold is None else threshold)
        self.measures = dict(measures or {})
        self.progress = progress
        self.allow_overlap = allow_overlap
        self.key = key
        self.ledger = ledger or Ledger()
        self.versions = Versions()
        self.failures: list[Failure] = []

    def compile(
        self,
        student: dspy.Module,
        *,
        trainset: list[dspy.Example],
        teacher: dspy.Module | None = None,
        valset: list[dspy.Example] | None = None,
        **kwargs: Any,
    ) -> dspy.Module:
        """Learn a library, and give it to a copy of the student.

        A run that was cut short goes on where it stood: same library file, same data, same settings.

        Args:
            student: Any program; one that has no experience yet, as ``Actor`` has, is given it by ``equip``.
            trainset: Examples, with reference answers unless they are learned from without.
            teacher: Makes the attempts instead of the student, who inherits the library and is measured with it.
            valset: Examples on which every version is measured; those that are also in the training set are
                set aside, unless they are allowed. None measures nothing.
            **kwargs: None are taken.

        Returns:
            A copy of the student that reads the learned library.

        Raises:
            ConfigurationError: If the student holds no predictor, or the training set is empty.
            ModelError: If no example works at all, or the model stops working on the way. The same call goes on.
            BudgetError: If the ledger's budget is spent. What was learned is kept, and the same call goes on
                with a larger budget.
            LibraryError: If the library's file cannot be used.
        """
        if kwargs:
            raise ConfigurationError(f"compile() does not take {', '.join(sorted(kwargs))}")
        if not trainset:
            raise ConfigurationError("the training set is empty")
        student = student if retrievers(student) else equip(student)
        if teacher is not None and not retrievers(teacher):
            teacher = equip(teacher)
        run = _Run(self, student, teacher or student, trainset, valset or [])
        self.failures = run.failures.standing
        with lean():
            library = run_sync(run.learn())
        self.versions = run.log.records
        learned = student.deepcopy()
        for retriever in retrievers(learned):
            retriever.library = library
        # Not marked as compiled: that would freeze its prompts, which learning has not touched.
        return learned

    def run_id(self, actor: dspy.Module, trainset: Sequence[dspy.Example]) -> str:
        """Twelve hexadecimal digits of all that the library depends on, and of nothing that only speeds it up.

        Two runs with one id learn the same library from the same start, if their models are deterministic.

        Args:
            actor: The program that makes the attempts.
            trainset: The training examples.
        """
        roles = (actor, self.critic, self.updater, self.verifier)
        parts = {
            "train": digest(trainset),
            "settings": [self.epochs, self.seed, self.window, self.study, self.checkpoint_every],
            "rollouts": [self.max_rounds, self.max_rollouts],
            "metric": getattr(self.metric, "__qualname__", type(self.metric).__qualname__),
            "models": [_sampling(model) for role in roles for model in _asked(role)],
            "prompts": [_prompt(predictor) for role in roles for predictor in role.predictors()],
            "retrievers": [{**r.dump_state(), "library_hash": ""} for r in retrievers(actor)],
            "actor": [getattr(actor, name, "") for name in ("strategy", "experience", "max_iters")],
        }
        if (
            threshold := getattr(self.verifier, "threshold", 1.0)
        ) != 1.0:  # runs from before it was counted keep theirs
            parts["threshold"] = threshold
        if not self.reference:  # likewise
            parts["reference"] = False
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:12]


class _Run:
    """One call of ``compile``: the loop, from example to version."""

    def __init__(
        self,
        settings: ForwardLearning,
        student: dspy.Module,
        actor: dspy.Module,
        trainset: list[dspy.Example],
        valset: list[dspy.Example],
    ) -> None:
        self.settings = settings
        self.student = student
        self.actor = actor
        self.outputs = {name for _, predictor in actor.named_predictors() for name in predictor.signature.output_fields}
        if not settings.reference:
            _refuse_offline(settings)
        self.sampling = RejectionSampling(
            actor,
            settings.verifier,
            metric=settings.metric if settings.reference else None,
            max_rounds=settings.max_rounds,
            max_rollouts=settings.max_rollouts,
        )
        self.writer = LessonWriter(settings.critic, settings.updater, settings.ledger, actor)
        learned_from = trainset if settings.reference else [_without_labels(example) for example in trainset]
        self.order = list(_order(learned_from, settings.epochs, settings.seed))
        self.stops = stops(len(self.order), settings.checkpoint_every)
        self.store = open_store(settings.library, retrievers(student)[0].library)
        self.valset = valset if settings.allow_overlap else _unseen(valset, trainset, self.store.library, settings.key)
        self.id = settings.run_id(actor, trainset)
        self.log = VersionLog(self.store.path, self.id)
        runs = self.store.library.runs
        self.done = runs.get(self.id, 0)
        self.again = f"{self.id} again"  # commits of examples that failed at first: a run of their own
        self.failures = FailureLog(self.store.path, self.id)
        self.failures.reconcile(self.done, _step_of(runs.get(self.again, 0), len(self.order)))
        replayed = self.store.replay()
        self.snapshots = {library.runs.get(self.id, 0): library for library in replayed}
        complete = (library for library in replayed if library.runs.get(self.id, 0) == len(self.order))
        self.complete = next(complete, None)  # the library after the last example, if that was reached before
        self.held: list[tuple[int, Outcome]] = []  # failures since the last success, by step: not committed yet
        self.streak = Streak(has_worked=self.done > len(self.failures.standing))
        self.attempted = 0
        self.solved = 0
        # Study shows nothing while it learns.
        self.outcomes = UsageLog(self.store.path) if self.store.path and not settings.study else None

    # -- the loop ------------------------------------------------------------------------------------------

    async def learn(self) -> ExperienceLibrary:
        """Segment by segment: learn up to a stop, then publish. Before the last version, retry what failed earlier."""
        earlier = list(self.failures.standing) if self.settings.retry_failed else []
        doubtful = self._doubtful() if self.settings.retry_failed else []
        is_due = [stop for stop in self.stops if self.done <= stop and self.log.get(stop) is None]
        if not (is_due or earlier or doubtful or self._has_more()):
            return self.store.library
        tracker = self.settings.tracker
        if tracker is not None:
            tracker.start(self.parameters())
        for record, library in doubtful:
            await self._measure_again(record, library)
        with self._bar(self.done) as bar:
            await self._learn_and_publish(is_due, earlier, bar)
        if len(self.failures.standing) == len(self.order):
            raise ModelError(self._all_failed())
        pictures = self._pictures()
        if tracker is not None:
            tracker.finish(pictures)
        return self.store.library

    async def _learn_and_publish(self, due: Sequence[int], earlier: Sequence[Failure], bar: tqdm[Any]) -> None:
        """Publish the versions that are due, and the last one anew if an example succeeds that failed before."""
        last = self.stops[-1]
        for start, stop in pairwise([0, *self.stops]):
            if stop in due:
                await self._reach(stop, start, bar)
            if stop == last and earlier:
                self._pass_over()
                await self._retry(earlier)
            if stop in due or (stop == last and self._has_more()):
                await self._publish(stop)

    def _bar(self, done: int) -> tqdm[Any]:
        what = "studying" if self.settings.study else "learning"
        off = not self.settings.progress
        return tqdm(total=len(self.order), initial=done, desc=what, unit="ex", disable=off)

    async def _reach(self, stop: int, start: int, bar: tqdm[Any]) -> None:
        """Learn up to a stop; ``start`` is where the last version was published.

        The last examples before a stop have no later one that shows whether the model works. Where they met an outage,
        they are attempted once more, from the first of them, as a resumed run would.
        """
        await self._segment(start, stop, bar)
        if self._is_in_outage():
            bar.update(-len(self.held))
            self.held.clear()
            await self._segment(start, stop, bar)
        if stop == self.stops[-1] and not self.streak.has_worked and self.settings.retry_failed:
            self._tell_held()
            raise ModelError(self._all_failed())

    async def _segment(self, start: int, stop: int, bar: tqdm[Any]) -> None:
        """Learn from the next example to ``stop``.

        Examples enter as the window allows and leave in order. ``snapshots[i]`` is the library after *i* of them; what
        failed, and is not committed yet, has changed nothing.
        """
        entered = self.done
        self.snapshots[entered] = self.store.library
        gate = asyncio.Semaphore(self.settings.concurrency)
        running: deque[asyncio.Task[Outcome]] = deque()
        try:
            for step in range(entered, stop):
                while entered < min(stop, step + self.settings.window):
                    seen = self._seen(entered, start)
                    running.append(asyncio.create_task(self._explore(self.order[entered], seen, gate)))
                    entered += 1
                outcome = await self._take(step + 1, await running.popleft(), self._seen(step, start))
                self.snapshots[step + 1] = self.store.library
                self._show(bar, outcome)
        except BudgetError:  # answers under way are paid for: wait, so that they are counted and cached
            await asyncio.gather(*running, return_exceptions=True)
            raise
        finally:
            await _cancel(running)

    def _seen(self, place: int, start: int) -> ExperienceLibrary:
        """The library that the example at a place sees."""
        return self.snapshots[max(place - self.settings.window + 1, start)]

    async def _explore(self, example: dspy.Example, library: ExperienceLibrary, gate: asyncio.Semaphore) -> Outcome:
        """Attempt, distil and propose edits, all against one snapshot. A failure is an outcome."""
        async with gate:
            try:
                return await self._lessons(example, library)
            except Exception as error:
                return Outcome.failed(error)

    async def _lessons(self, example: dspy.Example, library: ExperienceLibrary) -> Outcome:
        reference = reference_of(example, self.outputs)
        if self.settings.study:
            precedent = Precedent(example_id(example), problem_of(example), reference)
            return Outcome((await self.writer.propose(precedent, None, library),))
        with pinned(library, problem=problem_of(example)) as reading, self.settings.ledger.role("actor"):
            found = await self.sampling.acall(example=example)
        answer = reference or found.answer
        precedent = Precedent(example_id(example), problem_of(example), answer)
        finished = [trajectory for trajectory in found.trajectories if not trajectory.error]
        proposals = [await self.writer.propose(precedent, each, library, reading.shown) for each in finished]
        if not finished:
            broken = found.trajectories[-1]
            return Outcome(error=broken.error, outage=broken.outage)
        return Outcome(tuple(proposals), _tally(reading.shown, finished), found.accepted)

    # -- one writer ----------------------------------------------------------------------------------------

    async def _take(self, step: int, outcome: Outcome, seen: ExperienceLibrary) -> Outcome:
        """Commit what an example gave. A failure is held back until a later example succeeds."""
        outcome, edits = await self._edits(outcome, seen)
        if not outcome.error:
            self._pass_over()
            self._commit(Commit(self.id, step, edits, outcome.tally, outcome.solved), step)
            self.streak.end()
            self._forget_before(step)
            return outcome
        self.held.append((step, outcome))
        if not self.settings.retry_failed:
            self._pass_over()
        self._count(outcome)
        return outcome

    async def _edits(self, outcome: Outcome, seen: ExperienceLibrary) -> tuple[Outcome, tuple[Edit, ...]]:
        """An example's proposals, settled against the newest library; it fails if the updater does."""
        try:
            return outcome, await self.writer.settle(outcome.proposals, self.store.library, seen)
        except Exception as error:
            return Outcome.failed(error), ()

    def _commit(self, commit: Commit, step: int) -> None:
        """Make what an example gave durable, and note what it was shown."""
        self.store.commit([commit])
        self.done = max(self.done, step)
        if self.outcomes is not None and commit.tally.shown:
            example, source = example_id(self.order[step - 1]), f"learn {self.id} {step}"
            # The last one published: hashing each snapshot costs its size. Unknown where its log was removed.
            version = self.log.records[-1].hash if self.log.records else ""
            self.outcomes.note([usage_of_step(version, example, commit.tally, commit.solved, source)])

    def _forget_before(self, step: int) -> None:
        """Let go of snapshots that no example sees any more."""
        for old in [place for place in self.snapshots if place < step - self.settings.window]:
            del self.snapshots[old]

    # -- failures ------------------------------------------------------------------------------------------

    def _count(self, outcome: Outcome) -> None:
        """Count a failure; where nothing works, end the run."""
        try:
            self.streak.add(outcome.error, outage=outcome.outage)
        except ModelError:
            self._tell_held()
            raise

    def _is_in_outage(self) -> bool:
        """Whether a model could not be reached since the last success."""
        return any(outcome.outage for _, outcome in self.held)

    def _held_failures(self) -> list[Failure]:
        return [Failure(example_id(self.order[step - 1]), outcome.error, step) for step, outcome in self.held]

    def _tell_held(self) -> None:
        """Show the caller failures that are not committed; the next call begins with these examples."""
        self.failures.standing += self._held_failures()

    def _pass_over(self) -> None:
        """Commit the failures that were held back, as steps that change nothing."""
        if not self.held:
            return
        self.failures.add(self._held_failures())
        self.store.commit([Commit(self.id, step) for step, _ in self.held])
        self.done = self.held[-1][0]
        self.held.clear()

    def _has_more(self) -> bool:
        """Whether an example that failed at first was learned from since the last version."""
        return self.again in self.store.library.runs and self.store.library.hash != self._last_hash()

    async def _retry(self, earlier: Sequence[Failure]) -> None:
        """Attempt again what failed in an earlier call.

        All see one snapshot: the library after the last example. It is found again after a kill, as no version is
        published on the way. Each pass over the failures has numbers of its own, above those of the pass before.
        """
        total, before = len(self.order), self.store.library
        seen = self.complete or before
        offset = -(-before.runs.get(self.again, 0) // total) * total
        gate = asyncio.Semaphore(self.settings.concurrency)
        examples = [self.order[failure.step - 1] for failure in earlier]
        tasks = deque(asyncio.create_task(self._explore(example, seen, gate)) for example in examples)
        try:
            for failure in earlier:
                outcome, edits = await self._edits(await tasks.popleft(), seen)
                if outcome.error:
                    self.failures.add([replace(failure, error=outcome.error)])
                    self._count(outcome)
                    continue
                again = Commit(self.again, offset + failure.step, edits, outcome.tally, outcome.solved)
                self._commit(again, failure.step)
                self.failures.remove(failure.step)
                self.streak.end()
        finally:
            await _cancel(tasks)

    def _all_failed(self) -> str:
        failures = self.failures.standing
        return f"all {len(failures)} examples failed; the last one said: {failures[-1].error}"

    def _show(self, bar: tqdm[Any], outcome: Outcome) -> None:
        sizes = ", ".join(f"{count} {zone}" for zone, count in self.store.library.sizes().items() if count)
        self.attempted += outcome.solved is not None
        self.solved += bool(outcome.solved)
        success = f"solved {self.solved / self.attempted:.0%}, " if self.attempted else ""
        failed = len(self.failures.standing) + len(self.held)
        failures = f", {failed} failed" if failed else ""
        spent = self.settings.ledger.total
        cost = f", {spent}" if spent.tokens else ""
        bar.set_postfix_str(f"{success}library {sizes or 'empty'}{failures}{cost}", refresh=False)
        bar.update()

    # -- versions ------------------------------------------------------------------------------------------

    async def _publish(self, step: int) -> None:
        """Write the library's file, measure the version, log it. Interrupted, it is done again to the same end."""
        probe = await self._probe() if self._is_in_outage() else None
        self._pass_over()
        library = self.store.checkpoint(self._last_hash())
        evaluation = probe or await self._measured(library)
        numbers = evaluation.metrics() if evaluation else {}
        if numbers.get("errors"):
            self.log.keep(library)  # to be measured again
        version = self._version(library, step, numbers, evaluation)
        if self.settings.tracker is not None:
            self.settings.tracker.log_version(version)
        self._say(self.log.add(step, library, version.metrics))

    async def _probe(self) -> Evaluation | None:
        """Measure before the last failures are committed: that shows whether the model works."""
        evaluation = await self._measured(self.store.library)
        if evaluation is not None and evaluation.metrics()["errors"] == len(evaluation.records):
            self._tell_held()
            raise ModelError(f"all validation examples failed; the last one said: {evaluation.records[-1].error}")
        return evaluation

    def _version(
        self, library: ExperienceLibrary, step: int, numbers: Mapping[str, float], evaluation: Evaluation | None
    ) -> Version:
        ledger = self.settings.ledger
        spent = ledger.metrics() if ledger.total.tokens else {}  # the offline experts have none
        dataset, content = ("validation", digest(self.valset)[:16]) if self.valset else ("", "")
        records = evaluation.records if evaluation else ()
        return Version(library, step, {**numbers, **spent}, dataset, content, records)

    def _last_hash(self) -> str | None:
        return self.log.records[-1].hash if self.log.records else None

    def _say(self, record: VersionRecord) -> None:
        if self.settings.progress:
            tqdm.write(record.text())

    def _doubtful(self) -> list[tuple[VersionRecord, ExperienceLibrary]]:
        """The versions that were measured with errors, as far as their libraries are still there."""
        if not self.valset:
            return []
        records = [record for record in self.log.records if record.errors]
        here = {library.hash: library for library in (*self.store.replayed[:1], self.store.library) if records}
        found = [(record, here.get(record.hash) or self.log.kept(record.hash)) for record in records]
        return [(record, library) for record, library in found if library is not None]

    async def _measure_again(self, record: VersionRecord, library: ExperienceLibrary) -> None:
        """Replace what was measured of a version with errors. Answers that are cached are not asked for again."""
        library = library.as_version(record.parent)
        evaluation = await self._measured(library)
        numbers = {**record.metrics, **(evaluation.metrics() if evaluation else {})}
        version = replace(self._version(library, record.step, numbers, evaluation), is_again=True)
        if self.settings.tracker is not None:
            self.settings.tracker.log_version(version)
        measured = self.log.measure_again(record, version.metrics)
        if not measured.errors:
            self.log.discard(record.hash)
        self._say(measured)

    async def _measured(self, library: ExperienceLibrary) -> Evaluation | None:
        if not self.valset:
            return None
        evaluation: Evaluation = await aevaluate(
            self.student,
            self.valset,
            self.settings.metric,
            library=library,
            measures=self.settings.measures,
            concurrency=self.settings.concurrency,
            label="measuring",
            progress=None if self.settings.progress else False,  # a second bar is for terminals alone
            allow_overlap=True,  # set aside already
            ledger=self.settings.ledger,
            role="validation",
        )
        if self.outcomes is not None:
            self.outcomes.note(usage_of_evaluation(library.hash, evaluation.records, f"val {self.id}"))
        return evaluation

    def _pictures(self) -> list[Path]:
        if self.store.path is None or not self.valset:
            return []
        path, mode = beside(self.store.path, "png"), mode_beside(self.store.path)
        points = [record.curve_point() for record in self.log.newest()]
        title = f"{self.store.library.task}: {model_names(self.student)}"
        with SideRecord("the figure").attempt():
            return [learning_curve(points, path, title=title, mode=mode)]
        return []

    def parameters(self) -> dict[str, Any]:
        """What the run's result depends on, and how fast it goes: the run's parameters in MLflow."""
        settings = self.settings
        return {
            "run": self.id,
            "task": self.store.library.task,
            "study": settings.study,
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
            "verifier": model_names(settings.verifier),
            "critic": model_names(settings.critic),
            "updater": model_names(settings.updater),
            "budget_usd": settings.ledger.budget_usd,
            "budget_spend_tokens": settings.ledger.budget_tokens,
        }


def _order(trainset: Sequence[dspy.Example], epochs: int, seed: int) -> Iterator[dspy.Example]:
    """All examples of all epochs, each epoch shuffled on its own."""
    for epoch in range(epochs):
        shuffled = list(trainset)
        random.Random(f"{seed}:{epoch}").shuffle(shuffled)  # noqa: S311 (order, not secrecy)
        yield from shuffled


def _unseen(
    valset: Sequence[dspy.Example],
    trainset: Sequence[dspy.Example],
    library: ExperienceLibrary,
    key: Callable[[str], str | None] | None,
) -> list[dspy.Example]:
    """The validation examples that nothing was or will be learned from."""
    learned = precedent_problems(library) | precedent_ids(library) | {problem_of(example) for example in trainset}
    clean, shared = without_overlap(valset, learned, key=key)
    if shared:
        logger.warning("%d of %d validation examples are learned from: set aside", len(shared), len(valset))
    return clean


def stops(total: int, every: int | None) -> list[int]:
    """After how many examples a version is published: at none, then on the way, and at the end."""
    if every is not None:
        return [*range(0, total, every), total]
    first = total if total <= 50 else min(50, total // 4)  # few examples are too few for a version on the way
    spread = np.geomspace(first, total, DEFAULT_VERSIONS)
    return sorted({0, *(round(float(value)) for value in spread), total})


async def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _step_of(commit: int, total: int) -> int:
    """The example's step, from the number of the commit that retried it; 0 for none."""
    return (commit - 1) % total + 1 if commit else 0


def _without_labels(example: dspy.Example) -> dspy.Example:
    """An example that is known by its inputs alone."""
    return dspy.Example(**example.inputs()).with_inputs(*example.inputs())


def _refuse_offline(settings: ForwardLearning) -> None:
    """Offline experts judge and teach by the reference answer.

    Raises:
        ConfigurationError: If one of them is to do so without.
    """
    for role, program in (("verifier", settings.verifier), ("critic", settings.critic)):
        if any(is_offline(model) for model in _asked(program)):
            raise ConfigurationError(
                f"the {role} is an offline expert, which knows right from wrong by the reference answer alone. To "
                f"learn without reference answers, name a language model for it (--lm or --{role}-lm)"
            )


def _asked(program: dspy.Module) -> list[Any]:
    """The models that a program's predictors ask."""
    models = (predictor.lm or dspy.settings.lm for predictor in program.predictors())
    return [model for model in models if model is not None]


def model_names(program: dspy.Module) -> str:
    """The names of the models that a program's predictors ask, in order, each once."""
    return ", ".join(sorted({str(model.model) for model in _asked(program)}))


def _prompt(predictor: dspy.Predict) -> list[Any]:
    """What of a predictor shapes its prompt."""
    signature = predictor.signature
    return [signature.instructions, list(signature.fields), predictor.dump_state()["demos"]]


def _sampling(model: Any) -> list[Any]:
    """What of a model shapes its answers."""
    settings = getattr(model, "kwargs", {})
    return [str(model.model), settings.get("temperature"), settings.get("max_tokens")]


def _tally(shown: Sequence[str], trajectories: Sequence[Trajectory]) -> Tally:
    """Entries by what came of them: an actor says which of those it was shown it relied on."""
    known = tuple(dict.fromkeys(shown))
    rounds = [round_ for trajectory in trajectories for round_ in trajectory.rounds]
    relied = [(round_.accepted, set(round_.outputs.get("experiences_used") or ())) for round_ in rounds]
    helped = set().union(*(used for accepted, used in relied if accepted))
    hurt = set().union(*(used for accepted, used in relied if not accepted))
    return Tally(
        known,
        tuple(entry_id for entry_id in known if entry_id in helped),
        tuple(entry_id for entry_id in known if entry_id in hurt),
    )

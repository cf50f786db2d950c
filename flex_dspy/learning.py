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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dspy
import numpy as np
from dspy.teleprompt import Teleprompter
from tqdm.auto import tqdm

from flex_dspy.data.loading import digest
from flex_dspy.errors import BudgetError, ConfigurationError, ModelError
from flex_dspy.examples import example_id, problem_of, reference_of
from flex_dspy.lessons import LessonWriter, Proposal
from flex_dspy.libraries.experience import Commit, Precedent, Tally
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.memory_store import store_of
from flex_dspy.libraries.paths import beside, mode_beside
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.measuring.evaluation import HOPELESS, Evaluation, Measure, aevaluate
from flex_dspy.measuring.outcomes import OutcomeLog, outcome_of, outcomes_of
from flex_dspy.measuring.overlap import learned_ids, learned_problems, without_overlap
from flex_dspy.models.spending import Ledger
from flex_dspy.programs.critic import Critic
from flex_dspy.programs.equip import equip
from flex_dspy.programs.rejection_sampling import RejectionSampling
from flex_dspy.programs.updater import Updater
from flex_dspy.programs.verifier import Verifier
from flex_dspy.running import lean, raise_if_systemic, run_sync
from flex_dspy.scoring import Metric
from flex_dspy.search.retrieval import pinned, retrievers
from flex_dspy.side_records import SideRecord
from flex_dspy.trajectory import Trajectory
from flex_dspy.versioning.plots import learning_curve
from flex_dspy.versioning.tracking import Tracker, Version
from flex_dspy.versioning.versions import VersionLog, Versions

logger = logging.getLogger(__name__)

DEFAULT_VERSIONS = 6


@dataclass(frozen=True, slots=True)
class Failure:
    """An example that gave nothing.

    Attributes:
        example_id: Identity of the problem.
        error: What the last rollout ended with.
    """

    example_id: str
    error: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one example gave."""

    proposals: tuple[Proposal, ...] = ()
    tally: Tally = field(default_factory=Tally)
    solved: bool | None = None
    error: str = ""


class ForwardLearning(Teleprompter):
    """Learns an experience library for a program: no gradients, no change of weights.

    Args:
        metric: Score, with feedback if it can; see ``flex_dspy.scoring.score``.
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
        seed: Fixes the order of the examples.
        critic: The critic; by default a new ``Critic``.
        updater: The updater; by default a new ``Updater``.
        verifier: The verifier; by default a new ``Verifier``.
        threshold: Least score that counts as success, for a graded metric; 1 by default. A verifier has its own.
        measures: Further measures of validation predictions.
        progress: Whether to show progress bars.
        allow_overlap: Measure even on validation examples that are learned from.
        key: One form for all ways of writing a problem, to find those; see ``flex_dspy.measuring.overlap``.
        ledger: Counts tokens and money by role, and keeps a budget; by default one in memory, without a budget.

    After ``compile``, ``versions`` holds what was published, with its accuracy, and ``failures`` the examples that
    gave nothing in this call.

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
        library: LibraryStore | ExperienceLibrary | str | Path | None = None,
        tracker: Tracker | None = None,
        study: bool = False,
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
            trainset: Examples with reference answers.
            teacher: Makes the attempts instead of the student, who inherits the library and is measured with it.
            valset: Examples on which every version is measured; those that are also in the training set are
                set aside, unless they are allowed. None measures nothing.
            **kwargs: None are taken.

        Returns:
            A copy of the student that reads the learned library.

        Raises:
            ConfigurationError: If the student holds no predictor, or the training set is empty.
            ModelError: If no example works at all.
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
        self.failures = run.failures
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
        self.sampling = RejectionSampling(
            actor,
            settings.verifier,
            metric=settings.metric,
            max_rounds=settings.max_rounds,
            max_rollouts=settings.max_rollouts,
        )
        self.writer = LessonWriter(settings.critic, settings.updater, settings.ledger)
        self.order = list(_order(trainset, settings.epochs, settings.seed))
        self.stops = stops(len(self.order), settings.checkpoint_every)
        self.store = store_of(settings.library, retrievers(student)[0].library)
        self.valset = valset if settings.allow_overlap else _unseen(valset, trainset, self.store.library, settings.key)
        self.id = settings.run_id(actor, trainset)
        self.log = VersionLog(self.store.path, self.id)
        self.failed_from_start = 0
        self.attempted = 0
        self.solved = 0
        self.failures: list[Failure] = []
        # Study shows nothing while it learns.
        self.outcomes = OutcomeLog(self.store.path) if self.store.path and not settings.study else None

    # -- the loop ------------------------------------------------------------------------------------------

    async def learn(self) -> ExperienceLibrary:
        """Segment by segment: learn up to a stop, then publish."""
        done = self.store.library.runs.get(self.id, 0)
        if all(self.log.get(stop) for stop in self.stops):
            return self.store.library
        tracker = self.settings.tracker
        if tracker is not None:
            tracker.start(self.parameters())
        with self._bar(done) as bar:
            start = 0
            for stop in self.stops:
                if done <= stop and self.log.get(stop) is None:
                    await self._segment(start, max(done, start), stop, bar)
                    await self._publish(stop)
                    done = stop
                start = stop
        if len(self.failures) == len(self.order):
            last = self.failures[-1].error
            raise ModelError(f"all {len(self.failures)} examples failed; the last one said: {last}")
        pictures = self._pictures()
        if tracker is not None:
            tracker.finish(pictures)
        return self.store.library

    def _bar(self, done: int) -> tqdm[Any]:
        what = "studying" if self.settings.study else "learning"
        off = not self.settings.progress
        return tqdm(total=len(self.order), initial=done, desc=what, unit="ex", disable=off)

    async def _segment(self, start: int, done: int, stop: int, bar: tqdm[Any]) -> None:
        """Learn from examples ``done`` to ``stop``; ``start`` is where the last version was published.

        Examples enter as the window allows and leave in order. ``snapshots[i]`` is the library after *i* of them.
        """
        snapshots = {library.runs.get(self.id, 0): library for library in self.store.replayed}
        snapshots[done] = self.store.library
        gate = asyncio.Semaphore(self.settings.concurrency)
        running: deque[asyncio.Task[Outcome]] = deque()
        entered = done
        try:
            for step in range(done, stop):
                while entered < min(stop, step + self.settings.window):
                    seen = snapshots[max(entered - self.settings.window + 1, start)]
                    running.append(asyncio.create_task(self._explore(self.order[entered], seen, gate)))
                    entered += 1
                outcome = await running.popleft()
                seen = snapshots[max(step - self.settings.window + 1, start)]
                snapshots[step + 1] = await self._commit(step + 1, outcome, seen)
                snapshots.pop(step - self.settings.window, None)
                if outcome.error:
                    self.failures.append(Failure(example_id(self.order[step]), outcome.error))
                self._show(bar, outcome)
        except BudgetError:  # answers under way are paid for: wait, so that they are counted and cached
            await asyncio.gather(*running, return_exceptions=True)
            raise
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _explore(self, example: dspy.Example, library: ExperienceLibrary, gate: asyncio.Semaphore) -> Outcome:
        """Attempt, distil and propose edits, all against one snapshot. A failure is an outcome."""
        async with gate:
            try:
                return await self._lessons(example, library)
            except Exception as error:
                raise_if_systemic(error)
                logger.warning("an example was passed over: %s: %s", type(error).__name__, error)
                return Outcome(error=f"{type(error).__name__}: {error}")

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
        proposals = [await self.writer.propose(precedent, trajectory, library) for trajectory in finished]
        error = next((t.error for t in found.trajectories if t.error), "") if not finished else ""
        return Outcome(tuple(proposals), _tally(reading.shown, finished), found.accepted, error)

    # -- one writer ----------------------------------------------------------------------------------------

    async def _commit(self, step: int, outcome: Outcome, seen: ExperienceLibrary) -> ExperienceLibrary:
        """Settle an example's proposals against the newest library, and make them durable."""
        self._watch(step, outcome)
        edits = await self.writer.settle(outcome.proposals, self.store.library, seen)
        library = self.store.commit([Commit(self.id, step, edits, outcome.tally, outcome.solved)])
        if self.outcomes is not None and outcome.tally.shown:
            example, source = example_id(self.order[step - 1]), f"learn {self.id} {step}"
            # The last one published: hashing each snapshot costs its size. Unknown where its log was removed.
            version = self.log.records[-1].hash if self.log.records else ""
            self.outcomes.note([outcome_of(version, example, outcome.tally, outcome.solved, source)])
        return library

    def _watch(self, step: int, outcome: Outcome) -> None:
        if outcome.error and self.failed_from_start == step - 1:
            self.failed_from_start = step
        if self.failed_from_start >= HOPELESS:
            raise ModelError(f"the first {HOPELESS} examples all failed; the last one said: {outcome.error}")

    def _show(self, bar: tqdm[Any], outcome: Outcome) -> None:
        sizes = ", ".join(f"{count} {zone}" for zone, count in self.store.library.sizes().items() if count)
        self.attempted += outcome.solved is not None
        self.solved += bool(outcome.solved)
        success = f"solved {self.solved / self.attempted:.0%}, " if self.attempted else ""
        failures = f", {len(self.failures)} failed" if self.failures else ""
        spent = self.settings.ledger.total
        cost = f", {spent}" if spent.tokens else ""
        bar.set_postfix_str(f"{success}library {sizes or 'empty'}{failures}{cost}", refresh=False)
        bar.update()

    # -- versions ------------------------------------------------------------------------------------------

    async def _publish(self, step: int) -> None:
        """Write the library's file, measure the version, log it. Interrupted, it is done again to the same end."""
        parent = self.log.records[-1].hash if self.log.records else None
        library = self.store.checkpoint(parent)
        ledger = self.settings.ledger
        evaluation = await self._measured(library)
        numbers = evaluation.metrics() if evaluation else {}
        if ledger.total.tokens:  # the offline experts have none
            numbers |= ledger.metrics()
        if self.settings.tracker is not None:
            dataset, content = ("validation", digest(self.valset)[:16]) if self.valset else ("", "")
            records = evaluation.records if evaluation else ()
            version = Version(library, step, numbers, dataset, content, records)
            self.settings.tracker.log_version(version)
        record = self.log.add(step, library, numbers)
        if self.settings.progress:
            tqdm.write(record.text())

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
            self.outcomes.note(outcomes_of(library.hash, evaluation.records, f"val {self.id}"))
        return evaluation

    def _pictures(self) -> list[Path]:
        if self.store.path is None or not self.valset:
            return []
        path, mode = beside(self.store.path, "png"), mode_beside(self.store.path)
        points = [record.curve_point() for record in self.log.records]
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
    learned = learned_problems(library) | learned_ids(library) | {problem_of(example) for example in trainset}
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

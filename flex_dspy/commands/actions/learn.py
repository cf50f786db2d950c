"""``flex-dspy learn``: learns a library, publishes versions of it, and measures each version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import dspy

from flex_dspy.commands.actions import clusters, roles, sources
from flex_dspy.commands.actions.trackers import make_tracker
from flex_dspy.commands.options.learn import LearnOptions
from flex_dspy.core.errors import TrackingError
from flex_dspy.core.examples import problem_of
from flex_dspy.data.loading import LoadedData, content_id, digest
from flex_dspy.learning.dry_run import estimate
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.learning.run_folder import RunFolder
from flex_dspy.programs import Actor
from flex_dspy.tasks.registry import get_task
from flex_dspy.tasks.task import Task
from flex_dspy.tracking.best import best_text
from flex_dspy.tracking.datasets import DatasetInfo
from flex_dspy.tracking.registry import read_library
from flex_dspy.tracking.tracker import MLflowTracker

_NOT_REPEATED = ("config", "resume", "fresh", "dry_run", "cluster")  # options of a single start, not of the whole run


@dataclass(frozen=True)
class _Setting:
    """The task, the models and the examples of the run."""

    options: LearnOptions
    task: Task
    optimizer: ForwardLearning
    actor: Actor
    train: LoadedData
    val: LoadedData


def run(task_name: str, options: LearnOptions) -> None:
    """Learn a library, or print the estimated cost.

    Raises:
        RunError: If the folder holds another run, or holds no run to resume.
        TrackingError: If MLflow lacks versions of the library.
    """
    task = get_task(task_name)
    lms = roles.models(options.models, options.teachers, task=task)
    if not options.run.dry_run:
        roles.check_keys(lms)
    with dspy.context(lm=lms["actor"]):
        setting = _prepare(options, task, lms)
        if options.run.dry_run:
            print(estimate(setting.optimizer, setting.actor, setting.train.examples, setting.val.examples).text())
        else:
            _learn(setting)


def _prepare(options: LearnOptions, task: Task, lms: Mapping[str, dspy.LM]) -> _Setting:
    given, seed, model = options.data, options.actor.seed, lms["actor"]
    train = sources.examples(task, model, "train", given.train, given.train_samples, seed)
    val = sources.examples(task, model, "val", given.val, given.val_samples, seed)
    problems = {problem_of(example) for example in train.examples}
    valset = sources.measurable(given.overlap, task, val, problems)
    optimizer = _optimizer(options, task, lms)
    actor = roles.actor(options, task, model, sources.shots(options.actor, train))
    return _Setting(options, task, optimizer, actor, train, replace(val, examples=valset, digest=digest(valset)))


def _optimizer(options: LearnOptions, task: Task, lms: Mapping[str, dspy.LM]) -> ForwardLearning:
    given = options.learning
    teachers: dict[str, Any] = dict(roles.teachers(options, task, lms))
    return ForwardLearning(
        task.metric,
        max_rounds=given.rounds,
        max_rollouts=roles.rollouts(given.rollouts, lms["actor"]),
        epochs=given.epochs,
        scope=given.write_scope,
        concurrency=options.actor.concurrency,
        window=given.window,
        checkpoint_every=given.checkpoint_every,
        study=given.study,
        lessons_from=given.lessons_from,
        review=given.review,
        reference=not given.without_reference,
        retry_failed=given.retry_failed,
        seed=options.actor.seed,
        measures=task.measures,
        progress=not options.quiet,
        allow_overlap=options.data.overlap == "allow",
        key=task.key,
        ledger=roles.ledger(options.budget, lms),
        **teachers,
    )


def _learn(setting: _Setting) -> None:
    optimizer, task, options = setting.optimizer, setting.task, setting.options
    folder = _open(setting)
    optimizer.ledger = folder.ledger(optimizer.ledger)
    tracker = optimizer.tracker = make_tracker(options, task.name, folder, _datasets(setting))
    model, number = setting.actor.get_lm().model, len(setting.train.examples)
    print(f"{task.name}: learning from {number} examples with {model}, run {folder.note().run}")
    try:
        with clusters.executor(options) as optimizer.executor:
            optimizer.compile(setting.actor, trainset=setting.train.examples, valset=setting.val.examples)
    finally:
        roles.print_costs(optimizer.ledger)
        print(f"\nlibrary  {folder.library}")
    _print_failures(optimizer, will_retry=options.learning.retry_failed)
    print(*["", *(record.text() for record in optimizer.versions)], sep="\n")
    if setting.val.examples:
        print(f"figure   {folder.figure}")
    print(f"again    flex-dspy learn --config {folder.configuration}")
    if tracker is not None:
        _print_tracking(tracker, folder)


def _open(setting: _Setting) -> RunFolder:
    """Open the run's folder, give the optimizer its store, and write the options and the data into the folder."""
    optimizer, task, options = setting.optimizer, setting.task, setting.options
    place = options.run
    start = read_library(place.start_from, options.tracking.tracking_uri) if place.start_from else None
    run_id = optimizer.run_id(setting.actor, setting.train.examples)
    if start is not None:  # a different start library makes a different run
        run_id = content_id(run_id, start.hash)
    folder = RunFolder(place.out or Path("exps") / f"{task.name}-{run_id}", place.library)
    optimizer.library = folder.open(run_id, task=task.name, start_from=start, resume=place.resume, fresh=place.fresh)
    if folder.moved_to is not None:
        print(f"what was in {folder.path} is in {folder.moved_to} now")
    data = {use: asdict(info) for use, info in _datasets(setting).items()}
    folder.write_note(run_id, {"task": task.name, **flat(options)}, data)
    return folder


def flat(options: object) -> dict[str, Any]:
    """Options of a run by name, as in a configuration file.

    Args:
        options: A dataclass of options, which may contain other such dataclasses.
    """
    values: dict[str, Any] = {}
    for field in fields(options):  # type: ignore[arg-type]
        value = getattr(options, field.name)
        if is_dataclass(value):
            values |= flat(value)
        elif value not in (None, ()) and field.name not in _NOT_REPEATED:
            values[field.name] = str(value.absolute()) if isinstance(value, Path) else value
    return values


def _datasets(setting: _Setting) -> dict[str, DatasetInfo]:
    found = {
        use: DatasetInfo.of(each.source, each.digest[:16], len(each.examples), task=setting.task.name)
        for use, each in (("training", setting.train), ("validation", setting.val))
        if each.examples
    }
    return {use: info.as_validation() if use == "validation" else info for use, info in found.items()}


def _print_failures(optimizer: ForwardLearning, *, will_retry: bool) -> None:
    failures: Sequence[Any] = optimizer.failures
    if not failures:
        return
    last, number = failures[-1], len(failures)
    print(f"{number} example{'s' * (number > 1)} gave nothing; the last, {last.example_id}: {last.error[:200]}")
    if will_retry:
        print("the same command attempts them again")


def _print_tracking(tracker: MLflowTracker, folder: RunFolder) -> None:
    """Print the best version in MLflow.

    Raises:
        TrackingError: If MLflow lacks versions.
    """
    if tracker.missing:
        steps = ", ".join(map(str, tracker.missing))
        raise TrackingError(
            f"learned, but MLflow lacks the versions at step {steps}: they are kept in {folder.unlogged}. "
            f"Log them with: flex-dspy library log {folder.path}"
        )
    file = folder.tracking_run  # a finished run is not started in MLflow again, but the file has its id
    run_id = tracker.run_id or (file.read_text(encoding="utf-8").strip() if file.exists() else "")
    print(f"MLflow   {best_text(tracker.registered_name, run_id, tracker.tracking_uri, tracker.max_errors)}")

"""``flex-dspy learn``: learn a library, publish versions of it, measure each."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any

import dspy

from flex_dspy.commands import outputs, roles, sources
from flex_dspy.core.errors import RunError, TrackingError
from flex_dspy.core.examples import problem_of
from flex_dspy.core.secrets import redact_values
from flex_dspy.data.loading import LoadedData, content_id, digest
from flex_dspy.learning.dry_run import estimate
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import write_atomically
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.models.spending import Ledger
from flex_dspy.tasks.registry import get_task
from flex_dspy.tasks.task import Task
from flex_dspy.tracking.best import best_text
from flex_dspy.tracking.datasets import DatasetInfo
from flex_dspy.tracking.tracker import MLflowTracker
from flex_dspy.tracking.unlogged import FOLDER


def run(arguments: argparse.Namespace) -> None:
    """Do it."""
    task = get_task(arguments.task)
    lms = roles.models(arguments, task)
    if not arguments.dry_run:
        outputs.check_folder(arguments.out or Path("exps"))
        roles.check_keys(lms)
    model, seed = lms["actor"], arguments.seed
    with dspy.context(lm=model):
        train = sources.examples(task, model, "train", arguments.train, arguments.train_samples, seed)
        val = sources.examples(task, model, "val", arguments.val, arguments.val_samples, seed)
        problems = {problem_of(example) for example in train.examples}
        valset = sources.measurable(arguments.overlap, task, val, problems)
        optimizer = _optimizer(arguments, task, lms)
        actor = roles.actor(arguments, task, model, sources.shots(arguments, train))
        if arguments.dry_run:
            print(estimate(optimizer, actor, train.examples, valset).text())
        else:
            measured = replace(val, examples=valset, digest=digest(valset))
            _learn(arguments, task, optimizer, actor, train, measured)


def _learn(
    arguments: argparse.Namespace,
    task: Task,
    optimizer: ForwardLearning,
    actor: dspy.Module,
    train: LoadedData,
    val: LoadedData,
) -> None:
    start = sources.library(arguments) if arguments.library else None
    run = optimizer.run_id(actor, train.examples)
    if start is not None:  # the same lessons on top of another library are another run
        run = content_id(run, start.hash)
    folder: Path = arguments.out or Path("exps") / f"{task.name}-{run}"
    data = _datasets(task, {"training": train, "validation": val})
    optimizer.library = _store(arguments, task, folder, run, start)
    _write_note(arguments, folder, run, data)
    optimizer.ledger = _ledger(optimizer.ledger, folder / "spending.jsonl")
    optimizer.tracker = _tracker(arguments, task, folder, data)
    model = actor.get_lm().model
    print(f"{task.name}: learning from {len(train.examples)} examples with {model}, run {run}")
    try:
        optimizer.compile(actor, trainset=train.examples, valset=val.examples)
    finally:
        roles.say_what_it_cost(optimizer.ledger)
        print(f"\nlibrary  {folder / 'library.json'}")
    if optimizer.failures:
        last = optimizer.failures[-1]
        number = len(optimizer.failures)
        examples = f"{number} example{'s' * (number > 1)}"
        print(f"{examples} gave nothing; the last, {last.example_id}: {last.error[:200]}")
        if arguments.retry_failed:
            print("the same command attempts them again")
    print(*["", *(record.text() for record in optimizer.versions)], sep="\n")
    if val.examples:
        print(f"figure   {folder / 'library.png'}")
    if optimizer.tracker is not None:
        _refuse_missing(optimizer.tracker, folder)
        tracker = optimizer.tracker
        run_id = tracker.run_id or _read_text(tracker.run_file)  # a finished run is not started again
        print(f"MLflow   {best_text(tracker.registered_name, run_id, tracker.tracking_uri, tracker.max_errors)}")


def _read_text(path: Path | None) -> str:
    return path.read_text(encoding="utf-8").strip() if path is not None and path.exists() else ""


def _optimizer(arguments: argparse.Namespace, task: Task, lms: dict[str, dspy.LM]) -> ForwardLearning:
    teachers: dict[str, Any] = roles.teachers(arguments, task, lms)
    return ForwardLearning(
        task.metric,
        max_rounds=arguments.rounds,
        max_rollouts=roles.rollouts(arguments, lms),
        epochs=arguments.epochs,
        concurrency=arguments.concurrency,
        window=arguments.window,
        checkpoint_every=arguments.checkpoint_every,
        study=arguments.study,
        reference=not arguments.without_reference,
        retry_failed=arguments.retry_failed,
        seed=arguments.seed,
        measures=task.measures,
        progress=not arguments.quiet,
        allow_overlap=arguments.overlap == "allow",
        key=task.key,
        ledger=roles.ledger(arguments, lms),
        **teachers,
    )


def _ledger(planned: Ledger, path: Path) -> Ledger:
    """The same ledger, kept in the run's folder: it goes on from what the run has spent already."""
    budgets = {"budget_usd": planned.budget_usd, "budget_tokens": planned.budget_tokens}
    return Ledger(path, **budgets, prices=planned.prices)  # type: ignore[arg-type]


def _store(
    arguments: argparse.Namespace, task: Task, folder: Path, run: str, start: ExperienceLibrary | None
) -> LibraryStore:
    """The run's store: continued where it stood, or begun."""
    path = folder / "library.json"
    note = folder / "run.json"
    known = json.loads(note.read_text(encoding="utf-8")).get("run") if note.exists() else None
    if arguments.resume and known is None:
        raise RunError(f"there is no run to resume in {folder}: leave --resume out to start one")
    if known not in (None, run) and not arguments.fresh:
        raise RunError(
            f"{folder} holds another run ({known}, this one would be {run}: other data, seed, models or settings). "
            "Choose another --out, or move it aside with --fresh"
        )
    if arguments.fresh and folder.exists():
        aside = next(f for n in count(1) if not (f := folder.with_name(f"{folder.name}.{n}.bak")).exists())
        folder.rename(aside)
        print(f"what was in {folder} is in {aside} now")
    folder.mkdir(parents=True, exist_ok=True)
    store = LibraryStore(path, task=task.name)
    if start is not None and store.library.seen == 0:
        start.save(path)
        store = LibraryStore(path, task=task.name)
    return store


def _write_note(arguments: argparse.Namespace, folder: Path, run: str, data: dict[str, DatasetInfo]) -> None:
    """Write down what the run is: its options as they may be read, and its data by name and digest."""
    path = folder / "run.json"
    note = {"run": run, "command": vars(arguments), "data": {use: asdict(info) for use, info in data.items()}}
    write_atomically(path, json.dumps(redact_values(note), indent=2, default=str) + "\n")
    path.chmod(0o600)  # options name servers, accounts and folders, which are nobody else's concern


def _refuse_missing(tracker: MLflowTracker, folder: Path) -> None:
    """Say which versions MLflow lacks.

    Raises:
        TrackingError: If there are any.
    """
    if tracker.missing:
        steps = ", ".join(map(str, tracker.missing))
        raise TrackingError(
            f"learned, but MLflow lacks the versions at step {steps}: they are kept in {folder / FOLDER}. "
            f"Log them with: flex-dspy library log {folder}"
        )


def _datasets(task: Task, data: dict[str, LoadedData]) -> dict[str, DatasetInfo]:
    return {
        use: DatasetInfo.of(each.source, each.digest[:16], len(each.examples), task=task.name)
        for use, each in data.items()
        if each.examples
    }


def _tracker(
    arguments: argparse.Namespace, task: Task, folder: Path, data: dict[str, DatasetInfo]
) -> MLflowTracker | None:
    if arguments.no_tracking:
        return None
    return MLflowTracker(
        arguments.experiment or f"flex-{task.name}",
        tracking_uri=arguments.tracking_uri,
        registered_name=f"flex-{task.name}",
        run_file=folder / "mlflow_run.txt",
        data=data,
        unlogged=folder / FOLDER,
    )

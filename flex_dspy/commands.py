"""What the commands do: put a task, models, a store and a tracker together, and call the library."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import dspy

from flex_dspy.data.loading import LoadedData, content_id
from flex_dspy.errors import ConfigurationError, OverlapError, RunError
from flex_dspy.evaluation import Evaluation, Record, learned_ids, without_overlap
from flex_dspy.evaluation import evaluate as measure
from flex_dspy.examples import example_id
from flex_dspy.learning import ForwardLearning
from flex_dspy.library import ExperienceLibrary
from flex_dspy.library_file import write_atomically
from flex_dspy.lm import is_offline, language_model
from flex_dspy.programs import Actor, Critic, Updater, Verifier
from flex_dspy.registry import is_reference, load_library
from flex_dspy.store import LibraryStore
from flex_dspy.tasks import Task, get_task
from flex_dspy.tracking import MLflowTracker

logger = logging.getLogger(__name__)


# -- learn -------------------------------------------------------------------------------------------------


def learn(arguments: argparse.Namespace) -> None:
    """``flex-dspy learn``."""
    task = get_task(arguments.task)
    models = _models(arguments, task)
    with dspy.context(lm=models["actor"]):
        train = _loaded(task, arguments.train or _split(task, "train"), arguments.train_samples, arguments.seed)
        val = _loaded(task, arguments.val or _split(task, "val"), arguments.val_samples, arguments.seed)
        _learn(arguments, task, models, train, val)


def _learn(
    arguments: argparse.Namespace,
    task: Task,
    models: dict[str, dspy.LM],
    train: LoadedData,
    val: LoadedData,
) -> None:
    actor = _actor(arguments, task, models["actor"])
    valset = _measurable(arguments.overlap, val, {example_id(example) for example in train.examples})
    optimizer = _optimizer(arguments, task, models)
    start = _library(arguments, task) if arguments.library else None
    run = optimizer.run_id(actor, train.examples)
    if start is not None:  # the same lessons on top of another library are another run
        run = content_id(run, start.hash)
    folder: Path = arguments.out or Path("exps") / f"{task.name}-{run}"
    optimizer.library = _store(arguments, task, folder, run, start)
    optimizer.tracker = _tracker(arguments, task, folder)
    print(f"{task.name}: learning from {len(train.examples)} examples with {models['actor'].model}, run {run}")
    optimizer.compile(actor, trainset=train.examples, valset=valset)
    print(*["", *(record.text() for record in optimizer.versions)], sep="\n")
    print(f"\nlibrary  {folder / 'library.json'}")
    if valset:
        print(f"figure   {folder / 'library.png'}")
    if optimizer.tracker is not None:
        print(f"MLflow   {optimizer.tracker.registered_name}@best, {optimizer.tracker.registered_name}@newest")


def _optimizer(arguments: argparse.Namespace, task: Task, models: dict[str, dspy.LM]) -> ForwardLearning:
    roles: dict[str, dspy.Module] = {
        "verifier": Verifier(normalize=task.normalize),
        "critic": Critic(),
        "updater": Updater(),
    }
    for role, program in roles.items():
        program.set_lm(models[role])
    return ForwardLearning(
        task.metric,
        max_rounds=arguments.rounds,
        max_rollouts=arguments.rollouts or (1 if is_offline(models["actor"]) else 3),
        epochs=arguments.epochs,
        concurrency=arguments.concurrency,
        window=arguments.window,
        checkpoint_every=arguments.checkpoint_every,
        study=arguments.study,
        seed=arguments.seed,
        measures=task.measures,
        progress=not arguments.quiet,
        allow_overlap=arguments.overlap == "allow",
        **roles,
    )


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
    write_atomically(note, json.dumps({"run": run, "command": _plain(arguments)}, indent=2) + "\n")
    return store


def _plain(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in vars(arguments).items()}


# -- eval --------------------------------------------------------------------------------------------------


def evaluate(arguments: argparse.Namespace) -> None:
    """``flex-dspy eval``."""
    task = get_task(arguments.task)
    if arguments.library is None and not arguments.no_retrieve:
        raise ConfigurationError("name a library with --library, or measure without one with --no-retrieve")
    library = ExperienceLibrary(task=task.name) if arguments.no_retrieve else _library(arguments, task)
    models = _models(arguments, task)
    with dspy.context(lm=models["actor"]):
        data = _loaded(task, arguments.val or _split(task, "test"), arguments.samples, arguments.seed)
        examples = _measurable(arguments.overlap, data, learned_ids(library))
        actor = _actor(arguments, task, models["actor"])
        folder = arguments.out or Path("exps") / f"eval-{task.name}-{library.hash[:8]}-{data.digest[:8]}"
        results = {"with library" if len(library) else "no library": _run(arguments, task, actor, examples, library)}
        if len(library) and not arguments.no_baseline:
            empty = ExperienceLibrary(task=task.name)
            results["no library"] = _run(arguments, task, actor, examples, empty)
    for name, evaluation in results.items():
        _keep(folder / name.replace(" ", "-"), evaluation)
    print(f"{task.name}: {data.source}, {models['actor'].model}, library {library.hash[:12]} ({len(library)} entries)")
    print(_table(results))
    print(f"\nrecords  {folder}")


def _run(
    arguments: argparse.Namespace,
    task: Task,
    actor: Actor,
    examples: Sequence[dspy.Example],
    library: ExperienceLibrary,
) -> Evaluation:
    return measure(
        actor,
        examples,
        task.metric,
        library=library,
        measures=task.measures,
        concurrency=arguments.concurrency,
        progress=not arguments.quiet,
        allow_overlap=True,  # decided before
    )


def _keep(folder: Path, evaluation: Evaluation) -> None:
    """Write one line an example to ``records.jsonl``, and a readable page an example to ``logs/``."""
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(asdict(record), ensure_ascii=False, default=str) for record in evaluation.records)
    write_atomically(folder / "records.jsonl", "".join(line + "\n" for line in lines))
    write_atomically(folder / "metrics.json", json.dumps(evaluation.metrics(), indent=2) + "\n")
    for record in evaluation.records:
        write_atomically(folder / "logs" / f"{record.example_id}.md", _page(record))


def _page(record: Record) -> str:
    parts = [
        f"# {record.example_id}: score {record.score:g}",
        f"## Problem\n\n{record.problem}",
        f"## Reference\n\n{record.reference}",
        *(f"## {name}\n\n{value}" for name, value in record.outputs.items()),
        f"## Feedback\n\n{record.feedback or record.error}",
        f"## Experiences shown\n\n{', '.join(record.shown) or 'none'}",
        f"{record.seconds:.2f} s",
    ]
    return "\n\n".join(parts) + "\n"


_COLUMNS = ("accuracy", "accuracy_low", "accuracy_high", "n", "errors")


def _table(results: dict[str, Evaluation]) -> str:
    """Accuracy with its interval, and every further measure, a row a setting."""
    names = [name for name in next(iter(results.values())).metrics() if name not in _COLUMNS]
    rows = [["", "n", "accuracy", "95% interval", *names, "errors"]]
    for label, evaluation in results.items():
        numbers = evaluation.metrics()
        low, high = evaluation.interval
        cells = [label, f"{evaluation.n}", f"{evaluation.accuracy:.1%}", f"{low:.1%} to {high:.1%}"]
        rows.append([*cells, *(f"{numbers[name]:.1%}" for name in names), f"{numbers['errors']:.0f}"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


# -- parts of both -----------------------------------------------------------------------------------------


def _models(arguments: argparse.Namespace, task: Task) -> dict[str, dspy.LM]:
    """A model for each role; roles with the same name share one."""
    made: dict[str, dspy.LM] = {}
    roles = {}
    for role in ("actor", "verifier", "critic", "updater"):
        name = getattr(arguments, f"{role}_lm", None) or arguments.lm
        if name not in made:
            made[name] = language_model(
                name,
                expert=task.expert,
                api_base=arguments.api_base,
                temperature=arguments.temperature,
                max_tokens=arguments.max_tokens,
            )
        roles[role] = made[name]
    return roles


def _actor(arguments: argparse.Namespace, task: Task, model: dspy.LM) -> Actor:
    given = {"k": arguments.k, "depth": arguments.depth, "token_budget": arguments.token_budget}
    retrieval = {name: value for name, value in given.items() if value is not None}
    return task.actor(lm=model, retrieve=not arguments.no_retrieve, **retrieval)


def _split(task: Task, name: str) -> str:
    if name not in task.splits:
        raise ConfigurationError(f"task {task.name} has no default {name} examples: name a file or a hub id")
    return task.splits[name]


def _loaded(task: Task, source: str, samples: int | None, seed: int) -> LoadedData:
    data = task.load(source, limit=samples, seed=seed if samples else None)
    if data.bad_rows:
        listed = "; ".join(f"row {row.row}: {row.reason}" for row in data.bad_rows[:3])
        logger.warning("%s: %d rows left out (%s)", data.source, len(data.bad_rows), listed)
    return data


def _measurable(overlap: str, data: LoadedData, learned: set[str]) -> list[dspy.Example]:
    """The examples to measure on: without those that were learned from, unless they are allowed."""
    clean, shared = without_overlap(data.examples, learned)
    if not shared or overlap == "allow":
        return data.examples
    where = f"{len(shared)} of {len(data.examples)} examples of {data.source} are also training examples"
    if overlap == "refuse":
        raise OverlapError(f"{where}: choose others, or say --overlap drop or --overlap allow")
    print(f"{where}: left out")
    if not clean:
        raise ConfigurationError(f"no example of {data.source} is left to measure on")
    return clean


def _library(arguments: argparse.Namespace, task: Task) -> ExperienceLibrary:
    name: str = arguments.library
    if Path(name).exists() or not is_reference(name):
        return ExperienceLibrary.load(name)
    return load_library(name, tracking_uri=arguments.tracking_uri)


def _tracker(arguments: argparse.Namespace, task: Task, folder: Path) -> MLflowTracker | None:
    if arguments.no_tracking:
        return None
    name = arguments.experiment or f"flex-{task.name}"
    return MLflowTracker(
        name,
        tracking_uri=arguments.tracking_uri,
        registered_name=f"flex-{task.name}",
        run_file=folder / "mlflow_run.txt",
    )

"""``flex-dspy eval``: measure a library, beside the same actor without one."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import dspy

from flex_dspy.commands import outputs, roles, sources
from flex_dspy.commands.table import table
from flex_dspy.core.errors import ConfigurationError, LibraryError
from flex_dspy.core.examples import problem_of
from flex_dspy.data.loading import digest
from flex_dspy.evaluation.equal_compute import equal_compute
from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.evaluation.evaluate import evaluate as measure
from flex_dspy.evaluation.overlap import precedent_problems
from flex_dspy.evaluation.record_files import write_records
from flex_dspy.evaluation.usage_log import UsageLog
from flex_dspy.evaluation.usage_records import UsageRecord, usage_of_evaluation
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.spending import Ledger
from flex_dspy.programs import Actor
from flex_dspy.tasks.registry import get_task
from flex_dspy.tasks.task import Task
from flex_dspy.tracking.datasets import DatasetInfo
from flex_dspy.tracking.evaluations import log_evaluation
from flex_dspy.tracking.mlflow_store import is_in_reach

logger = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> None:
    """Do it."""
    task = get_task(arguments.task)
    if arguments.library is None and not arguments.no_retrieve:
        raise ConfigurationError("name a library with --library, or measure without one with --no-retrieve")
    library = ExperienceLibrary(task=task.name) if arguments.no_retrieve else sources.library(arguments)
    outputs.check_folder(arguments.out or Path("exps"))
    model = roles.models(arguments, task)["actor"]
    roles.check_keys({"actor": model})
    ledger = roles.ledger(arguments, {"actor": model})
    with dspy.context(lm=model):
        data = sources.examples(task, model, "test", arguments.val, arguments.samples, arguments.seed)
        shots = _shots(arguments, task, model)
        learned = precedent_problems(library) | {problem_of(example) for example in shots}
        examples = sources.measurable(arguments.overlap, task, data, learned)
        folder = arguments.out or Path("exps") / f"eval-{task.name}-{library.hash[:8]}-{data.digest[:8]}"
        results = _measured(arguments, task, roles.actor(arguments, task, model, shots), examples, library, ledger)
    for name, evaluation in results.items():
        write_records(folder / name.replace(" ", "-").replace(",", ""), evaluation)
    print(f"{task.name}: {data.source}, {model.model}, library {library.hash[:12]} ({len(library)} entries)")
    print(table(results, solved=task.threshold))
    roles.say_what_it_cost(ledger)
    print(f"\nrecords  {folder}")
    dataset = DatasetInfo.of(data.source, digest(examples)[:16], len(examples), task=task.name)
    _log(arguments, task, results, library, dataset, model.model)
    if "with library" in results and Path(arguments.library).is_file():
        _note_usage(arguments.library, usage_of_evaluation(library.hash, results["with library"].records))


def _log(
    arguments: argparse.Namespace,
    task: Task,
    results: dict[str, Evaluation],
    library: ExperienceLibrary,
    dataset: DatasetInfo,
    model: str,
) -> None:
    """Log the evaluation where there is a store; only learning makes one unasked, as that takes a while."""
    if arguments.no_tracking or not is_in_reach(arguments.tracking_uri):
        return
    experiment = arguments.experiment or f"flex-{task.name}"
    run = log_evaluation(
        results,
        dataset,
        experiment=experiment,
        library=library,
        reference=arguments.library if arguments.library and not Path(arguments.library).exists() else "",
        params={
            "library": arguments.library if len(library) else "none",
            "task": task.name,
            "lm actor": model,
            "strategy": arguments.actor,
            "experience": arguments.experience,
            "samples": arguments.pass_at,
            "seed": arguments.seed,
        },
        tracking_uri=arguments.tracking_uri,
    )
    if run:
        print(f"MLflow   experiment {experiment}, run {run}")


def _note_usage(library: str, usage: Iterable[UsageRecord]) -> None:
    """Write down beside the library what came of showing its entries; a folder that takes no files is no error."""
    try:
        UsageLog(library).add(usage)
    except LibraryError as error:
        logger.warning("the outcomes are not kept: %s", error)


def _shots(arguments: argparse.Namespace, task: Task, model: dspy.LM) -> list[dspy.Example]:
    if arguments.actor != "icl":
        return []
    return sources.shots(arguments, sources.examples(task, model, "train", arguments.train, None, arguments.seed))


def _measured(
    arguments: argparse.Namespace,
    task: Task,
    actor: Actor,
    examples: Sequence[dspy.Example],
    library: ExperienceLibrary,
    ledger: Ledger,
) -> dict[str, Evaluation]:
    """The library's evaluation, and those it is compared with."""

    def measured(shown: ExperienceLibrary) -> Evaluation:
        return measure(
            actor,
            examples,
            task.metric,
            library=shown,
            measures=task.measures,
            normalize=task.normalize,
            samples=arguments.pass_at,
            concurrency=arguments.concurrency,
            progress=not arguments.quiet,
            allow_overlap=True,  # decided before
            ledger=ledger,
        )

    empty = ExperienceLibrary(task=task.name)
    results = {"with library" if len(library) else "no library": measured(library)}
    if len(library) and not arguments.no_baseline:
        results["no library"] = measured(empty)
    if len(library) and arguments.equal_compute:
        tokens = results["with library"].tokens + _learning_tokens(arguments.library)
        samples, evaluation = equal_compute(
            actor,
            examples,
            task.metric,
            tokens,
            library=empty,
            begun=results.get("no library"),
            measures=task.measures,
            normalize=task.normalize,
            concurrency=arguments.concurrency,
            progress=not arguments.quiet,
            ledger=ledger,
        )
        results[f"no library, {samples} samples for as many tokens"] = evaluation
    return results


def _learning_tokens(library: str) -> int:
    """What learning a library took, where its run wrote it down beside it."""
    path = Path(library).with_name("spending.jsonl")
    return Ledger(path).total.tokens if path.exists() else 0

"""``flex-dspy eval``: measures a library, and compares it with the same actor without a library."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import dspy

from flex_dspy.commands.actions import clusters, roles, sources
from flex_dspy.commands.actions.rankings import expert_for
from flex_dspy.commands.actions.tables import evaluation_table, print_json, print_table, stdout_for
from flex_dspy.commands.options.evaluate import EvaluateOptions
from flex_dspy.core.errors import LibraryError, ModelError
from flex_dspy.core.examples import problem_of
from flex_dspy.data.loading import LoadedData, digest
from flex_dspy.evaluation.differences import Side
from flex_dspy.evaluation.equal_compute import equal_compute
from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.evaluation.evaluate import evaluate as measure
from flex_dspy.evaluation.overlap import precedent_problems
from flex_dspy.evaluation.saved_sides import write_side
from flex_dspy.evaluation.usage_log import UsageLog
from flex_dspy.evaluation.usage_records import UsageRecord, usage_of_evaluation
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.settings import OFFLINE
from flex_dspy.models.spending import Ledger
from flex_dspy.programs import Actor
from flex_dspy.programs.executors import Executor
from flex_dspy.tasks.registry import get_task
from flex_dspy.tasks.task import Task
from flex_dspy.tracking.assessments import log_assessments
from flex_dspy.tracking.datasets import DatasetInfo
from flex_dspy.tracking.evaluations import log_evaluation
from flex_dspy.tracking.mlflow_store import is_in_reach
from flex_dspy.tracking.registry import read_library
from flex_dspy.tracking.traces import traces

logger = logging.getLogger(__name__)

WITH_LIBRARY, WITHOUT = "with library", "no library"


@dataclass(frozen=True)
class _Setting:
    """The library, the actor and the examples of the evaluation."""

    options: EvaluateOptions
    task: Task
    library: ExperienceLibrary
    actor: Actor
    data: LoadedData
    examples: Sequence[dspy.Example]
    ledger: Ledger
    executor: Executor | None = None

    @property
    def folder(self) -> Path:
        name = f"eval-{self.task.name}-{self.library.hash[:8]}-{self.data.digest[:8]}"
        return self.options.output.out or Path("exps") / name

    @property
    def dataset(self) -> DatasetInfo:
        return DatasetInfo.of(self.data.source, digest(self.examples)[:16], len(self.examples), task=self.task.name)


def run(task_name: str, options: EvaluateOptions) -> None:
    """Measure a library, write the records, print the results, and log them if there is a store."""
    task = get_task(task_name)
    library, expert = ExperienceLibrary(task=task.name), task.expert
    if options.retrieval.retrieve and options.data.library is not None:
        library = read_library(options.data.library, options.tracking.tracking_uri)
        if library.task not in ("", task.name):
            logger.warning("the library was learned on %s, and is measured on %s", library.task, task.name)
        # A model that is named is asked without the library's own ranking.
        if (options.models.actor_lm or options.models.lm) == OFFLINE:
            expert = expert_for(task, options.data.library, library, options.cluster.cluster)
    model = roles.actor_model(options, task, expert)
    with stdout_for(options.output.json):
        with clusters.executor(options) as executor, dspy.context(lm=model):
            setting = replace(_prepare(options, task, library, model), executor=executor)
            results = _measure(setting)
        for name, evaluation in results.items():
            side = Side.of(name, evaluation, library if name == WITH_LIBRARY else None)
            write_side(setting.folder / name.replace(" ", "-").replace(",", ""), side)
        _print(setting, results, str(model.model))
        _log(setting, results, str(model.model))
        _log_assessments(setting, results)
        _keep_usage(setting, results)
    if options.output.json:
        print_json({name: evaluation.metrics(solved=task.threshold) for name, evaluation in results.items()})
    for name, evaluation in results.items():
        _check_answers(name, evaluation)


def _check_answers(name: str, evaluation: Evaluation) -> None:
    """Raise an error if no example was answered.

    Raises:
        ModelError: If every example ended in an error.
    """
    errors = [record.error for record in evaluation.records if record.error]
    if errors and len(errors) == len(evaluation.records):
        raise ModelError(f"{name}: every example ended in an error, the first in: {errors[0]}")


def _prepare(options: EvaluateOptions, task: Task, library: ExperienceLibrary, model: dspy.LM) -> _Setting:
    given = options.data
    ledger = roles.ledger(options.budget, {"actor": model})
    data = sources.examples(task, model, "test", given.data, given.samples, options.actor.seed)
    shots = sources.load_shots(options.actor, task, model, given.train)
    learned = precedent_problems(library) | {problem_of(example) for example in shots}
    examples = sources.measurable(given.overlap, task, data, learned)
    effects = roles.effects_of(given.library, library) if options.retrieval.utility and given.library else None
    actor = roles.actor(options, task, model, shots, effects)
    return _Setting(options, task, library, actor, data, examples, ledger)


def _measure(setting: _Setting) -> dict[str, Evaluation]:
    """Measure the library and the alternatives that it is compared with."""
    library, options = setting.library, setting.options.measuring
    if not len(library):
        return {WITHOUT: _measure_one(setting, library)}
    results = {WITH_LIBRARY: _measure_one(setting, library)}
    if options.baseline:
        results[WITHOUT] = _measure_one(setting, ExperienceLibrary(task=setting.task.name))
    if options.equal_compute:
        samples, evaluation = _measure_equal_compute(setting, results)
        results[f"no library, {samples} samples for as many tokens"] = evaluation
    return results


def _measure_one(setting: _Setting, library: ExperienceLibrary) -> Evaluation:
    return measure(
        setting.actor,
        setting.examples,
        setting.task.metric,
        library=library,
        measures=setting.task.measures,
        normalize=setting.task.normalize,
        samples=setting.options.measuring.pass_at,
        concurrency=setting.options.actor.concurrency,
        progress=not setting.options.quiet,
        allow_overlap=True,  # overlap was handled before
        ledger=setting.ledger,
        executor=setting.executor,
    )


def _measure_equal_compute(setting: _Setting, results: dict[str, Evaluation]) -> tuple[int, Evaluation]:
    return equal_compute(
        setting.actor,
        setting.examples,
        setting.task.metric,
        results[WITH_LIBRARY].tokens + _learning_tokens(setting.options.data.library or ""),
        library=ExperienceLibrary(task=setting.task.name),
        begun=results.get(WITHOUT),
        measures=setting.task.measures,
        normalize=setting.task.normalize,
        concurrency=setting.options.actor.concurrency,
        progress=not setting.options.quiet,
        ledger=setting.ledger,
        executor=setting.executor,
    )


def _learning_tokens(library: str) -> int:
    """Number of tokens used for learning a library, if its run recorded them beside the library."""
    path = Path(library).with_name("spending.jsonl")
    return Ledger(path).total.tokens if path.exists() else 0


def _print(setting: _Setting, results: dict[str, Evaluation], model: str) -> None:
    library = setting.library
    print(f"{setting.task.name}: {setting.data.source}, {model}, library {library.hash[:12]} ({len(library)} entries)")
    print_table(evaluation_table(results, solved=setting.task.threshold))
    roles.print_costs(setting.ledger)
    print(f"\nrecords  {setting.folder}")


def _log(setting: _Setting, results: dict[str, Evaluation], model: str) -> None:
    """Log the evaluation if there is a store. Only learning creates a store without a request, because this is slow."""
    options, library, name = setting.options, setting.library, setting.options.data.library
    if not options.tracking.tracking or not is_in_reach(options.tracking.tracking_uri):
        return
    experiment = options.tracking.experiment or f"flex-{setting.task.name}"
    run_id = log_evaluation(
        results,
        setting.dataset,
        experiment=experiment,
        library=library,
        reference=name if name and not Path(name).exists() else "",
        params={
            "library": name if len(library) else "none",
            "task": setting.task.name,
            "lm actor": model,
            "strategy": options.actor.actor,
            "experience": options.actor.experience,
            "samples": options.measuring.pass_at,
            "seed": options.actor.seed,
        },
        tracking_uri=options.tracking.tracking_uri,
        log_examples=options.tracking.log_examples,
    )
    if run_id:
        print(f"MLflow   experiment {experiment}, run {run_id}")


def _log_assessments(setting: _Setting, results: dict[str, Evaluation]) -> None:
    """Write the scores to the traces of the same problems, if the user names the experiment of the traces."""
    options, name = setting.options, setting.options.data.library
    if options.measuring.traces is None or WITH_LIBRARY not in results:
        return
    uri = options.tracking.tracking_uri
    found = traces(options.measuring.traces, tracking_uri=uri).by_example(tuple(setting.actor.signature.input_fields))
    is_file = name is None or Path(name).exists()
    version = f"{setting.task.name} {setting.library.hash[:12]}" if is_file else str(name)
    written = log_assessments(results[WITH_LIBRARY], found, version=version, tracking_uri=uri)
    print(f"traces   {written} of {options.measuring.traces} are assessed as {version!r}")


def _keep_usage(setting: _Setting, results: dict[str, Evaluation]) -> None:
    """Write usage records of the library's entries beside the library file."""
    name = setting.options.data.library
    if WITH_LIBRARY in results and name and Path(name).is_file():
        _add_usage(name, usage_of_evaluation(setting.library.hash, results[WITH_LIBRARY].records))


def _add_usage(library: str, usage: Iterable[UsageRecord]) -> None:
    try:
        UsageLog(library).add(usage)
    except LibraryError as error:  # the folder may not be writable, but the evaluation is done
        logger.warning("the outcomes are not kept: %s", error)

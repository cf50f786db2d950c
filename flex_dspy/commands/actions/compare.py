"""``flex-dspy compare``: compares libraries, with gains, confidence intervals and the examples won and lost."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import dspy

from flex_dspy.commands.actions import clusters, roles, sources
from flex_dspy.commands.actions.candidates import Candidate, choose_names, find_task, read_candidate
from flex_dspy.commands.actions.tables import evaluation_table, print_json, print_table, stdout_for
from flex_dspy.commands.options.compare import CompareOptions
from flex_dspy.core.errors import ConfigurationError, DataError
from flex_dspy.core.examples import example_id, problem_of
from flex_dspy.core.scoring import ACCURACY
from flex_dspy.data.loading import LoadedData, content_id, digest, sample
from flex_dspy.display.comparison_figure import draw
from flex_dspy.display.comparisons import comparison_html
from flex_dspy.display.html import count
from flex_dspy.evaluation.comparison import Comparison
from flex_dspy.evaluation.differences import Side
from flex_dspy.evaluation.evaluate import evaluate
from flex_dspy.evaluation.overlap import precedent_problems
from flex_dspy.evaluation.records import by_example
from flex_dspy.evaluation.saved_sides import write_side
from flex_dspy.evaluation.settings import SOLVED
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import write_atomically
from flex_dspy.models.spending import Ledger
from flex_dspy.programs.executors import Executor
from flex_dspy.tasks.task import Task
from flex_dspy.tracking.comparisons import link_versions
from flex_dspy.tracking.mlflow_store import brief, connect, is_in_reach, resolve_uri
from flex_dspy.tracking.parameters import mlflow_name
from flex_dspy.tracking.tracker import MLflowTracker
from flex_dspy.tracking.version import metric_name, rounded

logger = logging.getLogger(__name__)

Candidates = Mapping[str, Candidate]


def run(given: Sequence[str], options: CompareOptions) -> None:
    """Measure the libraries, compare them with saved evaluations, write page and figure, and print the numbers.

    Raises:
        ConfigurationError: If the sources cannot be compared.
        DataError: If saved evaluations cannot be read, or have no example in common.
    """
    with stdout_for(options.output.json):  # standard output has only the JSON
        comparison = _compare(given, options)
    if options.output.json:
        print_json(comparison.summary())


def _compare(given: Sequence[str], options: CompareOptions) -> Comparison:
    read = [read_candidate(source, options.tracking.tracking_uri) for source in given]
    candidates = dict(zip(choose_names(given, options.output.name), read, strict=True))
    task = find_task(options.data.task, read)
    if all(isinstance(each, Side) for each in read):
        comparison, folder = _match_saved(options, task, candidates)
    elif task is None:
        raise ConfigurationError("say with --task what the libraries are for: none of them says it itself")
    else:
        comparison, folder = _measure(options, task, candidates)
    files = _write(comparison, folder, options.output.examples)
    _print(comparison, files)
    if options.tracking.tracking and is_in_reach(options.tracking.tracking_uri):
        _log(options, comparison, list(files.values()))
    return comparison


# -- measuring ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Setting:
    """Conditions shared by all measurements."""

    options: CompareOptions
    task: Task
    actor: dspy.Module
    data: LoadedData
    examples: Sequence[dspy.Example]
    ledger: Ledger
    folder: Path
    executor: Executor | None = None


def _measure(options: CompareOptions, task: Task, candidates: Candidates) -> tuple[Comparison, Path]:
    """Measure the libraries, and combine them with the saved evaluations in a comparison."""
    model = roles.actor_model(options, task)
    with clusters.executor(options) as executor, dspy.context(lm=model):
        setting = replace(_prepare(options, task, model, candidates), executor=executor)
        sides = [_side(setting, name, candidate) for name, candidate in candidates.items()]
    roles.print_costs(setting.ledger)
    about = {"task": task.name, "data": setting.data.source, "actor": str(model.model)}
    return Comparison.on_common_examples(sides, solved=task.threshold, about=about), setting.folder


def _prepare(options: CompareOptions, task: Task, model: dspy.LM, candidates: Candidates) -> _Setting:
    ledger = roles.ledger(options.budget, {"actor": model})
    shots = sources.load_shots(options.actor, task, model, options.data.train)
    data = _data(options, task, model, candidates)
    libraries = [each for each in candidates.values() if isinstance(each, ExperienceLibrary)]
    learned = set().union(*map(precedent_problems, libraries)) | {problem_of(example) for example in shots}
    examples = _in_all(sources.measurable(options.data.overlap, task, data, learned), candidates)
    actor = roles.actor(options, task, model, shots)
    folder = _folder(options, task.name, candidates, digest(examples))
    return _Setting(options, task, actor, data, examples, ledger, folder)


def _data(options: CompareOptions, task: Task, model: dspy.LM, candidates: Candidates) -> LoadedData:
    """Load the examples from the options, or else from the first saved evaluation."""
    given, seed = options.data, options.actor.seed
    saved = [(name, each) for name, each in candidates.items() if isinstance(each, Side)]
    if given.data or not saved:
        return sources.examples(task, model, "val", given.data, given.samples, seed)
    name, side = saved[0]
    try:
        examples = [samples[0].example() for samples in by_example(side.evaluation.records)]
    except ValueError as error:
        raise DataError(f"{name}: {error}: name the examples with --data") from error
    chosen = sample(examples, given.samples, seed) if given.samples else examples
    return LoadedData(chosen, [], f"the examples of {name}", digest(chosen))


def _in_all(examples: Sequence[dspy.Example], candidates: Candidates) -> list[dspy.Example]:
    """Examples that all saved evaluations have too. Only these can be compared."""
    saved = [each for each in candidates.values() if isinstance(each, Side)]
    known = [{record.example_id for record in side.evaluation.records} for side in saved]
    kept = [example for example in examples if all(example_id(example) in ids for ids in known)]
    if not kept:
        raise DataError("the saved evaluations have no example in common with these: choose others with --data")
    return kept


def _side(setting: _Setting, name: str, candidate: Candidate) -> Side:
    """Measure a library and write its records immediately. A saved evaluation is used unchanged."""
    if isinstance(candidate, Side):
        return replace(candidate, name=name)
    options = setting.options
    evaluation = evaluate(
        setting.actor,
        setting.examples,
        setting.task.metric,
        library=candidate,
        samples=options.data.pass_at,
        measures=setting.task.measures,
        normalize=setting.task.normalize,
        ledger=setting.ledger,
        executor=setting.executor,
        concurrency=options.actor.concurrency,
        label=name,
        progress=None if options.output.json else not options.quiet,
        allow_overlap=True,  # overlap was handled before
    )
    side = Side.of(name, evaluation, candidate)
    write_side(setting.folder / _plain(name), side)
    return side


def _match_saved(options: CompareOptions, task: Task | None, candidates: Candidates) -> tuple[Comparison, Path]:
    """Compare saved evaluations. No model is called."""
    if options.data.data or options.data.samples:
        raise ConfigurationError("--data and --samples are for libraries: a saved evaluation has its examples")
    sides = [replace(each, name=name) for name, each in candidates.items() if isinstance(each, Side)]
    about = {"task": task.name} if task else {}
    comparison = Comparison.on_common_examples(sides, solved=task.threshold if task else SOLVED, about=about)
    ids = content_id(*(record.example_id for record in comparison.before.records))
    return comparison, _folder(options, task.name if task else "saved", candidates, ids)


# -- results -----------------------------------------------------------------------------------------------


def _folder(options: CompareOptions, task: str, candidates: Candidates, examples: str) -> Path:
    name = f"compare-{task}-{content_id(*candidates)[:8]}-{examples[:8]}"
    return options.output.out or Path("exps") / name


def _plain(name: str) -> str:
    return re.sub(r"[^\w.@-]+", "-", name).strip("-.") or "side"


def _write(comparison: Comparison, folder: Path, examples: int) -> dict[str, Path]:
    """Write the comparison as a page, a figure and JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    page, data = folder / "comparison.html", folder / "comparison.json"
    write_atomically(page, comparison_html(comparison, examples=examples))
    write_atomically(data, comparison.to_json())
    return {"page": page, "figure": draw(comparison, folder / "comparison.png"), "JSON": data}


def _print(comparison: Comparison, files: dict[str, Path]) -> None:
    about = ", ".join(comparison.about.values())
    if about:
        print(about)
    if comparison.left_out:
        print(f"{count(comparison.left_out, 'example')} that not all have: left out")
    evaluations = {side.name: side.evaluation for side in comparison.sides}
    print_table(evaluation_table(evaluations, solved=comparison.solved))
    print(f"\n{comparison.text()}\n")
    for kind, path in files.items():
        print(f"{kind:<8} {path}")


def _log(options: CompareOptions, comparison: Comparison, files: Sequence[Path]) -> None:
    """Log the comparison as an MLflow run."""
    task, uri = comparison.about.get("task", ""), options.tracking.tracking_uri
    experiment = options.tracking.experiment or f"flex-{task or 'comparisons'}"
    name = " ".join(["compare", *(re.sub(r"[^\w .-]", "-", side.name) for side in comparison.sides)])
    tracker = MLflowTracker(
        experiment, tracking_uri=uri, registered_name=f"flex-{task or 'comparisons'}", run_name=name
    )
    sides = {side.name: {"library": side.library, "entries": side.size} for side in comparison.sides}
    try:
        tracker.start({**comparison.about, "n": comparison.before.n, "compared": sides})
        client = connect(resolve_uri(uri))
        for name, value in metrics_of(comparison).items():
            client.log_metric(tracker.run_id, mlflow_name(name), rounded(value))
        link_versions(client, client.get_run(tracker.run_id).info.experiment_id, tracker.run_id, comparison.sides)
        tracker.finish(files if options.tracking.log_examples else [file for file in files if file.suffix == ".png"])
    except Exception as error:  # all files are written, so a failing store must not fail the command
        logger.warning("MLflow did not take the comparison. %s", brief(error, resolve_uri(uri)))
        return
    print(f"MLflow   experiment {experiment}, run {tracker.run_id}")


def metrics_of(comparison: Comparison) -> dict[str, float]:
    """Metrics of a comparison for MLflow, by name: each accuracy, and each gain over the first with its p-value."""
    score = metric_name(ACCURACY, comparison.score)
    numbers = {f"{score}_{side.name}": side.evaluation.accuracy for side in comparison.sides}
    for found in comparison.differences():
        ending = f"_{found.second}" if len(comparison.sides) > 2 else ""
        numbers |= {f"gain{ending}": found.gain, f"p_value{ending}": found.adjusted}
        numbers |= {f"wins{ending}": float(found.wins), f"losses{ending}": float(found.losses)}
    return numbers

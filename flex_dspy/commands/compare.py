"""``flex-dspy compare``: which of several libraries is better, by how much, how surely, and on what."""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import dspy

from flex_dspy.commands import outputs, roles, sources
from flex_dspy.commands.table import table
from flex_dspy.core.errors import ConfigurationError, DataError
from flex_dspy.core.examples import example_id, problem_of
from flex_dspy.data.loading import LoadedData, content_id, digest, sample
from flex_dspy.display.comparison_figure import draw
from flex_dspy.display.comparisons import comparison_html
from flex_dspy.display.html import count
from flex_dspy.evaluation.comparison import Comparison
from flex_dspy.evaluation.differences import Side
from flex_dspy.evaluation.evaluate import Evaluation, evaluate
from flex_dspy.evaluation.overlap import precedent_problems
from flex_dspy.evaluation.record_files import RECORDS, read_records, write_records
from flex_dspy.evaluation.records import by_example
from flex_dspy.evaluation.settings import SOLVED
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import write_atomically
from flex_dspy.models.spending import Ledger
from flex_dspy.tasks.registry import get_task
from flex_dspy.tasks.task import Task
from flex_dspy.tracking.mlflow_store import brief, connect, is_in_reach, resolve_uri
from flex_dspy.tracking.parameters import allowed_name
from flex_dspy.tracking.registry import read_library
from flex_dspy.tracking.tracker import MLflowTracker

logger = logging.getLogger(__name__)

NONE = "none"
Candidate = ExperienceLibrary | Evaluation


def run(arguments: argparse.Namespace) -> None:
    """Do it."""
    if len(arguments.sources) < 2:
        raise ConfigurationError("name two or more to compare; 'none' stands for no library")
    outputs.check_folder(arguments.out or Path("exps"))
    with redirect_stdout(sys.stderr if arguments.json else sys.stdout):  # JSON stands alone
        given = [_read(source, arguments.tracking_uri) for source in arguments.sources]
        names = _names(arguments)
        task = _task(arguments, given)
        candidates = dict(zip(names, given, strict=True))
        if all(isinstance(each, Evaluation) for each in given):
            comparison, folder = _saved(arguments, task, candidates)
        elif task is None:
            raise ConfigurationError("say with --task what the libraries are for: none of them says it itself")
        else:
            comparison, folder = _measured(arguments, task, candidates)
        files = _write(comparison, folder, arguments.examples)
        _say(comparison, files)
        if not arguments.no_tracking and is_in_reach(arguments.tracking_uri):
            _log(arguments, comparison, list(files.values()))
    if arguments.json:
        print(json.dumps(comparison.summary(), indent=2, ensure_ascii=False))


# -- what is compared --------------------------------------------------------------------------------------


def _read(source: str, tracking_uri: str | None) -> Candidate:
    """What a name stands for: a saved evaluation, a library, or none."""
    if source == NONE:
        return ExperienceLibrary()
    records = _records(Path(source))
    return Evaluation(read_records(records)) if records else read_library(source, tracking_uri)


def _records(path: Path) -> Path | None:
    """The records that a name means, if it means any: in the folder of an ``eval``, those of the library."""
    if path.suffix == ".jsonl" or (path / RECORDS).exists():
        return path
    inner = sorted(file.parent for file in path.glob(f"*/{RECORDS}")) if path.is_dir() else []
    own = [folder for folder in inner if folder.name == "with-library"] or inner
    if len(own) > 1:
        raise ConfigurationError(f"{path} holds several evaluations: name one of {', '.join(map(str, own))}")
    return own[0] if own else None


def _names(arguments: argparse.Namespace) -> Sequence[str]:
    names: Sequence[str] = arguments.names or names_of(arguments.sources)
    if len(names) != len(arguments.sources) or len(set(names)) < len(names):
        raise ConfigurationError(f"--name gives {', '.join(names)}: each of the {len(arguments.sources)} needs its own")
    return names


def names_of(given: Sequence[str]) -> tuple[str, ...]:
    """Short names for sources: what their paths end in, as far back as it takes to tell them apart.

    Example:
        >>> names_of(["runs/a/library.json", "runs/b/library.json", "none"])
        ('a', 'b', 'no library')
        >>> names_of(["a/x.json", "b/x.json", "chemist@best"])
        ('a/x', 'b/x', 'chemist@best')
    """
    parts = [_parts(source) for source in given]
    for depth in range(1, max(map(len, parts)) + 1):
        names = tuple("/".join(each[-depth:]) for each in parts)
        if len(set(names)) == len(names):
            return names
    raise ConfigurationError("one is named twice: to compare it with itself, call them differently with --name")


def _parts(source: str) -> list[str]:
    if source == NONE:
        return ["no library"]
    path = Path(source)
    is_file = path.suffix in (".json", ".jsonl")
    whole = [*path.parts[:-1], path.stem] if is_file else list(path.parts)
    return whole[:-1] if len(whole) > 1 and is_file and path.stem in ("library", "records") else whole


def _task(arguments: argparse.Namespace, given: Sequence[Candidate]) -> Task | None:
    """The task that was named, or that a library says it is for."""
    named = [each.task for each in given if isinstance(each, ExperienceLibrary) and each.task]
    name = arguments.task or (named[0] if named else None)
    return get_task(name) if name else None


# -- measuring ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Setting:
    """What all that is measured has in common."""

    task: Task
    actor: dspy.Module
    data: LoadedData
    examples: Sequence[dspy.Example]
    ledger: Ledger
    folder: Path


def _measured(arguments: argparse.Namespace, task: Task, candidates: dict[str, Candidate]) -> tuple[Comparison, Path]:
    """Measure those that are libraries, and bring all together."""
    model = roles.models(arguments, task)["actor"]
    roles.check_keys({"actor": model})
    ledger = roles.ledger(arguments, {"actor": model})
    with dspy.context(lm=model):
        setting = _setting(arguments, task, model, candidates, ledger)
        sides = [_side(arguments, setting, name, candidate) for name, candidate in candidates.items()]
    roles.say_what_it_cost(ledger)
    about = {"task": task.name, "data": setting.data.source, "actor": str(model.model)}
    return Comparison.on_common_examples(sides, solved=task.threshold, about=about), setting.folder


def _setting(
    arguments: argparse.Namespace, task: Task, model: dspy.LM, candidates: dict[str, Candidate], ledger: Ledger
) -> _Setting:
    shots: list[dspy.Example] = []
    if arguments.actor == "icl":
        train = sources.examples(task, model, "train", arguments.train, None, arguments.seed)
        shots = sources.shots(arguments, train)
    data = _data(arguments, task, model, candidates)
    libraries = [each for each in candidates.values() if isinstance(each, ExperienceLibrary)]
    learned = set().union(*map(precedent_problems, libraries)) | {problem_of(example) for example in shots}
    examples = _in_all(sources.measurable(arguments.overlap, task, data, learned), candidates)
    actor = roles.actor(arguments, task, model, shots)
    return _Setting(task, actor, data, examples, ledger, _folder(arguments, task.name, candidates, digest(examples)))


def _data(arguments: argparse.Namespace, task: Task, model: dspy.LM, candidates: dict[str, Candidate]) -> LoadedData:
    """The examples: those that were named, or else those of what was measured already."""
    saved = [(name, each) for name, each in candidates.items() if isinstance(each, Evaluation)]
    if arguments.data or not saved:
        return sources.examples(task, model, "val", arguments.data, arguments.samples, arguments.seed)
    name, evaluation = saved[0]
    try:
        examples = [samples[0].example() for samples in by_example(evaluation.records)]
    except ValueError as error:
        raise DataError(f"{name}: {error}: name the examples with --data") from error
    chosen = sample(examples, arguments.samples, arguments.seed) if arguments.samples else examples
    return LoadedData(chosen, [], f"the examples of {name}", digest(chosen))


def _in_all(examples: Sequence[dspy.Example], candidates: dict[str, Candidate]) -> list[dspy.Example]:
    """The examples that the saved evaluations have too: only those can be compared, so no other is asked."""
    saved = [each for each in candidates.values() if isinstance(each, Evaluation)]
    known = [{record.example_id for record in evaluation.records} for evaluation in saved]
    kept = [example for example in examples if all(example_id(example) in ids for ids in known)]
    if not kept:
        raise DataError("the saved evaluations have no example in common with these: choose others with --data")
    return kept


def _side(arguments: argparse.Namespace, setting: _Setting, name: str, candidate: Candidate) -> Side:
    """What was, or now is, measured of one; what was paid for is written down at once."""
    if isinstance(candidate, Evaluation):
        return Side(name, candidate)
    evaluation = evaluate(
        setting.actor,
        setting.examples,
        setting.task.metric,
        library=candidate,
        samples=arguments.pass_at,
        measures=setting.task.measures,
        normalize=setting.task.normalize,
        ledger=setting.ledger,
        concurrency=arguments.concurrency,
        label=name,
        progress=None if arguments.json else not arguments.quiet,
        allow_overlap=True,  # decided before
    )
    write_records(setting.folder / _plain(name), evaluation)
    return Side.of(name, evaluation, candidate)


def _saved(
    arguments: argparse.Namespace, task: Task | None, candidates: dict[str, Candidate]
) -> tuple[Comparison, Path]:
    """Bring saved evaluations together; no model is asked."""
    if arguments.data or arguments.samples:
        raise ConfigurationError("--data and --samples are for libraries: a saved evaluation has its examples")
    sides = [Side(name, each) for name, each in candidates.items() if isinstance(each, Evaluation)]
    about = {"task": task.name} if task else {}
    comparison = Comparison.on_common_examples(sides, solved=task.threshold if task else SOLVED, about=about)
    ids = content_id(*(record.example_id for record in comparison.before.records))
    return comparison, _folder(arguments, task.name if task else "saved", candidates, ids)


# -- telling -----------------------------------------------------------------------------------------------


def _folder(arguments: argparse.Namespace, what: str, candidates: dict[str, Candidate], examples: str) -> Path:
    named: Path | None = arguments.out
    return named or Path("exps") / f"compare-{what}-{content_id(*candidates)[:8]}-{examples[:8]}"


def _plain(name: str) -> str:
    return re.sub(r"[^\w.@-]+", "-", name).strip("-.") or "side"


def _write(comparison: Comparison, folder: Path, examples: int) -> dict[str, Path]:
    """The comparison as a page, a figure and JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    page, data = folder / "comparison.html", folder / "comparison.json"
    write_atomically(page, comparison_html(comparison, examples=examples))
    write_atomically(data, comparison.to_json())
    return {"page": page, "figure": draw(comparison, folder / "comparison.png"), "JSON": data}


def _say(comparison: Comparison, files: dict[str, Path]) -> None:
    about = ", ".join(comparison.about.values())
    if about:
        print(about)
    if comparison.left_out:
        print(f"{count(comparison.left_out, 'example')} that not all have: left out")
    print(table({side.name: side.evaluation for side in comparison.sides}, solved=comparison.solved))
    print(f"\n{comparison.text()}\n")
    for what, path in files.items():
        print(f"{what:<8} {path}")


def _log(arguments: argparse.Namespace, comparison: Comparison, files: Sequence[Path]) -> None:
    """Log the comparison as a run of MLflow."""
    task = comparison.about.get("task", "")
    experiment = arguments.experiment or f"flex-{task or 'comparisons'}"
    tracker = MLflowTracker(experiment, tracking_uri=arguments.tracking_uri, registered_name=f"compare {task}".strip())
    sides = {side.name: {"library": side.library, "entries": side.size} for side in comparison.sides}
    try:
        tracker.start({**comparison.about, "n": comparison.before.n, "compared": sides})
        client = connect(resolve_uri(arguments.tracking_uri))
        for name, value in metrics_of(comparison).items():
            client.log_metric(tracker.run_id, allowed_name(name), value)
        tracker.finish(files)
    except Exception as error:  # everything is written down: a store that fails is no reason to say that it is not
        logger.warning("MLflow did not take the comparison. %s", brief(error, resolve_uri(arguments.tracking_uri)))
        return
    print(f"MLflow   experiment {experiment}, run {tracker.run_id}")


def metrics_of(comparison: Comparison) -> dict[str, float]:
    """What MLflow keeps of a comparison: of each its accuracy, and beside the first its gain and p-value, by name."""
    numbers = {f"accuracy_{side.name}": side.evaluation.accuracy for side in comparison.sides}
    for found in comparison.differences():
        ending = f"_{found.second}" if len(comparison.sides) > 2 else ""
        numbers |= {f"gain{ending}": found.gain, f"p_value{ending}": found.adjusted}
        numbers |= {f"wins{ending}": float(found.wins), f"losses{ending}": float(found.losses)}
    return numbers

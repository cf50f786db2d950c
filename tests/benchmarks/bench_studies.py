"""The figures of scaling, inheritance and ablation: ``python -m tests.benchmarks.bench_studies``.

::

    ... scaling exps/uspto50k-RUN --title "Retrosynthesis" --out exps/uspto50k_scaling.png    # of a run that is there
    ... learn aime --out exps/aime_scaling.png                 # learns, and measures training examples as well
    ... learn uspto50k --study --train train.csv.gz --val valid.csv.gz --samples 1000 --out exps/uspto50k_scaling.png
    ... inheritance aime --out exps/aime_inheritance.png       # libraries of halves, actors that are shown more or less
    ... ablation aime --library exps/aime.json --out exps/aime_ablation.png

Each writes its picture, and prints its table.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import dspy

from flex_dspy.core.examples import problem_of
from flex_dspy.evaluation.overlap import precedent_problems, without_overlap
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.merging import merge
from flex_dspy.models.lm import language_model
from flex_dspy.programs import Verifier
from flex_dspy.studies import Ablation, Inheritance, Scaling, Snapshots, ablation, inheritance, measure_scaling, scaling
from flex_dspy.tasks.registry import get_task
from flex_dspy.tasks.task import Task
from flex_dspy.tracking.registry import read_library


def main() -> None:
    """Make one figure."""
    arguments = _parser().parse_args()
    start = time.perf_counter()
    result: Scaling | Inheritance | Ablation = arguments.study_of(arguments)
    keywords = {} if isinstance(result, Scaling) or not arguments.title else {"title": arguments.title}
    result.figure(arguments.out, **keywords)
    if arguments.json:
        arguments.json.write_text(result.to_json() + "\n")
    print(result.to_pandas().to_string())
    if isinstance(result, Scaling):
        print(result.text())
    print(f"{arguments.out}, {time.perf_counter() - start:.0f} s")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("scaling")
    run.add_argument("run", nargs="+", help="folder, library or .versions.jsonl; or NAME=PATH for several curves")
    run.add_argument("--against", choices=["examples", "entries"], default="examples")
    run.set_defaults(study_of=of_run)
    for study_of in (learn, inherit, ablate):
        command = commands.add_parser({"inherit": "inheritance", "ablate": "ablation"}.get(study_of.__name__, "learn"))
        command.add_argument("task")
        command.add_argument("--train", default="train")
        command.add_argument("--val", default="val")
        command.add_argument("--train-samples", type=int, help="learn from a random so many")
        command.add_argument("--samples", type=int, default=500, help="examples to measure on, of each set")
        command.add_argument("--study", action="store_true")
        command.add_argument("--library", type=Path)
        command.add_argument("--seed", type=int, default=0)
        command.set_defaults(study_of=study_of)
    for command in commands.choices.values():
        command.add_argument("--title", default="")
        command.add_argument("--progress", action="store_true")
        command.add_argument("--out", type=Path, required=True, help="the picture")
        command.add_argument("--json", type=Path, help="the numbers, to draw them again")
    return parser


def of_run(arguments: argparse.Namespace) -> Scaling:
    """The fit and figure of what learning measured."""
    named = dict(text.split("=", 1) if "=" in text else ("validation", text) for text in arguments.run)
    return scaling(named, against=arguments.against, title=arguments.title or "Accuracy against experience")


def learn(arguments: argparse.Namespace) -> Scaling:
    """Learn, and measure each version on validation examples and on a sample of the training examples."""
    task = get_task(arguments.task)
    train = _train(task, arguments)
    sample = random.Random(arguments.seed).sample(train, min(len(train), arguments.samples))
    snapshots, model = Snapshots(), language_model("offline", expert=task.expert)
    with dspy.context(lm=model):
        actor = task.actor()
        _learned(task, actor, train, arguments, tracker=snapshots)
        return measure_scaling(
            actor, snapshots.libraries, task.metric, validation=_val(task, arguments, map(problem_of, train)),
            training=sample, key=task.key, title=arguments.title or f"{task.name}, {model.model}",
            progress=arguments.progress,
        )  # fmt: skip


def inherit(arguments: argparse.Namespace) -> Inheritance:
    """Libraries of two disjoint halves, of both merged, and of study, read by actors that are shown more or less."""
    task = get_task(arguments.task)
    train = _train(task, arguments)
    val = _val(task, arguments, map(problem_of, train))
    random.Random(arguments.seed).shuffle(train)
    half = len(train) // 2
    with dspy.context(lm=language_model("offline", expert=task.expert)):
        author = task.actor()
        first, second = (_learned(task, author, part, arguments) for part in (train[:half], train[half:]))
        arguments.study = True
        libraries = {
            "one half": first,
            "other half": second,
            "both merged": merge(first, second, names=["first", "second"]).library,
            "all, studied": _learned(task, author, train, arguments),
        }
        actors = {
            f"the author, shown up to {author.retriever.k}": author,
            "direct, shown up to 8": task.actor(strategy="direct", k=8),
            "direct, shown one": task.actor(strategy="direct", k=1),
        }
        return inheritance(libraries, actors, val, task.metric, key=task.key, progress=arguments.progress)


def ablate(arguments: argparse.Namespace) -> Ablation:
    """A library and its parts; learned here, or read from ``--library``."""
    task = get_task(arguments.task)
    with dspy.context(lm=language_model("offline", expert=task.expert)):
        actor = task.actor()
        read = arguments.library is not None
        library = read_library(arguments.library) if read else _learned(task, actor, _train(task, arguments), arguments)
        val = _val(task, arguments, precedent_problems(library))
        return ablation(actor, library, val, task.metric, key=task.key, progress=arguments.progress)


def _train(task: Task, arguments: argparse.Namespace) -> list[dspy.Example]:
    return list(task.load(arguments.train, limit=arguments.train_samples, seed=arguments.seed).examples)


def _val(task: Task, arguments: argparse.Namespace, learned: Iterable[str]) -> list[dspy.Example]:
    """Validation examples that were not learned from."""
    loaded = task.load(arguments.val, limit=arguments.samples, seed=arguments.seed).examples
    return without_overlap(loaded, learned, key=task.key)[0]


def _learned(
    task: Task,
    actor: dspy.Module,
    train: Sequence[dspy.Example],
    arguments: argparse.Namespace,
    tracker: Snapshots | None = None,
) -> ExperienceLibrary:
    snapshots = tracker or Snapshots()
    optimizer = ForwardLearning(
        task.metric,
        study=arguments.study,
        seed=arguments.seed,
        max_rollouts=1,  # an offline expert repeats itself
        verifier=Verifier(task.threshold, task.normalize),
        tracker=snapshots,
        progress=arguments.progress,
    )
    optimizer.compile(actor, trainset=list(train))
    return snapshots.libraries[len(train)]


if __name__ == "__main__":
    main()

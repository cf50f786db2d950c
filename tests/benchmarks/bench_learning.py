"""How fast the chemist learns and answers, with libraries of growing size.

    python -m tests.benchmarks.bench_learning --library exps/RUN/library.json --train train.csv.gz --val valid.csv.gz

For each size the library is cut to so many solved cases; then more reactions are studied on top of it, and products are
answered with it. The baseline of learning is template extraction alone, and of answering the ranking alone, in
one process without DSPy, library, journal or prompt: `ratio` is the processor time of the whole over that of the
baseline.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dspy

from flex_dspy import ExperienceLibrary, ForwardLearning, LibraryStore, evaluate, get_task, language_model
from flex_dspy.libraries.experience import Experience, Precedent
from flex_dspy.models.lm import close
from flex_dspy.offline import chemist
from flex_dspy.offline.templates import extract_template
from flex_dspy.search.reading import pinned

TASK = get_task("uspto50k")


def main() -> None:
    """Print one row a size."""
    arguments = _arguments()
    whole = ExperienceLibrary.load(arguments.library)
    train = TASK.load(arguments.train, limit=arguments.examples * 2, seed=1).examples
    val = TASK.load(arguments.val, limit=arguments.examples, seed=0).examples
    print("cases    entries   learn ex/s  ratio   eval ex/s  ratio   accuracy")
    for size in arguments.sizes:
        library = _cut(whole, size)
        study, base_study = _learning(library, train[: arguments.examples])
        answer, base_answer, accuracy = _answering(library, val)
        print(
            f"{library.precedent_count:>6}  {len(library):>7}  "
            f"{study[0]:>10.1f}  {study[1] / base_study:>5.2f}  {answer[0]:>9.1f}  {answer[1] / base_answer:>5.2f}  "
            f"{accuracy:>8.1%}",
            flush=True,
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, required=True, help="a learned library")
    parser.add_argument("--train", required=True, help="reactions to study on top of it")
    parser.add_argument("--val", required=True, help="products to answer")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 40_000])
    parser.add_argument("--examples", type=int, default=300)
    return parser.parse_args()


def _cut(library: ExperienceLibrary, size: int) -> ExperienceLibrary:
    """The library with the ``size`` solved cases whose ids come first."""
    ids = sorted(precedent.example_id for entry in library for precedent in entry.precedents)
    last = ids[min(size, len(ids)) - 1]
    kept = (keep_cases(entry, lambda precedent: precedent.example_id <= last) for entry in library)
    return ExperienceLibrary([entry for entry in kept if entry.precedents], task=library.task)


def keep_cases(entry: Experience, keep: Callable[[Precedent], bool]) -> Experience:
    """The entry as it would be without some of its precedents: a rule goes with the last of its precedents."""
    cases = [precedent for precedent in entry.named_cases() if keep(precedent)]
    gone = entry.case_rules() - {precedent.rule for precedent in cases}
    rules = tuple(rule for rule in entry.rules if rule.key not in gone)
    return replace(entry, rules=rules or entry.rules).with_cases(cases)


def _learning(library: ExperienceLibrary, examples: list[dspy.Example]) -> tuple[tuple[float, float], float]:
    with tempfile.TemporaryDirectory() as folder, _chemist() as lm:
        path = Path(folder) / "library.json"
        library.save(path)
        store = LibraryStore(path)
        optimizer = ForwardLearning(TASK.metric, study=True, library=store, checkpoint_every=10**6, progress=False)
        with dspy.context(lm=lm):
            student = TASK.actor()
            optimizer.compile(student, trainset=examples[:20])  # start the workers, fill the indexes
            whole = _timed(lambda: optimizer.compile(student, trainset=examples[20:]), len(examples) - 20, lm)
    alone = _timed(lambda: [extract_template(e.product, e.reactants) for e in examples[20:]], len(examples) - 20)
    return whole, alone[1]


def _answering(library: ExperienceLibrary, examples: list[dspy.Example]) -> tuple[tuple[float, float], float, float]:
    results = []
    with _chemist() as lm, dspy.context(lm=lm):
        actor = TASK.actor(library)
        evaluate(actor, examples[:20], TASK.metric, progress=False, allow_overlap=True)

        def run() -> None:
            results.append(evaluate(actor, examples[20:], TASK.metric, progress=False, allow_overlap=True))

        whole = _timed(run, len(examples) - 20, lm)
    with pinned(library):
        prompts = [(e.product, actor.experiences({"product": e.product})) for e in examples]
    for product, block in prompts[:20]:
        chemist.candidates(product, block)
    alone = _timed(lambda: [chemist.candidates(product, block) for product, block in prompts[20:]], len(examples) - 20)
    return whole, alone[1], results[0].accuracy


class _chemist:
    """The offline chemist, and its worker processes ended at the exit."""

    def __enter__(self) -> dspy.LM:
        self.lm = language_model("offline", expert="chemist")
        return self.lm

    def __exit__(self, *_: object) -> None:
        close(self.lm)


def _timed(action: Callable[[], object], count: int, lm: dspy.LM | None = None) -> tuple[float, float]:
    """Calls a second of wall time, and processor seconds with those of the worker processes."""
    start, used = time.perf_counter(), _processor()
    action()
    wall = time.perf_counter() - start
    if lm is not None:
        close(lm)  # only the time of ended processes can be asked for
    return count / wall, _processor() - used


def _processor() -> float:
    """Processor seconds of this process and of its ended children."""
    ours, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return ours.ru_utime + ours.ru_stime + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()

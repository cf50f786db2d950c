"""Ranking by utility against ranking by fit alone: ``python -m tests.benchmarks.bench_utility [--tasks aime ...]``.

Offline experts on three tasks, asked directly: prompts around them would change nothing but the time. Three parts of
the data, of which no two share a problem:

- a library is learned by study, which shows nothing and so measures nothing (of aime, the shipped one is taken);
- on the usage part the expert works with ``--k`` lessons ranked by fit; each entry's shown and helped are counted, and
  half as many pairs of trials as there are examples measure values;
- on the validation part all rankings are compared on the same examples.

In the arm ``planted`` the library holds harmful entries too: for ``--share`` of the entries a copy that is found for
the same problems and teaches what another entry teaches. ``planted shown`` is their share of all entries shown, and
``AUC`` the chance that a planted entry that was shown ten times or more has a lower lift than another such entry.

uspto50k reads the real reactions in ``--data``; aime's problems are generated from seeds that no shipped file has;
proteingym's assays are the shipped ones for training and validation.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dspy
import numpy as np

from flex_dspy.core.examples import problem_of, problem_text
from flex_dspy.data import generate_problems
from flex_dspy.evaluation.comparison import Comparison
from flex_dspy.evaluation.differences import Side
from flex_dspy.evaluation.evaluate import Evaluation, evaluate
from flex_dspy.evaluation.usage_records import usage_of_evaluation, usage_totals
from flex_dspy.evaluation.value import value
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.lm import language_model
from flex_dspy.offline.experts import expert_named
from flex_dspy.programs import Critic, Updater
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.search.utility import UtilityRanking
from flex_dspy.tasks.registry import get_task
from flex_dspy.tasks.task import Task

Examples = list[dspy.Example]
ROOT = Path(__file__).parents[2]
RANKINGS: Mapping[str, Mapping[str, float]] = {
    "fit": {"utility": 0},
    "usage, 0.1": {"utility": 0.1},
    "usage, 0.3": {"utility": 0.3},
    "usage, 1": {"utility": 1},
    "usage, 0.3, explored": {"utility": 0.3, "exploration": 0},
    "trials, 0.3": {"utility": 0.3},
}


@dataclass(frozen=True)
class Parts:
    """The three parts of a task's data."""

    learn: Examples
    usage: Examples
    validation: Examples


def reactions(task: Task, data: Path, size: int) -> Parts:
    """Real reactions: training and validation files."""
    train = task.load(data / "uspto50k" / "train.csv.gz", limit=2 * size, seed=0).examples
    held_out = task.load(data / "uspto50k" / "valid.csv.gz", limit=size, seed=0).examples
    return Parts(train[:size], train[size:], held_out)


def competition_problems(task: Task, data: Path, size: int) -> Parts:
    """Problems of the shipped families with other numbers."""
    parts = [task.load("train").examples]
    for seed in (1, 2):
        drawn = generate_problems.generate(generate_problems.SEED + seed)
        rows = [{"problem": each.question, "answer": each.answer} for split in drawn.values() for each in split]
        parts.append([dspy.Example(**row).with_inputs("problem") for row in rows][:size])
    return Parts(*parts)


def assays(task: Task, data: Path, size: int) -> Parts:
    """The shipped assays, a third a part."""
    train = task.load("train").examples[:size]
    third = len(train) // 3
    return Parts(train[:third], train[third : 2 * third], [*train[2 * third :], *task.load("val").examples])


SOURCES: Mapping[str, tuple[Callable[[Task, Path, int], Parts], int]] = {
    "uspto50k": (reactions, 1_000),
    "aime": (competition_problems, 360),
    "proteingym": (assays, 100),
}


def without_shared(parts: Parts) -> Parts:
    """The parts without problems that an earlier part has."""
    seen: set[str] = set()
    clean = []
    for part in (parts.learn, parts.usage, parts.validation):
        clean.append([example for example in part if problem_of(example) not in seen])
        seen |= {problem_of(example) for example in part}
    return Parts(*clean)


class Direct(dspy.Module):
    """An expert with experience, without prompts and processes between."""

    def __init__(self, task: Task, library: ExperienceLibrary, effects: Any = None, **settings: Any) -> None:
        super().__init__()
        given = {"depth": 50, "token_budget": 8_000, **settings}
        self.retriever = ExperienceRetriever(library, views=task.views, effects=effects, **given)
        self.outputs = [*task.signature.output_fields, "experiences_used"]  # type: ignore[union-attr]
        self.expert = expert_named(str(task.expert))

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        """Answer."""
        block = self.retriever(problem_text(inputs)).experiences
        return dspy.Prediction(**self.expert.answer({**inputs, "experiences": block}, self.outputs))


def studied(task: Task, examples: Examples) -> ExperienceLibrary:
    """A library learned from reference answers alone."""
    if task.name == "aime":  # an hour of search for procedures is in it
        shipped = ExperienceLibrary.load(ROOT / "exps" / "aime.json")
        return ExperienceLibrary([_counted(entry, None) for entry in shipped], task=task.name)
    optimizer = ForwardLearning(task.metric, study=True, progress=False, critic=Critic(), updater=Updater())
    learned = optimizer.compile(task.actor(), trainset=examples)
    library: ExperienceLibrary = learned.retriever.library
    return library


def planted(library: ExperienceLibrary, task: Task, share: float) -> tuple[ExperienceLibrary, frozenset[str]]:
    """The library with harmful copies of some entries, and the ids of these."""
    draw = random.Random(0)
    entries = [entry for entry in library if entry.rules]
    copies = []
    for entry in draw.sample(entries, int(share * len(entries))):
        donor = draw.choice([other for other in entries if other.category != entry.category] or entries)
        pattern = entry.rules[:1] if task.name == "aime" else ()  # it says which problems the entry is for
        rules = (*pattern, *(donor.rules[1:] if pattern else donor.rules))
        copies.append(replace(entry, id="", rules=rules, trajectory="", category=f"{entry.category}, revised"))
    fresh = {copy.id: copy for copy in copies if copy.id not in library}
    return ExperienceLibrary([*library, *fresh.values()], task=library.task), frozenset(fresh)


def with_usage(library: ExperienceLibrary, found: Evaluation, solved: float) -> ExperienceLibrary:
    """The library with the counts of an evaluation."""
    totals = next(iter(usage_totals(usage_of_evaluation("v", found.records), solved=solved).values()))
    counted = [_counted(entry, totals.get(entry.id)) for entry in library]
    return ExperienceLibrary(counted, task=library.task)


def _counted(entry: Experience, total: object) -> Experience:
    counts = {name: getattr(total, name, 0) for name in ("shown", "helped", "hurt")}
    return replace(entry, **counts)


def auc(library: ExperienceLibrary, harmful: frozenset[str]) -> float:
    """The chance that a planted entry has a lower lift than another one, among those that were shown ten times."""
    entries = [entry for entry in library if entry.shown >= 10]
    lifts = UtilityRanking(1, None, {}).utilities("", entries)
    low = np.array([lifts[e.id].lift for e in entries if e.id in harmful])
    high = np.array([lifts[e.id].lift for e in entries if e.id not in harmful])
    if not len(low) or not len(high):
        return float("nan")
    below = low[:, None] < high[None, :]
    return float((below + 0.5 * (low[:, None] == high[None, :])).mean())


def measure(task: Task, parts: Parts, library: ExperienceLibrary, harmful: frozenset[str], k: int) -> list[str]:
    """Rows of the table: one a ranking."""
    actor = Direct(task, library, k=k)
    found = evaluate(actor, parts.usage, task.metric, library=library, progress=False)
    scores = [record.score for record in found.records]
    solved = 1.0 if set(scores) <= {0.0, 1.0} else float(np.median(scores))
    counted = with_usage(library, found, solved)
    effects = value(actor, parts.usage, task.metric, library, budget=len(parts.usage), begun=found, progress=False)
    sides = []
    for name, ranking in RANKINGS.items():
        program = Direct(task, counted, effects if "trials" in name else None, k=k, **ranking)
        sides.append(Side(name, evaluate(program, parts.validation, task.metric, library=counted, progress=False)))
    differences = {each.second: each for each in Comparison(tuple(sides)).differences()}
    return [_row(side, differences.get(side.name), harmful, auc(counted, harmful)) for side in sides]


def _row(side: Side, found: object, harmful: frozenset[str], separation: float) -> str:
    shown = [entry_id for record in side.evaluation.records for entry_id in record.shown]
    share = sum(entry_id in harmful for entry_id in shown) / max(len(shown), 1)
    low, high = side.evaluation.interval
    own = f"{side.name} | {side.evaluation.accuracy:.1%} ({low:.1%} to {high:.1%})"
    if found is None:
        return f"{own} | | | {share:.1%} | {separation:.2f}"
    gain = f"{found.gain:+.1%} ({found.low:+.1%} to {found.high:+.1%})"  # type: ignore[attr-defined]
    return f"{own} | {gain} | {found.adjusted:.3f} | {share:.1%} | {separation:.2f}"  # type: ignore[attr-defined]


def run(name: str, sizes: Sequence[int], arguments: argparse.Namespace) -> None:
    """Print the rows of one task."""
    task = get_task(name)
    make, size = SOURCES[name]
    parts = without_shared(make(task, arguments.data, int(size * arguments.scale)))
    with dspy.context(lm=language_model("offline", expert=task.expert)):
        start = time.perf_counter()
        plain = studied(task, parts.learn)
        for arm in ("learned", "planted"):
            library, harmful = (plain, frozenset()) if arm == "learned" else planted(plain, task, arguments.share)
            for k in sizes:
                for row in measure(task, parts, library, harmful, k):
                    print(f"| {name} | {arm}, {len(library)} | {k} | {len(parts.validation)} | {row} |", flush=True)
        print(f"<!-- {name}: {time.perf_counter() - start:.0f} s -->", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(SOURCES), choices=list(SOURCES))
    parser.add_argument("--k", type=int, nargs="+", default=[8])
    parser.add_argument("--share", type=float, default=0.3, help="planted copies, as a share of the entries")
    parser.add_argument("--scale", type=float, default=1.0, help="share of each part that is used")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    arguments = parser.parse_args()
    print("| task | library, entries | k | n | ranking | accuracy | gain on fit | p (Holm) | planted shown | AUC |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in arguments.tasks:
        run(name, arguments.k, arguments)


if __name__ == "__main__":
    main()

"""How many calls it takes to find harmful entries: ``python -m tests.benchmarks.bench_value``.

A library with 20 harmful, 20 helpful and 20 neutral entries, eight of them shown on each problem; a scripted model that
each harmful entry makes worse by ``--effect``, and each helpful one better. Entries are pruned by value, and accuracy
is measured on 1,000 other problems. Means over ``--seeds`` runs.

``one at a time`` leaves out one entry at a time: for each problem a call with all of them, and one without each.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence

import dspy
import numpy as np

from flex_dspy.core.running import run_sync
from flex_dspy.evaluation.comparison import compare
from flex_dspy.evaluation.contrasts import contrasts, half_width
from flex_dspy.evaluation.entry_values import EARLY, EntryValue
from flex_dspy.evaluation.evaluate import evaluate
from flex_dspy.evaluation.pruning import prune
from flex_dspy.evaluation.value import value
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.reading import pinned
from tests.planted import Quick, planted, problems, right

BUDGETS = (600, 1_200, 2_500, 5_000, 10_000)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS)
    parser.add_argument("--effect", type=float, default=0.2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--problems", type=int, default=240)
    arguments = parser.parse_args()
    print("| method | calls | harmful removed | helpful removed | neutral removed | accuracy before | after | s |")
    print("|---|---|---|---|---|---|---|---|")
    for method in (pairs_of_halves, one_at_a_time):
        for budget in arguments.budgets:
            rows = [measured(method, budget, seed, arguments) for seed in range(arguments.seeds)]
            means = np.mean(rows, axis=0)
            counts = " | ".join(f"{mean:.1f}" for mean in means[:3])
            name, accuracies = method.__name__.replace("_", " "), f"{means[3]:.1%} | {means[4]:.1%}"
            print(f"| {name} | {budget:,} | {counts} | {accuracies} | {means[5]:.1f} |", flush=True)


def measured(method: object, budget: int, seed: int, arguments: argparse.Namespace) -> list[float]:
    library = planted()
    module = Quick(library, arguments.effect)
    examples = problems(arguments.problems, library, seed=2 * seed)
    start = time.perf_counter()
    estimates = method(module, examples, library, budget, seed)  # type: ignore[operator]
    seconds = time.perf_counter() - start
    plan = prune(library, estimates)
    kinds = Counter(library[removal.entry_id].category for removal in plan.removals)
    held_out = compare(
        plan.before, plan.after, module, problems(1_000, library, seed=2 * seed + 1), right, progress=False
    )
    accuracies = [held_out.before.accuracy, held_out.after.accuracy]
    return [*(kinds[kind] for kind in ("harmful", "helpful", "neutral")), *accuracies, seconds]


def pairs_of_halves(
    module: dspy.Module, examples: Sequence[dspy.Example], library: ExperienceLibrary, budget: int, seed: int
) -> dict[str, EntryValue]:
    return value(module, examples, right, library, budget=budget, seed=seed, progress=False)


def one_at_a_time(
    module: dspy.Module, examples: Sequence[dspy.Example], library: ExperienceLibrary, budget: int, seed: int
) -> dict[str, EntryValue]:
    """The same statistics on the same number of calls; problems are asked in turn until the budget is spent.

    The scripted model gives one answer to one prompt, so that a second turn would tell nothing: with a larger budget
    there are more problems.
    """
    ids = [entry.id for entry in library]
    place = {entry_id: n for n, entry_id in enumerate(ids)}
    coins, differences, asked, spent = [], [], [], 0
    more = [*examples, *problems(budget // 9 + 1, library, seed=1_000 + seed)][: budget // 9 + 1]
    reference = evaluate(module, more, right, library=library, progress=False)
    for number, (example, record) in enumerate(zip(more, reference.records, strict=True)):
        spent += 1
        for entry_id in record.shown[: max(budget - spent, 0)]:
            spent += 1
            coins.append(np.eye(len(ids))[place[entry_id]])
            differences.append(record.score - without(module, example, library, entry_id))
            asked.append(number)
    found = contrasts(np.array(coins), np.array(differences), np.array(asked))
    estimates = {}
    for n, entry_id in enumerate(ids):
        if found.examples[n] > 1:
            centre, error, seen = float(found.centre[n]), float(found.error[n]), int(found.examples[n])
            half = half_width(error, seen, 0.05 * (1 - EARLY))
            estimates[entry_id] = EntryValue(float(found.effect[n]), centre - half, centre + half, seen, seen, error)
    return estimates


def without(module: dspy.Module, example: dspy.Example, library: ExperienceLibrary, entry_id: str) -> float:
    with pinned(library, frozenset((entry_id,)), replace=False):
        return float(right(example, run_sync(module.acall(**example.inputs()))))


if __name__ == "__main__":
    main()

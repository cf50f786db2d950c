"""What the parts of a fitted ranking contribute: each part set to 0, the others unchanged.

    python -m tests.benchmarks.bench_ranking --library library.json --ranking library.ranking.json --val valid.csv.gz

Prints a Markdown table with Wilson intervals. Products that the library knows are left out, and warnings count for
nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from flex_dspy import ExperienceLibrary, get_task
from flex_dspy.evaluation.intervals import wilson
from flex_dspy.metrics.molecules import canonical_smiles
from flex_dspy.offline import descriptors
from flex_dspy.offline import ranking as rankings
from flex_dspy.offline.changes import Numbers
from flex_dspy.offline.chemist import read_lessons
from flex_dspy.offline.descriptors import PLACES
from flex_dspy.offline.fitting import make_retriever
from flex_dspy.offline.ranking import TERMS, Choice, Ranking, read_ranking
from flex_dspy.offline.reactions import terms_of

# Terms that are left out together, by their places in TERMS.
GROUPS: Mapping[str, tuple[int, ...]] = {
    "solved cases of its template": (0, 8, 9),
    "places like this one": (3, 11),
    "like reactants, and the most alike changes": (1, 2),
    "counts of environments, reactants and unknown molecules": (4, 5, 6, 12, 13, 14),
    "like losses in like products": (10,),
    "only a general form gives it": (7,),
}
Weight = Callable[[Choice], Numbers]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, required=True, help="a learned library")
    parser.add_argument("--ranking", type=Path, required=True, help="the file of library fit")
    parser.add_argument("--val", required=True, help="reactions to measure on")
    parser.add_argument("--examples", type=int, help="a random choice of so many")
    options = parser.parse_args()
    choices = read(ExperienceLibrary.load(options.library), options.val, options.examples)
    print("| without | n | top-1 (95% interval) | top-3 | top-5 | top-10 |\n|---|---|---|---|---|---|")
    for name, weight in variants(read_ranking(options.ranking)).items():
        print(row(name, [place(weight, choice) for choice in choices]), flush=True)


def read(library: ExperienceLibrary, source: str, limit: int | None) -> list[Choice | None]:
    """The proposals for each product that the library does not know; None if no proposal is right."""
    task = get_task("uspto50k")
    known = {task.key(precedent.problem) for entry in library for precedent in entry.precedents}
    examples = task.load(source, limit=limit, seed=0).examples
    fresh = [example for example in examples if task.key(example.product) not in known]
    retriever, found = make_retriever(library), []
    for example in tqdm(fresh, "reading proposals", unit="product"):
        lessons = read_lessons(retriever(example.product).experiences)
        found.append(terms_of(example.product, lessons, canonical_smiles(example.reactants) or ""))
    return found


def variants(ranking: Ranking) -> dict[str, Weight]:
    """The ranking as it is, the general coefficients, and the ranking without each of its parts."""
    bare, flat = replace(ranking, numbers={}), replace(ranking, coefficients=dict.fromkeys(TERMS, 0.0))
    every = tuple(range(len(TERMS)))
    groups = {name: without(ranking, terms, terms) for name, terms in GROUPS.items()}
    return {
        "nothing": without(ranking, (), ()),
        "any fit": lambda choice: choice.general,
        "the table": without(bare, (), ()),
        "the table, but the bands stay": lambda choice: weigh(bare, choice) + bands(flat, choice, every),
        "the bands": without(ranking, (), every),
        **groups,
    }


def without(ranking: Ranking, terms: Sequence[int], banded: Sequence[int]) -> Weight:
    """The weights by a ranking without the coefficients of some terms, and without the bands of some."""
    dropped = {TERMS[term]: 0.0 for term in terms}
    rest = replace(ranking, coefficients={**ranking.coefficients, **dropped})
    return lambda choice: weigh(rest, choice) - bands(ranking, choice, banded)


def weigh(ranking: Ranking, choice: Choice) -> Numbers:
    """The logarithm of each proposal's weight, shape (m,)."""
    return ranking.weight(choice.terms.T, choice.descriptors)


def bands(ranking: Ranking, choice: Choice, terms: Sequence[int]) -> Numbers:
    """The part of each proposal's weight that comes from the bands of these terms, shape (m,)."""
    columns = [*terms, *(len(TERMS) + term for term in terms)]
    places = (descriptors._bands(choice.terms.T)[:, columns] % np.uint64(PLACES)).astype(int)
    _, numbers = rankings._tables(ranking)
    return np.asarray(descriptors._STRENGTH_OF_BAND * numbers[places].sum(axis=1), np.float32)


def place(weight: Weight, choice: Choice | None) -> int:
    """The place of the right proposal; 0 if there is none."""
    if choice is None:
        return 0
    weights = weight(choice)
    return int((weights > weights[choice.right]).sum()) + 1


def row(name: str, places: Sequence[int]) -> str:
    """A row of the table."""
    n = len(places)
    first, *others = (sum(0 < found <= k for found in places) for k in (1, 3, 5, 10))
    low, high = wilson(first, n)
    rest = " | ".join(f"{100 * count / n:.1f}" for count in others)
    return f"| {name} | {n} | {100 * first / n:.1f} ({100 * low:.1f} to {100 * high:.1f}) | {rest} |"


if __name__ == "__main__":
    main()

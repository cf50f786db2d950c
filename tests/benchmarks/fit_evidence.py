"""The coefficients by which the chemist weighs proposals, fitted on training reactions.

    python -m tests.benchmarks.fit_evidence --library exps/RUN/library.json --train train.csv.gz

The library is one studied from these reactions. Libraries of several sizes are drawn from it: the coefficients are for
all of them. For each product its own case is left out, and the lessons that have no other. The coefficients are those
under which the references are the likeliest of the proposals (a conditional logit), with a small penalty on their
squares. Their signs are bounded: evidence for a proposal may not count against it.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import dspy
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from tqdm import tqdm

from flex_dspy import ExperienceLibrary, get_task
from flex_dspy.metrics.molecules import canonical_smiles
from flex_dspy.offline.chemist import read_lessons
from flex_dspy.offline.evidence import COEFFICIENTS, COEFFICIENTS_OF_FEW, share_of_many
from flex_dspy.offline.fitting import make_retriever
from flex_dspy.offline.reactions import terms_of
from flex_dspy.search.retrieval import ExperienceRetriever
from tests.benchmarks.bench_learning import keep_cases

TASK = get_task("uspto50k")
# Numbers of cases, each with the number of libraries that are drawn; 0 for the whole library.
SIZES = {25: 6, 50: 6, 100: 6, 200: 4, 400: 3, 1_000: 2, 3_000: 1, 10_000: 1, 0: 1}
PENALTY = 0.0001  # on the squares of the coefficients, in units of a term's spread
LEAST = 0.05  # of a term that must count, in its unit
# The signs of the fifteen terms: 2 must count for a proposal, 1 may, -2 must count against it, 0 is free.
SIGNS = (2, 2, 2, -2, -2, -2, -2, -2, 1, 1, 1, 1, 0, 0, 0)
ENDS = {2: (LEAST, None), 1: (0.0, None), 0: (None, None), -2: (None, -LEAST)}
Array = npt.NDArray[np.float64]


class Known(NamedTuple):
    """The terms of each proposal, shape (proposals, 15), which is the reference, and the share of the second set."""

    terms: Array
    right: int
    many: float


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--examples", type=int, default=1000, help="products for each number of cases")
    arguments = parser.parse_args()
    library = ExperienceLibrary.load(arguments.library)
    examples = TASK.load(arguments.train, limit=arguments.examples * len(SIZES), seed=0).examples
    asked = list(_ask(library, examples, arguments.examples))
    found = [choice for retriever, example in tqdm(asked) if (choice := _choice(retriever, example)) is not None]
    print(f"the reference is among the proposals for {len(found)} of {len(asked)} products")
    few, many = np.split(_fit(found), 2)
    for name, *values in zip(COEFFICIENTS, few, COEFFICIENTS_OF_FEW.values(), many, COEFFICIENTS.values(), strict=True):
        print("few cases {:6.2f} (in use: {:5.2f}), many {:6.2f} ({:5.2f})".format(*values), name)


def _ask(
    library: ExperienceLibrary, examples: list[dspy.Example], count: int
) -> Iterator[tuple[ExperienceRetriever, dspy.Example]]:
    """Products with a retriever each: so many for every size, divided among its libraries."""
    for place, (cases, draws) in enumerate(SIZES.items()):
        own = examples[place * count : (place + 1) * count]
        for seed in range(draws):
            retriever = make_retriever(_draw(library, cases, seed) if cases else library)
            yield from ((retriever, example) for example in own[seed * count // draws : (seed + 1) * count // draws])


def _draw(library: ExperienceLibrary, cases: int, seed: int) -> ExperienceLibrary:
    """The library with so many random cases."""
    ids = sorted(precedent.example_id for entry in library for precedent in entry.precedents)
    drawn = frozenset(random.Random(100 + seed).sample(ids, cases))
    kept = (keep_cases(entry, lambda precedent: precedent.example_id in drawn) for entry in library)
    return ExperienceLibrary([entry for entry in kept if entry.precedents], task=library.task)


def _choice(retriever: ExperienceRetriever, example: dspy.Example) -> Known | None:
    """None where the reference is not among the proposals."""
    lessons = [lesson for lesson in read_lessons(retriever(example.product).experiences) if lesson.precedents]
    choice = terms_of(example.product, lessons, canonical_smiles(example.reactants) or "")
    similarity = np.array([case.similarity for lesson in lessons for case in lesson.precedents])
    return None if choice is None else Known(choice.terms.astype(float), choice.right, share_of_many(similarity))


def _fit(choices: list[Known]) -> Array:
    """The coefficients for few cases, then those for many."""
    spread = np.concatenate([choice.terms for choice in choices]).std(axis=0) + 1e-6
    scaled = [(_both_sets(choice.terms / spread, choice.many), choice.right) for choice in choices]
    units = zip(SIGNS * 2, [*spread, *spread], strict=True)
    bounds = [tuple(None if end is None else end * unit for end in ENDS[sign]) for sign, unit in units]

    def penalized(coefficients: Array) -> tuple[float, Array]:
        total, slope = _loss(coefficients, scaled)
        return (
            total / len(scaled) + PENALTY * coefficients @ coefficients / 2,
            slope / len(scaled) + PENALTY * coefficients,
        )

    start = np.zeros(2 * len(spread))
    found: Array = minimize(penalized, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found / np.tile(spread, 2)


def _both_sets(terms: Array, many: float) -> Array:
    """The terms as each set counts them, shape (proposals, 30)."""
    return np.concatenate([(1 - many) * terms, many * terms], axis=1)


def _loss(coefficients: Array, choices: list[tuple[Array, int]]) -> tuple[float, Array]:
    """Minus the logarithm of the likelihood, and its gradient."""
    total, slope = 0.0, np.zeros_like(coefficients)
    for terms, right in choices:
        weight = terms @ coefficients
        share = np.exp(weight - weight.max())
        share /= share.sum()
        total -= np.log(share[right])
        slope -= terms[right] - share @ terms
    return total, slope


if __name__ == "__main__":
    main()

"""The coefficients by which the chemist weighs proposals, fitted on training reactions.

    python -m tests.benchmarks.fit_evidence --library exps/RUN/library.json --train train.csv.gz --examples 3000
    ... the same command with --cases 50 --examples 3600

The library is one studied from these reactions. For each its own case is left out, and the lessons that have no other;
the coefficients are those under which the reference is the likeliest of the proposals (a conditional logit). With
``--cases``, six libraries of so many random cases take the place of the whole one, and the twenty coefficients for few
cases are fitted. Their signs are bounded: evidence for a proposal may not count against it.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import TypeAlias

import dspy
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from tqdm import tqdm

from flex_dspy import ExperienceLibrary, get_task
from flex_dspy.metrics.molecules import canonical_smiles
from flex_dspy.offline import evidence
from flex_dspy.offline.chemist import read_lessons
from flex_dspy.offline.fitting import make_retriever
from flex_dspy.offline.reactions import terms_of
from flex_dspy.search.retrieval import ExperienceRetriever
from tests.benchmarks.bench_learning import keep_cases

TASK = get_task("uspto50k")
LIBRARIES = 6
PENALTY = 0.01  # on the squared distance from the coefficients for many cases, in units of a term's spread
LEAST = 0.05  # of a term that must count, in its unit
# The signs of the twenty terms: 2 must count for a proposal, 1 may, -2 must count against it, 0 is free.
SIGNS = (2, 2, 2, -2, -2, -2, -2, -2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0)
Array: TypeAlias = npt.NDArray[np.float64]
Known: TypeAlias = tuple[Array, int]


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--examples", type=int, default=3000)
    parser.add_argument("--cases", type=int, default=0, help="fit for libraries of so many cases")
    arguments = parser.parse_args()
    library = ExperienceLibrary.load(arguments.library)
    libraries = [_draw(library, arguments.cases, n) for n in range(LIBRARIES)] if arguments.cases else [library]
    retrievers = [make_retriever(each) for each in libraries]
    examples = TASK.load(arguments.train, limit=arguments.examples, seed=0).examples
    asked = [(retrievers[n * len(retrievers) // len(examples)], example) for n, example in enumerate(examples)]
    found = [choice for pair in tqdm(asked) if (choice := _choice(*pair)) is not None]
    print(f"the reference is among the proposals for {len(found)} of {len(examples)} products")
    used = evidence.COEFFICIENTS_OF_FEW if arguments.cases else evidence.COEFFICIENTS
    fitted = _fit_bounded(found) if arguments.cases else _fit(found)
    for (name, before), value in zip(used.items(), fitted, strict=True):
        print(f"{value:6.2f}  (in use: {before:5.2f})  {name}")


def _draw(library: ExperienceLibrary, cases: int, seed: int) -> ExperienceLibrary:
    """The library with so many random cases."""
    ids = sorted(precedent.example_id for entry in library for precedent in entry.precedents)
    drawn = frozenset(random.Random(100 + seed).sample(ids, cases))
    kept = (keep_cases(entry, lambda precedent: precedent.example_id in drawn) for entry in library)
    return ExperienceLibrary([entry for entry in kept if entry.precedents], task=library.task)


def _choice(retriever: ExperienceRetriever, example: dspy.Example) -> Known | None:
    """The twenty terms of each proposal, shape (proposals, 20), and which is the reference; None where none is."""
    lessons = [lesson for lesson in read_lessons(retriever(example.product).experiences) if lesson.precedents]
    choice = terms_of(example.product, lessons, canonical_smiles(example.reactants) or "")
    return None if choice is None else (choice.terms.astype(np.float64), choice.right)


def _fit(choices: list[Known]) -> Array:
    """The coefficients of the eight terms with the largest likelihood."""
    count = len(evidence.COEFFICIENTS)
    found: Array = minimize(_loss, np.zeros(count), ([(t[:, :count], n) for t, n in choices],), jac=True).x
    return found


def _fit_bounded(choices: list[Known]) -> Array:
    """The coefficients of the twenty terms, with their signs bounded."""
    spread = np.concatenate([terms for terms, _ in choices]).std(axis=0) + 1e-6
    start = np.array([*evidence.COEFFICIENTS.values(), *[0.0] * len(evidence.FURTHER_TERMS)]) * spread
    ends = {2: (LEAST, None), 1: (0.0, None), 0: (None, None), -2: (None, -LEAST)}
    bounds = [
        tuple(None if end is None else end * unit for end in ends[sign])
        for sign, unit in zip(SIGNS, spread, strict=True)
    ]
    scaled = [(terms / spread, right) for terms, right in choices]

    def penalized(coefficients: Array) -> tuple[float, Array]:
        total, slope = _loss(coefficients, scaled)
        moved = coefficients - start
        return total / len(scaled) + PENALTY * moved @ moved / 2, slope / len(scaled) + PENALTY * moved

    found: Array = minimize(penalized, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found / spread


def _loss(coefficients: Array, choices: list[Known]) -> tuple[float, Array]:
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

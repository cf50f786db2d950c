"""The coefficients by which the chemist weighs proposals, fitted on training reactions.

    python tests/benchmarks/fit_evidence.py --library exps/RUN/library.json --train train.csv.gz --examples 3000

The library is one studied from these reactions. For each its own case is left out, and the lessons that have no other;
the coefficients are those under which the reference is the likeliest of the proposals (a conditional logit).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

import dspy
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from tqdm import tqdm

from flex_dspy import ExperienceLibrary, get_task
from flex_dspy.metrics.molecules import canonical_smiles
from flex_dspy.offline import reactions
from flex_dspy.offline.chemist import _lesson
from flex_dspy.offline.evidence import COEFFICIENTS
from flex_dspy.search import rendering
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.tasks.task import OFFLINE_RETRIEVAL

TASK = get_task("uspto50k")
Array: TypeAlias = npt.NDArray[np.float64]


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--examples", type=int, default=3000)
    arguments = parser.parse_args()
    retriever = ExperienceRetriever(
        ExperienceLibrary.load(arguments.library), **{"views": TASK.views, **OFFLINE_RETRIEVAL}
    )
    examples = TASK.load(arguments.train, limit=arguments.examples, seed=0).examples
    choices = [choice for example in tqdm(examples) if (choice := _choice(retriever, example)) is not None]
    print(f"the reference is among the proposals for {len(choices)} of {len(examples)} products")
    for (name, used), fitted in zip(COEFFICIENTS.items(), _fit(choices), strict=True):
        print(f"{fitted:6.2f}  (in use: {used:5.2f})  {name}")


def _choice(retriever: ExperienceRetriever, example: dspy.Example) -> tuple[Array, int] | None:
    """The terms of each proposal, shape (proposals, terms), and which is the reference; None where none is."""
    target, reference = canonical_smiles(example.product) or "", canonical_smiles(example.reactants)
    lessons = [_lesson(entry) for entry in rendering.parse(retriever(example.product).experiences)]
    lessons = [lesson for lesson in lessons if lesson.precedents]
    proposed = reactions._propose(target, lessons)
    if reference not in proposed:
        return None
    evidence = reactions._evidence(target, proposed, reactions._read_cases(lessons))
    return evidence.terms.T.astype(np.float64), list(proposed).index(reference)


def _fit(choices: list[tuple[Array, int]]) -> Array:
    """The coefficients of the largest likelihood."""

    def loss(coefficients: Array) -> tuple[float, Array]:
        total, slope = 0.0, np.zeros_like(coefficients)
        for terms, right in choices:
            weight = terms @ coefficients
            share = np.exp(weight - weight.max())
            share /= share.sum()
            total -= np.log(share[right])
            slope -= terms[right] - share @ terms
        return total, slope

    found: Array = minimize(loss, np.zeros(len(COEFFICIENTS)), jac=True, method="L-BFGS-B").x
    return found


if __name__ == "__main__":
    main()

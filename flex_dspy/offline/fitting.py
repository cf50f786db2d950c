"""Fits the chemist's ranking to a library, on the library's own precedents.

Each precedent is a problem with a known answer. It is asked without its own case, and without lessons that have no
other case. The fit maximizes the likelihood of the right proposals in a conditional logit (McFadden, in: Frontiers in
Econometrics, 1974). A penalty on the squared distances from the general coefficients keeps a fit on few products close
to them. The problem is convex and has one solution. A fifth of the products is held out, and shows whether the fit
helps. The ranking itself is fitted to all products.
"""

from __future__ import annotations

import functools
import multiprocessing
import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import minimize
from scipy.stats import binomtest

from flex_dspy.libraries.experience import Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.metrics.molecules import canonical_smiles
from flex_dspy.offline.chemist import read_lessons
from flex_dspy.offline.descriptors import PLACES, Descriptors
from flex_dspy.offline.experts import BREADTH
from flex_dspy.offline.ranking import TERMS, UNFITTED, Choice, Ranking
from flex_dspy.offline.reactions import terms_of
from flex_dspy.search.retrieval import ExperienceRetriever

# The penalty on the squares of the descriptors' numbers, relative to the mean loss of a product.
PENALTIES = (0.1, 0.03, 0.01, 0.004, 0.002, 0.001)
LEAST_CHOICES = 50  # right proposals; fewer cannot determine 15 coefficients
_PENALTY_OF_TERMS = 0.001  # times a term's variance
_MOST_PROPOSALS = 12  # of a product, by the general coefficients; twice as many gave no better ranking
_SMALLEST = 5e-4  # a number below this changes no order
_STEPS = 60
_FOLDS = 5
_SURE = 0.05

Floats = npt.NDArray[np.float64]
_retriever_here: ExperienceRetriever  # in a worker process


@dataclass(frozen=True, slots=True)
class Score:
    """The results of a ranking on the held-out products.

    Attributes:
        products: Number of products, including products without a right proposal.
        first: Number of products whose right proposal is first.
        gained: Number of products whose right proposal is first here, but not with the general coefficients.
        lost: Number of products whose right proposal is first with the general coefficients, but not here.
    """

    products: int
    first: int
    gained: int
    lost: int


@dataclass(frozen=True, slots=True)
class Fit:
    """A ranking that was fitted to so many products, with its own and the general score on the held-out products."""

    ranking: Ranking
    score: Score
    general: Score
    penalty: float
    products: int

    @property
    def is_better(self) -> bool:
        """Whether the ranking is significantly better on held-out products (McNemar's exact test, one-sided)."""
        gained, lost = self.score.gained, self.score.lost
        return gained > lost and bool(binomtest(gained, gained + lost, alternative="greater").pvalue <= _SURE)


def choose_precedents(library: ExperienceLibrary, count: int, seed: int) -> list[Precedent]:
    """Choose precedents for the fit, one per product, in random order.

    Args:
        library: The library that contains the precedents.
        count: Largest number of precedents.
        seed: Seed of the random choice.
    """
    by_product = {precedent.problem: precedent for entry in library for precedent in entry.precedents}
    precedents = sorted(by_product.values(), key=lambda precedent: precedent.problem)
    random.Random(seed).shuffle(precedents)  # noqa: S311  (a sample, no secret)
    return precedents[:count]


def read_choices(
    library: ExperienceLibrary, precedents: Sequence[Precedent], workers: int = 1
) -> Iterator[Choice | None]:
    """The proposals for each precedent's product, without its own case; None if no proposal is right.

    Args:
        library: The library whose lessons make the proposals.
        precedents: The products, with their right reactants.
        workers: Number of processes; 1 for the calling process alone.
    """
    if workers == 1:
        yield from map(functools.partial(_read_choice, make_retriever(library)), precedents)
        return
    # A forked process would inherit locks of threads that it lacks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin, (library,)) as pool:
        yield from pool.map(_read_choice_here, precedents, chunksize=16)


def _begin(library: ExperienceLibrary) -> None:
    """Keep the retriever of a worker process."""
    global _retriever_here  # noqa: PLW0603  (a process has one)
    _retriever_here = make_retriever(library)


def _read_choice_here(precedent: Precedent) -> Choice | None:
    return _read_choice(_retriever_here, precedent)


def make_retriever(library: ExperienceLibrary) -> ExperienceRetriever:
    """A retriever as the chemist uses it, which leaves out the own case of a product."""
    settings: dict[str, Any] = {"views": ("structural",), "exclude_self": True, **BREADTH}
    return ExperienceRetriever(library, **settings)


def _read_choice(retriever: ExperienceRetriever, precedent: Precedent) -> Choice | None:
    lessons = read_lessons(retriever(precedent.problem).experiences)
    others = [lesson for lesson in lessons if lesson.precedents]
    choice = terms_of(precedent.problem, others, canonical_smiles(precedent.answer) or "")
    return None if choice is None else _best_of(choice, _MOST_PROPOSALS)


def _best_of(choice: Choice, count: int) -> Choice:
    """The choice with so many proposals at most, the right one among them."""
    best = np.argsort(-choice.general, kind="stable")[:count]
    kept = np.union1d(best, choice.right)
    right = int(np.searchsorted(kept, choice.right))
    return Choice(choice.terms[kept], choice.descriptors.take(kept), choice.general[kept], right)


def fit_ranking(choices: Sequence[Choice | None], penalties: Iterable[float] = PENALTIES) -> Fit:
    """Fit the ranking to all products. Its score is that of a fit to four fifths of them, on the rest.

    The penalty is chosen on a second fifth: it gives that fifth the greatest likelihood after a fit on the other three.

    Args:
        choices: One per product; None if no proposal is right.
        penalties: The penalties to choose from, perhaps with a progress bar.

    Raises:
        ValueError: If fewer than ``LEAST_CHOICES`` products have a right proposal.
    """
    folds = [choices[n::_FOLDS] for n in range(_FOLDS)]
    few, most, everything = (_Likelihood.of(_usable(folds[first:], LEAST_CHOICES)) for first in (2, 1, 0))
    judge = _Likelihood.of(_usable(folds[1:2], 1))
    penalty = min(penalties, key=lambda penalty: judge.loss(few.fit(penalty))[0])
    score = _score(_as_ranking(most.fit(penalty)), folds[0])
    return Fit(_as_ranking(everything.fit(penalty)), score, _score(None, folds[0]), penalty, len(choices))


def _usable(folds: Sequence[Sequence[Choice | None]], least: int) -> list[Choice]:
    found = [choice for fold in folds for choice in fold if choice is not None]
    if len(found) < least:
        raise ValueError(f"only {len(found)} products have a right proposal, {least} are needed")
    return found


def _as_ranking(solution: Floats) -> Ranking:
    terms, numbers = np.split(solution.round(4), [len(TERMS)])
    places = np.flatnonzero(np.abs(numbers) >= _SMALLEST)
    found = dict(zip(places.tolist(), numbers[places].tolist(), strict=True))
    return Ranking(dict(zip(TERMS, terms.tolist(), strict=True)), found)


def _score(ranking: Ranking | None, choices: Sequence[Choice | None]) -> Score:
    fitted, general = (np.array([_is_first(by, choice) for choice in choices]) for by in (ranking, None))
    counts = (fitted.sum(), (fitted & ~general).sum(), (general & ~fitted).sum())
    return Score(len(choices), *map(int, counts))


def _is_first(ranking: Ranking | None, choice: Choice | None) -> bool:
    if choice is None:
        return False
    weight = choice.general if ranking is None else ranking.weight(choice.terms.T, choice.descriptors)
    return bool(weight.argmax() == choice.right)


@dataclass(frozen=True, slots=True)
class _Likelihood:
    """All proposals of all products, one after the other.

    Attributes:
        terms: The terms of each proposal, shape (n proposals, 15).
        descriptors: The descriptors of each proposal, shape (n proposals, PLACES).
        starts: The index where each product's proposals begin.
        sizes: The number of proposals of each product.
        right: The index of each product's right proposal.
    """

    terms: Floats
    descriptors: sparse.csr_matrix
    starts: npt.NDArray[np.intp]
    sizes: npt.NDArray[np.intp]
    right: npt.NDArray[np.intp]

    @classmethod
    def of(cls, choices: Sequence[Choice]) -> _Likelihood:
        sizes = np.array([len(choice.terms) for choice in choices])
        starts = np.cumsum(sizes) - sizes
        terms = np.concatenate([choice.terms for choice in choices]).astype(float)
        right = starts + np.array([choice.right for choice in choices])
        return cls(terms, _as_matrix([choice.descriptors for choice in choices]), starts, sizes, right)

    def fit(self, penalty: float) -> Floats:
        """The solution: the coefficients of the terms, then the numbers of the descriptors, shape (15 + PLACES,)."""
        # A place that no descriptor has keeps the number 0. Without these places few products need little time.
        used, columns = np.unique(self.descriptors.indices, return_inverse=True)
        rows = self.descriptors.indptr
        few = sparse.csr_matrix((self.descriptors.data, columns, rows), shape=(len(rows) - 1, len(used)))
        found = replace(self, descriptors=few).minimize(penalty)
        solution = np.zeros(len(TERMS) + PLACES)
        solution[: len(TERMS)], solution[len(TERMS) + used] = np.split(found, [len(TERMS)])
        return solution

    def minimize(self, penalty: float) -> Floats:
        """The coefficients and numbers of the smallest loss with the penalty, shape (15 + columns of descriptors,)."""
        count = self.descriptors.shape[1]
        start = np.array([*(UNFITTED.coefficients[term] for term in TERMS), *np.zeros(count)])
        spread = self.terms.var(axis=0)
        weights = np.array([*(_PENALTY_OF_TERMS * spread), *np.full(count, penalty)])
        # In units of its spread, every term has about the same weight in a step.
        scale = np.array([*(1 / np.maximum(np.sqrt(spread), 1e-3)), *np.ones(count)])

        def penalized(scaled: Floats) -> tuple[float, Floats]:
            value, slope = self.loss(scaled * scale)
            moved = scaled * scale - start
            return value + float(weights @ moved**2) / 2, (slope + weights * moved) * scale

        found: Floats = minimize(penalized, start / scale, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}).x
        return found * scale

    def loss(self, solution: Floats) -> tuple[float, Floats]:
        """Minus the mean logarithm of the right proposals' shares, and its gradient."""
        coefficients, numbers = np.split(solution, [len(TERMS)])
        weight = self.terms @ coefficients + self.descriptors @ numbers.astype(np.float32)
        weight -= np.repeat(np.maximum.reduceat(weight, self.starts), self.sizes)
        powers = np.exp(weight)
        sums = np.add.reduceat(powers, self.starts)
        share = powers / np.repeat(sums, self.sizes)
        value = float(np.mean(np.log(sums) - weight[self.right]))
        share[self.right] -= 1.0
        slopes = share @ self.terms, self.descriptors.T @ share.astype(np.float32)
        return value, np.concatenate(slopes) / len(self.starts)


def _as_matrix(descriptors: Sequence[Descriptors]) -> sparse.csr_matrix:
    """The descriptors of many proposals, shape (n proposals, PLACES)."""
    places, strengths, counts = (np.concatenate(column) for column in zip(*descriptors, strict=True))
    starts = np.concatenate([[0], np.cumsum(counts)])
    return sparse.csr_matrix((strengths, places, starts), shape=(len(counts), PLACES))

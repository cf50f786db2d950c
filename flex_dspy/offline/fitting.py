"""Fits the chemist's ranking to a library, on the library's own precedents.

Each precedent is a problem with a known answer. It is asked without its own case, and without lessons that have no
other case. The fit maximizes the likelihood of the right proposals in a conditional logit (McFadden, in: Frontiers in
Econometrics, 1974). A penalty on the squared distances from the general coefficients keeps a fit on few products close
to them. The problem is convex and has one solution. A fifth of the products is held out, and shows whether the fit
helps.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import minimize
from scipy.stats import binomtest

from flex_dspy.libraries.experience import Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.metrics.molecules import canonical_smiles
from flex_dspy.offline.changes import ENVIRONMENTS
from flex_dspy.offline.chemist import read_lessons
from flex_dspy.offline.experts import BREADTH
from flex_dspy.offline.ranking import TERMS, UNFITTED, Choice, Ranking, environments_of
from flex_dspy.offline.reactions import terms_of
from flex_dspy.search.retrieval import ExperienceRetriever

# The penalty on the squares, relative to the mean loss of a product. A term's penalty is multiplied by its variance.
PENALTIES = (1.0, 0.1, 0.01, 0.001)
LEAST_CHOICES = 50  # right proposals; fewer cannot determine 20 coefficients
_FOLDS = 5
_SURE = 0.05

Floats = npt.NDArray[np.float64]


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
    """A ranking, with its own score and the general coefficients' score on the held-out products."""

    ranking: Ranking
    score: Score
    general: Score
    penalty: float

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


def read_choices(library: ExperienceLibrary, precedents: Iterable[Precedent]) -> list[Choice | None]:
    """The proposals for each precedent's product, without its own case; None if no proposal is right.

    Args:
        library: The library whose lessons make the proposals.
        precedents: The products, with their right reactants.
    """
    settings: dict[str, Any] = {"views": ("structural",), "exclude_self": True, **BREADTH}
    retriever = ExperienceRetriever(library, **settings)
    return [_read_choice(retriever, precedent) for precedent in precedents]


def _read_choice(retriever: ExperienceRetriever, precedent: Precedent) -> Choice | None:
    lessons = read_lessons(retriever(precedent.problem).experiences)
    others = [lesson for lesson in lessons if lesson.precedents]
    return terms_of(precedent.problem, others, canonical_smiles(precedent.answer) or "")


def fit_ranking(choices: Sequence[Choice | None]) -> Fit:
    """Fit the ranking on four fifths of the products, and score it on the rest.

    The penalty is chosen on a second fifth: it gives that fifth the greatest likelihood after a fit on the other three.

    Args:
        choices: One per product; None if no proposal is right.

    Raises:
        ValueError: If fewer than ``LEAST_CHOICES`` products have a right proposal.
    """
    folds = [choices[n::_FOLDS] for n in range(_FOLDS)]
    few, most = (_Likelihood.of(_usable(folds[first:], LEAST_CHOICES)) for first in (2, 1))
    judge = _Likelihood.of(_usable(folds[1:2], 1))
    penalty = min(PENALTIES, key=lambda penalty: judge.loss(few.fit(penalty))[0])
    ranking = _as_ranking(most.fit(penalty))
    return Fit(ranking, _score(ranking, folds[0]), _score(UNFITTED, folds[0]), penalty)


def _usable(folds: Sequence[Sequence[Choice | None]], least: int) -> list[Choice]:
    found = [choice for fold in folds for choice in fold if choice is not None]
    if len(found) < least:
        raise ValueError(f"only {len(found)} products have a right proposal, {least} are needed")
    return found


def _as_ranking(numbers: Floats) -> Ranking:
    found = numbers.round(4).tolist()
    terms, lost, gained = found[: len(TERMS)], found[len(TERMS) : -ENVIRONMENTS], found[-ENVIRONMENTS:]
    return Ranking(dict(zip(TERMS, terms, strict=True)), tuple(lost), tuple(gained))


def _score(ranking: Ranking, choices: Sequence[Choice | None]) -> Score:
    fitted, general = (np.array([_is_first(by, choice) for choice in choices]) for by in (ranking, UNFITTED))
    counts = (fitted.sum(), (fitted & ~general).sum(), (general & ~fitted).sum())
    return Score(len(choices), *map(int, counts))


def _is_first(ranking: Ranking, choice: Choice | None) -> bool:
    if choice is None:
        return False
    return bool(ranking.weight(choice.terms.T, choice.changes).argmax() == choice.right)


@dataclass(frozen=True, slots=True)
class _Likelihood:
    """All proposals of all products, one after the other.

    Attributes:
        columns: Terms and environments of each proposal, shape (n proposals, 20 + 2048).
        starts: The index where each product's proposals begin.
        sizes: The number of proposals of each product.
        right: The index of each product's right proposal.
    """

    columns: sparse.csr_matrix
    starts: npt.NDArray[np.intp]
    sizes: npt.NDArray[np.intp]
    right: npt.NDArray[np.intp]

    @classmethod
    def of(cls, choices: Sequence[Choice]) -> _Likelihood:
        sizes = np.array([len(choice.terms) for choice in choices])
        starts = np.cumsum(sizes) - sizes
        terms = sparse.csr_matrix(np.concatenate([choice.terms for choice in choices]).astype(float))
        environments = sparse.vstack([sparse.csr_matrix(environments_of(choice.changes)) for choice in choices])
        right = starts + np.array([choice.right for choice in choices])
        return cls(sparse.hstack([terms, environments]).tocsr(), starts, sizes, right)

    def fit(self, penalty: float) -> Floats:
        """The coefficients that maximize the likelihood minus the penalty on the distance from the general ones."""
        start = np.array([*(UNFITTED.coefficients[term] for term in TERMS), *np.zeros(2 * ENVIRONMENTS)])
        spread = self.columns[:, : len(TERMS)].toarray().var(axis=0)
        weights = penalty * np.array([*spread, *np.ones(2 * ENVIRONMENTS)])

        def penalized(numbers: Floats) -> tuple[float, Floats]:
            value, slope = self.loss(numbers)
            moved = numbers - start
            return value + float(weights @ moved**2) / 2, slope + weights * moved

        found: Floats = minimize(penalized, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
        return found

    def loss(self, numbers: Floats) -> tuple[float, Floats]:
        """Minus the mean logarithm of the right proposals' shares, and its gradient."""
        weight = self.columns @ numbers
        weight -= np.repeat(np.maximum.reduceat(weight, self.starts), self.sizes)
        powers = np.exp(weight)
        sums = np.add.reduceat(powers, self.starts)
        share = powers / np.repeat(sums, self.sizes)
        value = float(np.mean(np.log(sums) - weight[self.right]))
        share[self.right] -= 1.0
        return value, np.asarray(self.columns.T @ share) / len(self.starts)

"""Descriptors of a proposal, for a ranking that is fitted to a library: what changes, what else there is, and evidence.

The descriptors of a proposal are the environments that the product loses, the environments that the reactants gain, the
general form of its template, and pairs of this form with each small group of the product. A pair can say that an acid
chloride is a poor choice beside a free amine. Environments are those of ``flex_dspy.offline.changes``, but not folded
into 1,024 bits.

The terms of the evidence (``flex_dspy.offline.evidence``) are descriptors, too. Each term falls into a band of values,
and so does its distance from the largest among the proposals. So a term may count more in one range than in another (a
generalized additive model, Hastie and Tibshirani, Statistical Science, 1986).

A hash of each descriptor gives its place in one table of numbers (Weinberger et al., Feature Hashing for Large Scale
Multitask Learning, ICML 2009).

    >>> terms = np.zeros((15, 1), np.float32)
    >>> proposal = describe("CC(=O)NC", ["CC(=O)O.CN"], ["[C:1][N:2]>>[C:1]O.[N:2]"], terms)
    >>> len(proposal.places) == len(proposal.strengths), bool((proposal.places < PLACES).all())
    (True, True)
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from rdkit.Chem import rdFingerprintGenerator

from flex_dspy.offline.changes import Numbers, read_as_written

PLACES = 1 << 18
_LOST, _GAINED, _FORM, _PAIR, _BAND = range(1, 6)
# The penalty of a fit acts on the square of a number. So a form, which is seen often, may have a larger effect than a
# pair, of which there are many.
_STRENGTH_OF_FORM = 2.0
_STRENGTH_OF_PAIR = 0.5
_STRENGTH_OF_BAND = 0.5
_WIDTH_OF_BAND = 0.25
_WIDE = rdFingerprintGenerator.GetMorganGenerator(radius=3, includeRedundantEnvironments=True)
_NARROW = rdFingerprintGenerator.GetMorganGenerator(radius=1, includeRedundantEnvironments=True)

Ids = npt.NDArray[np.uint64]


class Descriptors(NamedTuple):
    """The descriptors of some proposals, one proposal after the other.

    Attributes:
        places: Place of each descriptor in the table of numbers, shape (n descriptors,).
        strengths: How strong each descriptor is, shape (n descriptors,).
        counts: The number of descriptors of each proposal, none of them 0, shape (m,).
    """

    places: npt.NDArray[np.int32]
    strengths: Numbers
    counts: npt.NDArray[np.int32]

    def weigh(self, numbers: Numbers) -> Numbers:
        """The sum of each proposal's descriptors, each times its number, shape (m,).

        Args:
            numbers: The number of each place, shape (PLACES,).
        """
        starts = np.cumsum(self.counts) - self.counts
        return np.asarray(np.add.reduceat(numbers[self.places] * self.strengths, starts), np.float32)

    def take(self, proposals: npt.NDArray[np.intp]) -> Descriptors:
        """The descriptors of some of the proposals.

        Args:
            proposals: The indices of these proposals, ascending.
        """
        kept = np.repeat(np.isin(np.arange(len(self.counts)), proposals), self.counts)
        return Descriptors(self.places[kept], self.strengths[kept], self.counts[proposals])


def describe(product: str, outcomes: Sequence[str], forms: Sequence[str], terms: Numbers) -> Descriptors:
    """The descriptors of the proposals for a product.

    Args:
        product: Canonical SMILES of the product.
        outcomes: Canonical SMILES of the reactants of each proposal, at least one.
        forms: The general form of each proposal's template (see ``flex_dspy.offline.general``).
        terms: The terms of the evidence on each proposal, shape (terms, m).
    """
    before, groups = _environments(product), _groups(product)
    found = [
        _describe(before, groups, outcome, form, bands)
        for outcome, form, bands in zip(outcomes, forms, _bands(terms), strict=True)
    ]
    places = np.concatenate([own for own, _ in found]) % np.uint64(PLACES)
    counts = np.array([len(own) for own, _ in found], np.int32)
    return Descriptors(places.astype(np.int32), np.concatenate([strengths for _, strengths in found]), counts)


def _describe(before: _Counts, groups: Ids, outcome: str, form: str, bands: Ids) -> tuple[Ids, Numbers]:
    lost, gained = _difference(before, [_environments(molecule) for molecule in outcome.split(".")])
    own = np.array([zlib.crc32(form.encode())], np.uint64)
    changed = np.concatenate([_hash(_LOST, lost), _hash(_GAINED, gained)])
    places = np.concatenate([changed, _hash(_FORM, own), _hash(_PAIR, own, groups), bands])
    strengths = np.array([1.0, _STRENGTH_OF_FORM, _STRENGTH_OF_PAIR, _STRENGTH_OF_BAND], np.float32)
    return places, np.repeat(strengths, [len(changed), 1, len(groups), len(bands)])


def _bands(terms: Numbers) -> Ids:
    """The bands of each proposal's terms, and of their distances from the largest, shape (m, 2 terms)."""
    values = np.concatenate([terms, terms - terms.max(axis=1, keepdims=True)]).T
    bands = np.floor(values / _WIDTH_OF_BAND).astype(np.int64).astype(np.uint64)
    return _hash(_BAND, np.arange(values.shape[1], dtype=np.uint64), bands)


class _Counts(NamedTuple):
    """The environments of a molecule, and how often it has each."""

    ids: Ids
    counts: npt.NDArray[np.int64]


def _difference(before: _Counts, after: Sequence[_Counts]) -> tuple[Ids, Ids]:
    """The environments that there are fewer of afterwards, and those that there are more of."""
    ids, index = np.unique(np.concatenate([before.ids, *(one.ids for one in after)]), return_inverse=True)
    change = np.bincount(index, np.concatenate([-before.counts, *(one.counts for one in after)]), len(ids))
    return ids[change < 0], ids[change > 0]


@functools.lru_cache(maxsize=4_000)  # many disconnections give the same parts of a product
def _environments(smiles: str) -> _Counts:
    molecule = read_as_written(smiles)
    found = {} if molecule is None else _WIDE.GetSparseCountFingerprint(molecule).GetNonzeroElements()
    return _Counts(np.fromiter(found, np.uint64, len(found)), np.fromiter(found.values(), np.int64, len(found)))


def _groups(product: str) -> Ids:
    """The atoms of a product, alone and with their neighbours."""
    molecule = read_as_written(product)
    found = {} if molecule is None else _NARROW.GetSparseCountFingerprint(molecule).GetNonzeroElements()
    return np.fromiter(found, np.uint64, len(found))


def _hash(kind: int, first: Ids, second: Ids | None = None) -> Ids:
    """Numbers that differ for nearly all descriptors."""
    mixed = first * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(kind << 61)
    if second is not None:
        mixed = mixed ^ second * np.uint64(0xD6E8FEB86659FD93)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(mixed ^ mixed >> np.uint64(32), np.uint64)

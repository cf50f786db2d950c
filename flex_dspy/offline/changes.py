"""The changes of a reaction: the environments that the product loses, and the environments that the reactants gain.

The Morgan environments of each molecule are counted, from single atoms to three bonds around them (Rogers and Hahn, J.
Chem. Inf. Model. 2010, 50, 742). The differences of the counts between product and reactants describe the reaction with
its surroundings. This difference fingerprint needs no atom map (Schneider et al., J. Chem. Inf. Model. 2015, 55, 39).

    >>> amide, other = change("CC(=O)NC", "CC(=O)O.CN"), change("CCC(=O)NC", "CCC(=O)O.CN")
    >>> likeness(amide[LOST], amide[LOST][None])[0, 0] > likeness(amide[LOST], other[LOST][None])[0, 0] > 0.5
    True
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import rdkit
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator

from flex_dspy.core.array_file import ArrayFile, cache_file
from flex_dspy.metrics.molecules import read_molecule

Bits = npt.NDArray[np.uint64]
"""Sets of environments, folded into bits: 16 words along the last axis."""

Numbers = npt.NDArray[np.float32]

LOST, GAINED, PRODUCT, REACTANTS = range(4)

ENVIRONMENTS = 1024
FORMAT = 1  # to be raised with any change of the environments, because computed ones are kept in a file
_MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=3, fpSize=ENVIRONMENTS, includeRedundantEnvironments=True)
_AS_WRITTEN = Chem.SmilesParserParams()
_AS_WRITTEN.sanitize = _AS_WRITTEN.removeHs = False  # type: ignore[assignment, unused-ignore]


@functools.lru_cache(maxsize=60_000)  # 0.7 kB each, of which 0.5 kB are in a file that the processes share
def change(product: str, reactants: str) -> Bits | None:
    """The environments of a reaction.

    Args:
        product: Canonical SMILES of the product.
        reactants: Canonical SMILES of the reactants.

    Returns:
        Four sets, shape (4, 16): lost, gained, in the product, in the reactants. None for a bad SMILES.
    """
    found = _solved_cases().find(f"{product}>{reactants}", lambda _: _change(product, reactants))
    return None if found is None else found.reshape(4, -1)


@functools.cache
def _solved_cases() -> ArrayFile:
    return ArrayFile(cache_file(f"flex-dspy-changes-{FORMAT}-rdkit-{rdkit.__version__}.rows"), ENVIRONMENTS // 16)


def changes(product: str, outcomes: Sequence[str]) -> Bits:
    """The environments of the reactions that lead from several reactants to one product, shape (n, 4, 16).

    Args:
        product: Canonical SMILES of the product.
        outcomes: Canonical SMILES of the reactants of each reaction.
    """
    # Not cached, unlike solved cases: a product is not asked for again, and would push solved cases out of the cache.
    found = [_change(product, outcome) for outcome in outcomes]
    return np.array([np.zeros((4, ENVIRONMENTS // 64), np.uint64) if one is None else one for one in found])


def size(sets: Bits) -> Numbers:
    """The number of environments in each set."""
    return np.asarray(np.bitwise_count(sets).sum(axis=-1), np.float32)


def count_common(some: Bits, others: Bits) -> Numbers:
    """The number of environments that each pair of sets shares, shape (n some, n others)."""
    # Word by word: sums over long columns are several times as fast as sums over sixteen words in a row. Rows in one
    # piece and arrays that are used again halve the time once more.
    ours, theirs = (np.ascontiguousarray(np.moveaxis(sets, -1, 0)) for sets in (some, others))
    shape = len(others), len(some)
    common, shared, bits = np.zeros(shape, np.uint16), np.empty(shape, np.uint64), np.empty(shape, np.uint8)
    for word in range(len(ours)):
        np.bitwise_and(theirs[word][:, None], ours[word], out=shared)
        common += np.bitwise_count(shared, out=bits)
    return common.T.astype(np.float32)


def likeness(some: Bits, others: Bits) -> Numbers:
    """Tanimoto similarities, 0 to 1, shape (n some, n others)."""
    common = count_common(some, others)
    return np.asarray(common / np.maximum(size(some)[..., None] + size(others) - common, 1), np.float32)


def _change(product: str, reactants: str) -> Bits | None:
    before, after = _counts(product), _counts(reactants)
    if before is None or after is None:
        return None
    return np.packbits([before > after, after > before, before > 0, after > 0], axis=-1).view(np.uint64)


def _counts(smiles: str) -> npt.NDArray[np.uint32] | None:
    molecules = [_counts_of_one(molecule) for molecule in smiles.split(".")]
    found = [counts for counts in molecules if counts is not None]
    return sum(found[1:], found[0]) if len(found) == len(molecules) else None


@functools.lru_cache(maxsize=4_000)  # many disconnections give the same parts of a product
def _counts_of_one(smiles: str) -> npt.NDArray[np.uint32] | None:
    molecule = read_as_written(smiles)
    if molecule is None:
        return None
    counts: npt.NDArray[np.uint32] = _MORGAN.GetCountFingerprintAsNumPy(molecule)
    return counts


def read_as_written(smiles: str) -> Chem.Mol | None:
    """A molecule for which Morgan environments can be computed; None for a bad SMILES.

    Args:
        smiles: Canonical SMILES.
    """
    # A canonical SMILES contains all that environments need. Sanitizing it again would take ten times as long.
    molecule = read_molecule(smiles, _AS_WRITTEN)
    if molecule is not None:
        molecule.UpdatePropertyCache(strict=False)
        Chem.FastFindRings(molecule)
    return molecule

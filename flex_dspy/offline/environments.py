"""Surroundings of a reaction centre: how alike are two places where the same template fits?

An environment is the set of Morgan identifiers of the centre's atoms, from the atoms alone to three bonds around
them (Rogers and Hahn, J. Chem. Inf. Model. 2010, 50, 742): a fingerprint that is rooted at the centre.

    >>> amide, other = environment("CC(=O)NC", frozenset({1, 3})), environment("CCC(=O)NC", frozenset({2, 4}))
    >>> likeness(amide, amide), 0.5 < likeness(amide, other) < 1
    (1.0, True)
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable

from rdkit.Chem import rdFingerprintGenerator

from flex_dspy.offline.application import Site, molecule

Environment = frozenset[int]

_RADIUS = 3
_MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=_RADIUS, includeRedundantEnvironments=True)


def environment(smiles: str, site: Site) -> Environment:
    """The identifiers around some atoms of a molecule.

    Args:
        smiles: The molecule.
        site: Indices of the atoms, in the order of the SMILES.
    """
    around = _identifiers(smiles)
    return frozenset(identifier for atom in site for identifier in around[atom])


def likeness(one: Environment, other: Environment) -> float:
    """Tanimoto similarity of two environments, 0 to 1."""
    common = len(one & other)
    return common / ((len(one) + len(other) - common) or 1)


def changed_site(product: str, reactants: str, candidates: Iterable[Site]) -> Site | None:
    """Of several sites in a product, the one where the reaction took place.

    There the surroundings of the most atoms are not found again in the reactants.

    Args:
        product: SMILES of the product.
        reactants: SMILES of the reactants.
        candidates: The sites to choose from.

    Returns:
        The site; None where there is no candidate.
    """
    places = sorted(candidates, key=sorted)
    if len(places) < 2:
        return places[0] if places else None
    lost = _lost(product, reactants)
    return max(places, key=lambda site: sum(lost[atom] for atom in site) / len(site))


@functools.lru_cache(maxsize=20_000)
def _lost(product: str, reactants: str) -> tuple[int, ...]:
    """For each atom of the product, how many of its identifiers are fewer in the reactants."""
    around = _identifiers(product)
    missing = Counter(identifier for atom in around for identifier in atom)
    missing.subtract(identifier for atom in _identifiers(reactants) for identifier in atom)
    return tuple(sum(missing[identifier] > 0 for identifier in atom) for atom in around)


@functools.lru_cache(maxsize=40_000)
def _identifiers(smiles: str) -> tuple[tuple[int, ...], ...]:
    """For each atom of a molecule its Morgan identifiers, by radius; empty for a bad SMILES."""
    parsed = molecule(smiles)
    if parsed is None:
        return ()
    wanted = rdFingerprintGenerator.AdditionalOutput()
    wanted.AllocateAtomToBits()
    _MORGAN.GetSparseFingerprint(parsed, additionalOutput=wanted)
    identifiers: tuple[tuple[int, ...], ...] = wanted.GetAtomToBits()
    return identifiers

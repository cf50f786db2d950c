"""Maps the atoms of a product to the atoms of its reactants, for a reaction without atom maps.

A reaction changes few bonds. So two atoms are paired if their surroundings agree to a large radius. The pairing grows
from the best agreeing atoms to their neighbours. Of several pairings, the module keeps the one that breaks and makes
the fewest bonds (the principle of minimal chemical distance: Jochum, Gasteiger and Ugi, Angew. Chem. Int. Ed. 1980, 19,
495). No step depends on a clock, so the result is the same on every machine.

    >>> product, reactants = MolGraph.of("CC(=O)NC"), MolGraph.of("CC(=O)O.CN")
    >>> sorted(map_atoms(product, reactants)[0].items())
    [(0, 0), (1, 1), (2, 2), (3, 5), (4, 4)]
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from rdkit import Chem

from flex_dspy.metrics.molecules import read_molecule

AtomMap = dict[int, int]
"""From product atom index to reactant atom index."""

# Three times the atoms on a side of any reaction of USPTO-50k. Mapping then takes 2 s; the time grows with the square.
_MAX_ATOMS = 300
# Largest radius of surroundings. A larger radius does not distinguish atoms better.
_LARGEST_RADIUS = 10
# Value of one paired neighbour, in units of one more radius of agreeing surroundings. They are tried in this order.
_ADHESIONS = (1.0, 4.0, 100.0, 0.25)
# A substitution costs 2 (one bond made, one broken). The search stops at this cost.
_CHEAP = 2.1


_Pair = tuple[float, int, int]
"""Minus the radius to which two atoms agree, the product's atom, the reactants' atom: the best pair sorts first."""


class _Agreement(NamedTuple):
    """The radii up to which the surroundings of product atoms and reactant atoms are equal.

    Attributes:
        radii: The radius for each product atom and reactant atom; -1 for different elements.
        starts: The pairs where the pairing may start.
        pairs: All pairs of the same element.
    """

    radii: list[list[int]]
    starts: list[_Pair]
    pairs: list[_Pair]


@dataclass(frozen=True, slots=True)
class MolGraph:
    """The graph of one or more molecules in plain Python, because RDKit's accessors are slow in inner loops.

    Attributes:
        molecule: The RDKit molecule that the indices refer to.
        elements: Atomic number of each atom.
        bonds: For each atom, bond order (1.5 if aromatic) by neighbour index.
        hydrogens: Number of hydrogens on each atom.
        charges: Formal charge of each atom.
        fragments: Index of the molecule that each atom is in.
    """

    molecule: Chem.Mol
    elements: tuple[int, ...]
    bonds: tuple[dict[int, float], ...]
    hydrogens: tuple[int, ...]
    charges: tuple[int, ...]
    fragments: tuple[int, ...]

    @classmethod
    def of(cls, smiles: str) -> MolGraph | None:
        """The graph of a SMILES; None if RDKit cannot parse it, it is empty, or it has too many atoms to map.

        Args:
            smiles: One or more molecules, dot-separated.
        """
        molecule = read_molecule(smiles)
        if molecule is None or not 0 < molecule.GetNumAtoms() <= _MAX_ATOMS:
            return None
        atoms = list(molecule.GetAtoms())
        bonds: tuple[dict[int, float], ...] = tuple({} for _ in atoms)
        for bond in molecule.GetBonds():
            begin, end, order = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), bond.GetBondTypeAsDouble()
            bonds[begin][end] = bonds[end][begin] = order
        fragments = {atom: n for n, part in enumerate(Chem.GetMolFrags(molecule)) for atom in part}
        return cls(
            molecule,
            tuple(atom.GetAtomicNum() for atom in atoms),
            bonds,
            tuple(atom.GetTotalNumHs() for atom in atoms),
            tuple(atom.GetFormalCharge() for atom in atoms),
            tuple(fragments[n] for n in range(len(atoms))),
        )


def map_atoms(product: MolGraph, reactants: MolGraph) -> list[AtomMap]:
    """Distinct atom mappings, the one that changes the fewest bonds first.

    Args:
        product: The product.
        reactants: All reactants together.
    """
    agreement = _agreement(product, reactants)
    found: list[tuple[float, int, AtomMap]] = []
    for adhesion in _ADHESIONS:
        for sign in (1, -1):
            atom_map = _grow(product, reactants, agreement, adhesion, sign)
            atom_map = _improve(product, reactants, atom_map)
            if all(atom_map != other for _, _, other in found):
                found.append((chemical_distance(product, reactants, atom_map), len(found), atom_map))
            if min(found)[0] <= _CHEAP:
                return [atom_map for _, _, atom_map in sorted(found)]
    return [atom_map for _, _, atom_map in sorted(found)]


def chemical_distance(product: MolGraph, reactants: MolGraph, atom_map: AtomMap) -> float:
    """The cost of the changes under a mapping. A made or broken bond counts one, a changed order less than one.

    Args:
        product: The product.
        reactants: All reactants together.
        atom_map: The mapping to judge.
    """
    doubled = sum(_atom_distance(product, reactants, atom_map, i) for i in atom_map)
    missing = len(product.elements) - len(atom_map)
    return doubled / 2 + 3.0 * missing


def _atom_distance(product: MolGraph, reactants: MolGraph, atom_map: AtomMap, i: int) -> float:
    """The cost of the changes at one product atom. A bond inside the mapping is counted from both ends."""
    j = atom_map[i]
    theirs = dict(reactants.bonds[j])
    total = 0.25 * abs(product.charges[i] - reactants.charges[j])
    for neighbour, order in product.bonds[i].items():
        image = atom_map.get(neighbour, -1)
        other = theirs.pop(image, 0.0)
        if other != order:
            total += _bond_distance(product, i, neighbour, order, other)
    images = _images(atom_map) if theirs else frozenset()
    for neighbour, order in theirs.items():
        weight = 1.0 if neighbour in images else 2.0
        total += weight * (_bond_distance(reactants, j, neighbour, order, 0.0) + _stiffness(reactants, j, neighbour))
    return total


def _images(atom_map: AtomMap) -> frozenset[int]:
    return frozenset(atom_map.values())


def _bond_distance(graph: MolGraph, i: int, neighbour: int, order: float, other: float) -> float:
    """The cost of changing one bond order to another; 0 means no bond. Carbon-carbon bonds cost more."""
    if order and other:
        return 0.3 if 1.5 in (order, other) else 0.5
    return 1.5 if graph.elements[i] == graph.elements[neighbour] == 6 else 1.0


def _stiffness(graph: MolGraph, i: int, neighbour: int) -> float:
    """A tie-breaker for equal costs: a bond of an acyl carbon breaks first, of an aromatic carbon last."""
    carbon = i if graph.elements[i] == 6 else neighbour
    if graph.elements[i] == graph.elements[neighbour] or graph.elements[carbon] != 6:
        return 0.0
    orders = graph.bonds[carbon].values()
    return 0.1 if 1.5 in orders else -0.1 if 2.0 in orders else 0.0


def _agreement(product: MolGraph, reactants: MolGraph) -> _Agreement:
    """The radius up to which the surroundings of each product atom and each reactant atom are equal.

    Surroundings are compared by their Weisfeiler-Lehman (Morgan) identifiers, refined one bond further each round.
    """
    ours, theirs = list(product.elements), list(reactants.elements)
    radii = np.full((len(ours), len(theirs)), -1, np.int64)
    for radius in range(_LARGEST_RADIUS + 1):
        equal = np.array(ours)[:, None] == np.array(theirs)
        if not equal.any():
            break
        radii[equal] = radius
        ours, theirs = _refine(product, ours), _refine(reactants, theirs)
    # A pairing may start at a pair if neither of its atoms agrees better with another atom.
    best = np.minimum(radii.max(axis=1, keepdims=True), radii.max(axis=0, keepdims=True))
    return _Agreement(radii.tolist(), _pairs(radii, (radii >= 0) & (radii >= best)), _pairs(radii, radii >= 0))


def _pairs(radii: npt.NDArray[np.int64], chosen: npt.NDArray[np.bool_]) -> list[_Pair]:
    rows, columns = np.nonzero(chosen)
    return list(zip((-radii[chosen].astype(float)).tolist(), rows.tolist(), columns.tolist(), strict=True))


def _refine(graph: MolGraph, identifiers: list[int]) -> list[int]:
    # Hashes of tuples of numbers are the same in every Python process; hashes of texts are not.
    return [
        hash((own, *sorted((order, identifiers[n]) for n, order in bonds.items())))
        for own, bonds in zip(identifiers, graph.bonds, strict=True)
    ]


def _grow(product: MolGraph, reactants: MolGraph, agreement: _Agreement, adhesion: float, sign: int) -> AtomMap:
    """Pair atoms greedily, best agreement first. A paired neighbour raises the priority of a pair.

    Args:
        product: The product.
        reactants: All reactants together.
        agreement: The result of `_agreement`.
        adhesion: Agreement that one paired neighbour adds to a pair.
        sign: 1 takes equally good pairs from the front, -1 from the back.
    """
    atom_map: AtomMap = {}
    taken: set[int] = set()
    radii = agreement.radii
    support: dict[tuple[int, int], float] = defaultdict(float)
    heap = [(rank, sign * i, sign * j) for rank, i, j in agreement.starts]
    heapq.heapify(heap)
    complete = False
    while heap or not complete:
        if not heap:
            # Atoms that neither stand out nor touch a paired atom come last.
            heap, complete = _rest(agreement, sign, atom_map, taken), True
            continue
        _, i, j = heapq.heappop(heap)
        i, j = sign * i, sign * j
        if i in atom_map or j in taken:
            continue
        atom_map[i] = j
        taken.add(j)
        for pair, same_order in _neighbour_pairs(product, reactants, i, j):
            a, b = pair
            if radii[a][b] >= 0 and a not in atom_map and b not in taken:
                support[pair] += adhesion if same_order else adhesion / 2
                heapq.heappush(heap, (-radii[a][b] - support[pair], sign * a, sign * b))
    return atom_map


def _rest(agreement: _Agreement, sign: int, atom_map: AtomMap, taken: set[int]) -> list[_Pair]:
    """The pairs of atoms that are still unpaired, the best agreement first."""
    return sorted((rank, sign * i, sign * j) for rank, i, j in agreement.pairs if i not in atom_map and j not in taken)


def _neighbour_pairs(product: MolGraph, reactants: MolGraph, i: int, j: int) -> Iterator[tuple[tuple[int, int], bool]]:
    for ours, order in product.bonds[i].items():
        for theirs, other in reactants.bonds[j].items():
            yield (ours, theirs), order == other


def _improve(product: MolGraph, reactants: MolGraph, atom_map: AtomMap) -> AtomMap:
    """Exchange images at the reaction centre while that lowers the chemical distance.

    The greedy pairing may confuse two similar atoms (the oxygens of an acid) if it pairs them before it sees the bond
    that distinguishes them. One exchange repairs that.
    """
    best = chemical_distance(product, reactants, atom_map)
    while best:
        for trial in _exchanges(product, reactants, atom_map):
            distance = chemical_distance(product, reactants, trial)
            if distance < best:
                best, atom_map = distance, trial
                break
        else:
            break
    return atom_map


def _exchanges(product: MolGraph, reactants: MolGraph, atom_map: AtomMap) -> Iterator[AtomMap]:
    """Mappings in which one atom of the reaction centre has swapped its image with another atom."""
    changed = [i for i in sorted(atom_map) if _atom_distance(product, reactants, atom_map, i)]
    owner = {j: i for i, j in atom_map.items()}
    images = {atom_map[i] for i in changed}
    free = {n for j in images for n in reactants.bonds[j] if n not in owner}
    for i in changed:
        for j in sorted(images | free):
            if j == atom_map[i] or reactants.elements[j] != product.elements[i] or owner.get(j, -1) > i:
                continue
            trial = {**atom_map, i: j}
            if j in owner:
                trial[owner[j]] = atom_map[i]
            yield trial

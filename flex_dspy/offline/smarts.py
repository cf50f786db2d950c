"""Writes a template as text. Equal transformations give equal reaction SMARTS.

Experiences are merged by this text, so it must not depend on the numbering of a molecule's atoms. So the atoms are
first put in a canonical order, as for canonical SMILES (Weininger et al., J. Chem. Inf. Comput. Sci. 1989, 29, 97).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PRODUCT, REACTANTS = 0, 1


@dataclass(frozen=True, slots=True)
class TemplateAtom:
    """One atom of a template.

    Attributes:
        patterns: The atom's pattern in the product and in the reactants, without brackets and map number; empty if the
            atom is absent.
        molecule: Index of the reactant that contains the atom, -1 for none.
    """

    patterns: tuple[str, str]
    molecule: int


@dataclass(frozen=True, slots=True)
class TemplateGraph:
    """Both sides of a template in one graph, each bond with its pattern in the product and in the reactants."""

    atoms: tuple[TemplateAtom, ...]
    bonds: dict[tuple[int, int], tuple[str, str]]

    def neighbours(self) -> list[dict[int, tuple[str, str]]]:
        """For each atom, the bond patterns by neighbour."""
        table: list[dict[int, tuple[str, str]]] = [{} for _ in self.atoms]
        for (a, b), patterns in self.bonds.items():
            table[a][b] = table[b][a] = patterns
        return table


def write_retro_smarts(graph: TemplateGraph) -> str:
    """The canonical retro reaction SMARTS. The product's pattern is first; atoms of both sides are numbered from 1.

    Args:
        graph: The template.
    """
    neighbours = graph.neighbours()
    ranks = canonical_ranks([(not atom.patterns[PRODUCT], atom.patterns) for atom in graph.atoms], neighbours)
    order = sorted(range(len(graph.atoms)), key=ranks.__getitem__)
    numbers = {n: f":{k}" for k, n in enumerate((n for n in order if all(graph.atoms[n].patterns)), 1)}

    def molecule(side: int, members: list[int]) -> str:
        texts = {n: f"[{graph.atoms[n].patterns[side]}{numbers.get(n, '')}]" for n in members}
        bonds = {n: {m: both[side] for m, both in neighbours[n].items() if both[side]} for n in members}
        fragments = _fragments(texts, bonds)
        # Parentheses keep unconnected parts in one molecule (RDKit Book, component-level grouping).
        return fragments[0] if len(fragments) == 1 else f"({'.'.join(fragments)})"

    molecules: dict[int, list[int]] = {}
    for n in order:
        if graph.atoms[n].patterns[REACTANTS]:
            molecules.setdefault(graph.atoms[n].molecule, []).append(n)
    product = molecule(PRODUCT, [n for n in order if graph.atoms[n].patterns[PRODUCT]])
    return f"{product}>>{'.'.join(molecule(REACTANTS, members) for members in molecules.values())}"


def canonical_ranks(labels: Sequence[Any], neighbours: Sequence[dict[int, tuple[str, str]]]) -> list[int]:
    """A total order of atoms that does not depend on their numbering.

    Atoms are distinguished by their neighbours' ranks until this gives no new distinction. Then one of the first tied
    atoms is put before the others, and so on. Tied atoms are assumed to be equivalent, so any of them may be first.

    Args:
        labels: A sortable description of each atom.
        neighbours: For each atom, the bond's label by neighbour.
    """
    ranks = _refine(_dense(labels), neighbours)
    while (tied := min((rank for rank in ranks if ranks.count(rank) > 1), default=None)) is not None:
        first = ranks.index(tied)
        ranks = _refine(_dense([2 * rank - (n == first) for n, rank in enumerate(ranks)]), neighbours)
    return ranks


def _refine(ranks: list[int], neighbours: Sequence[dict[int, tuple[str, str]]]) -> list[int]:
    while True:
        keys = [
            (rank, sorted((label, ranks[m]) for m, label in bonds.items()))
            for rank, bonds in zip(ranks, neighbours, strict=True)
        ]
        refined = _dense(keys)
        if max(refined) == max(ranks):
            return refined
        ranks = refined


def _dense(keys: Sequence[Any]) -> list[int]:
    """The place of each key among the distinct keys in order."""
    distinct: list[Any] = []
    for key in sorted(keys):
        if not distinct or distinct[-1] != key:
            distinct.append(key)
    return [distinct.index(key) for key in keys]


def _fragments(texts: dict[int, str], bonds: dict[int, dict[int, str]]) -> list[str]:
    """SMARTS of each connected part, in depth-first order. Atoms that are earlier in `texts` are visited first."""
    order = {n: place for place, n in enumerate(texts)}
    children: dict[int, list[int]] = {n: [] for n in texts}
    closures: dict[int, str] = dict.fromkeys(texts, "")
    seen: set[int] = set()
    closed: set[frozenset[int]] = set()

    def walk(n: int, parent: int) -> None:
        seen.add(n)
        for m in sorted(bonds[n], key=order.__getitem__):
            if m not in seen:
                children[n].append(m)
                walk(m, n)
            elif m != parent and frozenset((n, m)) not in closed:
                closed.add(frozenset((n, m)))
                label = bonds[n][m] + (str(len(closed)) if len(closed) < 10 else f"%{len(closed)}")
                closures[n] += label
                closures[m] += label

    def text(n: int) -> str:
        branches = [bonds[n][m] + text(m) for m in children[n]]
        return texts[n] + closures[n] + "".join(f"({b})" for b in branches[:-1]) + "".join(branches[-1:])

    parts = []
    for n in texts:
        if n not in seen:
            walk(n, -1)
            parts.append(text(n))
    return parts

"""Extracts retro templates: the part of a reaction that changes, as a reaction SMARTS.

A template is the reaction centre (the atoms whose bonds, hydrogens or charge change), its neighbours with the multiple
bonds on them, and the leaving groups. Law et al., J. Chem. Inf. Model. 2009, 49, 593, and Coley et al., ACS Cent. Sci.
2017, 3, 434, extract templates in a similar way. A template counts only if it leads back to the reactants.

    >>> extract_template("CC(=O)NC", "CC(=O)O.CN").name
    'amide formation from a carboxylic acid'
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from rdkit import Chem

from flex_dspy.metrics.molecules import canonical_smiles
from flex_dspy.offline.application import apply_template
from flex_dspy.offline.mapping import AtomMap, MolGraph, map_atoms
from flex_dspy.offline.naming import name_template
from flex_dspy.offline.smarts import TemplateAtom, TemplateGraph, write_retro_smarts

# Number of atom mappings that are tried for a reaction.
_MAX_HYPOTHESES = 3
# Number of ways to write the stereochemistry of a centre that are tried.
_MAX_STEREO_VARIANTS = 27
_NO_STEREO = str.maketrans("", "", "@/\\")
_BOND_SYMBOLS = {0.0: "", 1.0: "-", 1.5: ":", 2.0: "=", 3.0: "#"}

_Place = tuple[int | None, int | None]
"""Where a template's atom is in the product, and where in the reactants."""


@dataclass(frozen=True, slots=True)
class Template:
    """One transformation, read from product to reactants.

    Attributes:
        smarts: Retro reaction SMARTS, the product's pattern first. Equal texts mean equal transformations.
        name: The class of the reaction in words, read forward as a chemist names it.
    """

    smarts: str
    name: str


def extract_template(product: str, reactants: str) -> Template | None:
    """The template of a reaction. It is checked that the template gives the reactants from the product.

    Args:
        product: SMILES of the product, no atom maps needed.
        reactants: SMILES of the reactants, dot-separated.

    Returns:
        The template, or None if a SMILES is bad, nothing changes, or no template leads back to the reactants. If only
        stereo marks differ, the template has no marks at its centre.
    """
    target = canonical_smiles(reactants)
    after, before = MolGraph.of(product), MolGraph.of(target or "")
    if target is None or after is None or before is None:
        return None
    plain: list[str] = []
    for atom_map in map_atoms(after, before)[:_MAX_HYPOTHESES]:
        for n, smarts in enumerate(_write_texts(after, before, atom_map)):
            outcomes = apply_template(smarts, product)
            if target in outcomes:
                return Template(smarts, name_template(smarts))
            if n == 0 and _flat(target) in map(_flat, outcomes):
                plain.append(smarts)
    # Records often drop or add a stereo mark far from the centre. This is no part of the transformation.
    return Template(plain[0], name_template(plain[0])) if plain else None


def _flat(smiles: str) -> str | None:
    """The SMILES without stereochemistry."""
    return canonical_smiles(smiles.translate(_NO_STEREO))


def reaction_centre(product: MolGraph, reactants: MolGraph, atom_map: AtomMap) -> set[int]:
    """Product atoms whose bonds, hydrogens or charge differ from those of the reactant atoms they come from."""
    origin = {j: i for i, j in atom_map.items()}

    def changes(i: int) -> bool:
        if i not in atom_map:
            return True
        j = atom_map[i]
        # A leaving neighbour is not in the product; it gets -1, because no index is negative.
        bonds = {origin.get(n, -1): order for n, order in reactants.bonds[j].items()}
        return (product.bonds[i], product.hydrogens[i], product.charges[i]) != (
            bonds,
            reactants.hydrogens[j],
            reactants.charges[j],
        )

    return {i for i in range(len(product.elements)) if changes(i)}


def _write_texts(product: MolGraph, reactants: MolGraph, atom_map: AtomMap) -> Iterator[str]:
    """Texts of the template of a mapped reaction: first without, then with stereo marks at the centre.

    RDKit compares the marks of the two sides. No marks, or equal marks, keep the configuration. Opposite marks invert
    it. A mark on only one side creates or destroys it (RDKit Book, 'Chirality and reactions'). The marks that a
    reaction needs are found by trying, because marks are relative to the order in which atoms are written.
    """
    centre = reaction_centre(product, reactants, atom_map)
    if not centre or not atom_map:
        return
    places = _places(product, reactants, atom_map, centre)
    atoms = tuple(_template_atom(product, reactants, place, place[0] in centre) for place in places)
    graph = TemplateGraph(atoms, _template_bonds(product, reactants, places))
    options = [_stereo_marks(product, reactants, place, centre) for place in places]
    for marks in itertools.islice(itertools.product(*options), _MAX_STEREO_VARIANTS):
        marked = tuple(_add_stereo_marks(atom, *mark) for atom, mark in zip(atoms, marks, strict=True))
        yield write_retro_smarts(replace(graph, atoms=marked))
    for bonds in _new_double_bonds(reactants, places, graph):
        yield write_retro_smarts(replace(graph, bonds=bonds))


def _new_double_bonds(
    reactants: MolGraph, places: list[_Place], graph: TemplateGraph
) -> Iterator[dict[tuple[int, int], tuple[str, str]]]:
    """The bonds, with both geometries of the first double bond that only the reactants have."""
    neighbours = graph.neighbours()
    for (a, b), (in_product, in_reactants) in graph.bonds.items():
        if in_reactants != "=" or in_product == "=":
            continue
        ends = places[a][1] or 0, places[b][1] or 0
        if reactants.molecule.GetBondBetweenAtoms(*ends).GetStereo() <= Chem.BondStereo.STEREOANY:
            continue
        sides = [[m for m in neighbours[n] if neighbours[n][m][1] == "-"] for n in (a, b)]
        if not all(sides):
            continue
        # Any substituent of an end can carry the mark. Choosing it by its pattern keeps the text canonical.
        first, second = (min(side, key=lambda m: graph.atoms[m].patterns) for side in sides)
        for marks in ("/", "/"), ("/", "\\"):
            pairs = tuple(sorted((a, first))), tuple(sorted((b, second)))
            yield graph.bonds | {
                (p[0], p[1]): (graph.bonds[p[0], p[1]][0], mark) for p, mark in zip(pairs, marks, strict=True)
            }
        return


def _places(product: MolGraph, reactants: MolGraph, atom_map: AtomMap, centre: set[int]) -> list[_Place]:
    """The atoms that a template shows."""
    region = centre | {n for i in centre for n in product.bonds[i]}
    # A neighbour such as a carbonyl carbon reacts as a group, so its multiply bonded heteroatom is included.
    region |= {
        n
        for i in region
        for n, order in product.bonds[i].items()
        if order in (2.0, 3.0) and n in atom_map and product.elements[n] != 6
    }
    leaving = set(range(len(reactants.elements))) - set(atom_map.values())
    shared: list[_Place] = [(i, atom_map.get(i)) for i in sorted(region)]
    return shared + [(None, j) for j in sorted(leaving)]


def _template_atom(product: MolGraph, reactants: MolGraph, place: _Place, in_centre: bool) -> TemplateAtom:
    i, j = place
    molecule = -1 if j is None else reactants.fragments[j]
    if i is None:
        return TemplateAtom(("", "" if j is None else _result_pattern(reactants, j, 0)), molecule)
    symbol = _symbol(product, i)
    if not in_centre:
        return TemplateAtom((symbol, symbol), molecule)
    charge = product.charges[i]
    pattern = f"{symbol};H{product.hydrogens[i]};D{len(product.bonds[i])};{charge:+d}"
    return TemplateAtom((pattern, "" if j is None else _result_pattern(reactants, j, charge)), molecule)


def _result_pattern(reactants: MolGraph, j: int, charge: int) -> str:
    """The pattern of an atom that a template makes. RDKit computes its hydrogens, except on aromatic nitrogen."""
    pattern = _symbol(reactants, j)
    if pattern == "n" and reactants.hydrogens[j]:
        pattern += ";H1"
    return pattern if reactants.charges[j] == charge else f"{pattern};{reactants.charges[j]:+d}"


def _symbol(graph: MolGraph, i: int) -> str:
    symbol: str = graph.molecule.GetAtomWithIdx(i).GetSymbol()
    return symbol.lower() if 1.5 in graph.bonds[i].values() else symbol


def _template_bonds(
    product: MolGraph, reactants: MolGraph, places: list[_Place]
) -> dict[tuple[int, int], tuple[str, str]]:
    index_before = {j: n for n, (_, j) in enumerate(places) if j is not None}
    index_after = {i: n for n, (i, _) in enumerate(places) if i is not None}
    after, before = _bonds_between(product, index_after), _bonds_between(reactants, index_before)
    bonds = {}
    for pair in sorted(after.keys() | before.keys()):
        pattern = _BOND_SYMBOLS.get(after.get(pair, 0.0), "~")
        if pair not in before:
            # A chain bond must not match a ring bond, because cutting that would leave the two parts connected.
            ends = (places[pair[0]][0] or 0, places[pair[1]][0] or 0)
            pattern += ";@" if product.molecule.GetBondBetweenAtoms(*ends).IsInRing() else ";!@"
        bonds[pair] = pattern, _BOND_SYMBOLS.get(before.get(pair, 0.0), "-")
    return bonds


def _bonds_between(graph: MolGraph, index: dict[int, int]) -> dict[tuple[int, int], float]:
    """Bond orders between some atoms of a graph, by the pair of their new indices."""
    return {
        (index[a], index[b]): order
        for a in index
        for b, order in graph.bonds[a].items()
        if b in index and index[a] < index[b]
    }


def _stereo_marks(product: MolGraph, reactants: MolGraph, place: _Place, centre: set[int]) -> list[tuple[str, str]]:
    """How an atom may be marked in the product and in the reactants."""
    i, j = place
    if i is not None and i not in centre:
        return [("", "")]
    in_product = i is not None and _is_stereo(product, i)
    in_reactants = j is not None and _is_stereo(reactants, j)
    if in_product:
        return [("", ""), ("@", "@@"), ("@", "@")] if in_reactants else [("", ""), ("@", "")]
    return [("", ""), ("", "@"), ("", "@@")] if in_reactants else [("", "")]


def _is_stereo(graph: MolGraph, i: int) -> bool:
    return bool(graph.molecule.GetAtomWithIdx(i).GetChiralTag() != Chem.ChiralType.CHI_UNSPECIFIED)


def _add_stereo_marks(atom: TemplateAtom, in_product: str, in_reactants: str) -> TemplateAtom:
    """The atom with its stereo marks, which stand between the symbol and the rest of a pattern."""
    product, reactant = (
        (head + mark + sep + rest) if head else ""
        for mark, (head, sep, rest) in zip(
            (in_product, in_reactants), (p.partition(";") for p in atom.patterns), strict=True
        )
    )
    return replace(atom, patterns=(product, reactant))

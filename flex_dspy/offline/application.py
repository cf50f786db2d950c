"""Putting a retro template to use on a product.

RDKit runs the reaction; what it leaves to its caller is done here: hydrogens that brackets hold fixed, double bonds
that lose their E/Z mark, results that are no molecules, templates that are no templates.

    >>> apply_template("[C:1](=[O:2])-;!@[N:3]>>[C:1](=[O:2])-[O].[N:3]", "CCC(=O)NC")
    ['CCC(=O)O.CN']
"""

from __future__ import annotations

import functools
from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

from rdkit import Chem
from rdkit.Chem import rdChemReactions

from flex_dspy.molecules import canonical_smiles

# Longer texts are no template; the bound keeps a damaged library from stalling the substructure search.
_LONGEST_SMARTS = 2_000
_MAX_OUTCOMES = 64
_MAX_MATCHES = 200

Site = frozenset[int]
"""Indices of the atoms of a product that a template's reaction centre falls on."""


class _Parsed(NamedTuple):
    """A template: the reaction, the product's pattern, how many atoms larger the reactants are, and the centre.

    The centre is given by its atoms' indices: in the pattern by map number, and in each of the reactants.
    """

    reaction: rdChemReactions.ChemicalReaction
    pattern: Chem.Mol
    growth: int
    centre: Mapping[int, int]
    places: tuple[tuple[int, ...], ...]


def apply_template(smarts: str, product: str) -> list[str]:
    """All reactant sets that a retro template gives for a product.

    Args:
        smarts: Retro reaction SMARTS. It may come from a language model: a bad one gives nothing.
        product: SMILES of the product.

    Returns:
        Distinct canonical SMILES of the valid reactant sets, sorted; empty where the template does not fit.
    """
    return sorted(disconnections(smarts, product))


def disconnections(smarts: str, product: str) -> dict[str, frozenset[Site]]:
    """What a retro template gives for a product, and where it cuts for that.

    Args:
        smarts: As for ``apply_template``.
        product: SMILES of the product.

    Returns:
        For each valid reactant set the sites in the product that lead to it; several where the product is symmetric.
    """
    parsed, whole = _parsed(smarts), _prepared(product)
    if parsed is None or whole is None or not whole.HasSubstructMatch(parsed.pattern):
        return {}
    try:
        results = parsed.reaction.RunReactants((whole,), maxProducts=_MAX_OUTCOMES)
    except (ValueError, RuntimeError):
        return {}
    # A ring cut at one bond only comes out as two parts that share atoms: then the count is wrong.
    size = whole.GetNumAtoms() + parsed.growth
    marked = [bond for bond in whole.GetBonds() if bond.GetStereo() > Chem.BondStereo.STEREOANY]
    found: dict[str, set[Site]] = {}
    seen: set[tuple[int, ...]] = set()
    for parts in results:
        centre = _centre(parts, parsed.places)
        # Results that differ in the order of like neighbours alone are one, unless that order is a configuration.
        if (centre in seen and "@" not in smarts) or sum(part.GetNumAtoms() for part in parts) != size:
            continue
        seen.add(centre)
        outcome = _valid_reactants(parts, marked)
        if outcome is not None:
            found.setdefault(outcome, set()).add(frozenset(centre))
    return {outcome: frozenset(sites) for outcome, sites in found.items()}


def _centre(parts: tuple[Chem.Mol, ...], places: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The product's atoms that a template's centre fell on; a result begins with the atoms that the template names."""
    return tuple(
        part.GetAtomWithIdx(place).GetIntProp("react_atom_idx")
        for part, named in zip(parts, places, strict=True)
        for place in named
    )


@functools.lru_cache(maxsize=8_000)
def generalized(smarts: str) -> str | None:
    """A retro template without the neighbours of its centre, so that it fits where only the centre is alike.

    Heteroatoms that are multiply bonded to the centre stay: without its oxygen a carbonyl is none.

    Returns:
        The general form; None where there is none, or the template is already general.
    """
    parsed = _parsed(smarts)
    if parsed is None:
        return None
    outside = {
        atom.GetAtomMapNum()
        for atom in parsed.pattern.GetAtoms()
        if atom.GetAtomMapNum() not in parsed.centre and not _belongs(atom, parsed.centre)
    }
    if not outside:
        return None
    product, *reactants = (_without(part, outside) for part in (parsed.pattern, *parsed.reaction.GetProducts()))
    return f"{product}>>{'.'.join(f'({part})' if '.' in part else part for part in reactants)}"


def _belongs(atom: Chem.Atom, centre: Mapping[int, int]) -> bool:
    return any(
        bond.GetBondType() in (Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)
        and bond.GetOtherAtom(atom).GetAtomMapNum() in centre
        for bond in atom.GetBonds()
    )


def _without(part: Chem.Mol, outside: Container[int]) -> str:
    rest = Chem.RWMol(part)
    for atom in reversed(list(part.GetAtoms())):
        if atom.GetAtomMapNum() in outside:
            rest.RemoveAtom(atom.GetIdx())
    return str(Chem.MolToSmarts(rest)).replace("&", ";")


@functools.lru_cache(maxsize=200_000)  # products alike have neighbours in common
def sites(smarts: str, product: str) -> frozenset[Site]:
    """Where in a product a retro template fits, a much cheaper question than what it gives there.

    Args:
        smarts: Retro reaction SMARTS.
        product: SMILES of the product.
    """
    parsed, whole = _parsed(smarts), molecule(product)
    if parsed is None or whole is None:
        return frozenset()
    matches = whole.GetSubstructMatches(parsed.pattern, uniquify=False, maxMatches=_MAX_MATCHES)
    places = tuple(parsed.centre.values())
    return frozenset(frozenset(match[place] for place in places) for match in matches)


@functools.lru_cache(maxsize=8_000)  # some 20 kB each
def molecule(smiles: str) -> Chem.Mol | None:
    """A molecule to look at, not to change; None for a bad SMILES."""
    return Chem.MolFromSmiles(smiles)


@functools.lru_cache(maxsize=8_000)
def _parsed(smarts: str) -> _Parsed | None:
    """A template ready for use; None for a bad text."""
    if len(smarts) > _LONGEST_SMARTS:
        return None
    try:
        reaction = rdChemReactions.ReactionFromSmarts(smarts)
        if reaction is None or reaction.GetNumReactantTemplates() != 1 or not reaction.GetNumProductTemplates():
            return None
        reaction.Initialize()
        if reaction.Validate(silent=True)[1]:
            return None
    except (ValueError, RuntimeError):
        return None
    pattern = reaction.GetReactantTemplate(0)
    growth = sum(part.GetNumAtoms() for part in reaction.GetProducts()) - pattern.GetNumAtoms()
    numbered = {atom.GetAtomMapNum(): atom for atom in pattern.GetAtoms() if atom.GetAtomMapNum()}
    # Atoms of the centre are those whose degree the template fixes; without any, the whole pattern is the centre.
    centre = {number: atom.GetIdx() for number, atom in numbered.items() if "&D" in atom.GetSmarts()}
    centre = centre or {number: atom.GetIdx() for number, atom in numbered.items()}
    places = tuple(
        tuple(atom.GetIdx() for atom in part.GetAtoms() if atom.GetAtomMapNum() in centre)
        for part in reaction.GetProducts()
    )
    return _Parsed(reaction, pattern, growth, centre, places)


@functools.lru_cache(maxsize=64)
def _prepared(product: str) -> Chem.Mol | None:
    """The product, its hydrogens free to follow the template.

    An atom written in brackets ([C@@H]) holds its hydrogens fixed, and a template that adds a bond there would break
    its valence. Where the valence model gives the same hydrogens anyway, let it.
    """
    whole = Chem.MolFromSmiles(product)
    if whole is None:
        return None
    for atom in whole.GetAtoms():
        if atom.GetNoImplicit() and not atom.GetIsAromatic() and not atom.GetNumRadicalElectrons():
            hydrogens = atom.GetTotalNumHs()
            atom.SetNoImplicit(False)
            atom.SetNumExplicitHs(0)
            atom.UpdatePropertyCache(strict=False)
            if atom.GetTotalNumHs() != hydrogens:
                atom.SetNumExplicitHs(hydrogens)
                atom.SetNoImplicit(True)
                atom.UpdatePropertyCache(strict=False)
    return whole


def _valid_reactants(parts: tuple[Chem.Mol, ...], marked: list[Chem.Bond]) -> str | None:
    """Canonical SMILES of a result, or None where it is no molecule; `marked` are the product's E/Z bonds."""
    try:
        for part in parts:
            Chem.SanitizeMol(part)
            if marked:
                _keep_double_bonds(part, marked)
        return canonical_smiles(".".join(Chem.MolToSmiles(part) for part in parts))
    except (ValueError, RuntimeError):
        return None


def _keep_double_bonds(part: Chem.Mol, marked: list[Chem.Bond]) -> None:
    """Carry the product's E/Z marks over to double bonds that lost theirs because a substituent was exchanged.

    RDKit keeps the mark of a double bond only while the substituents it refers to stay; what takes the place of one
    (the boron of a vinyl boronate) stands where that stood.
    """
    images = {
        atom.GetIntProp("react_atom_idx"): atom.GetIdx() for atom in part.GetAtoms() if atom.HasProp("react_atom_idx")
    }
    for bond in marked:
        _keep_double_bond(bond, part, images)
    Chem.SetDoubleBondNeighborDirections(part)


def _keep_double_bond(bond: Chem.Bond, part: Chem.Mol, images: dict[int, int]) -> None:
    begin, end = images.get(bond.GetBeginAtomIdx(), -1), images.get(bond.GetEndAtomIdx(), -1)
    image = part.GetBondBetweenAtoms(begin, end) if min(begin, end) >= 0 else None
    if image is None or image.GetBondType() != Chem.BondType.DOUBLE:
        return
    if image.GetStereo() != Chem.BondStereo.STEREONONE:
        return
    references = dict(zip((begin, end), bond.GetStereoAtoms(), strict=True))
    sides = {
        end: _substituent(origin, references[end], images, part.GetAtomWithIdx(end), other)
        for origin, end, other in ((bond.GetBeginAtom(), begin, end), (bond.GetEndAtom(), end, begin))
    }
    first, second = sides[image.GetBeginAtomIdx()], sides[image.GetEndAtomIdx()]
    if first is None or second is None:
        return
    trans = bond.GetStereo() in (Chem.BondStereo.STEREOE, Chem.BondStereo.STEREOTRANS)
    trans = trans ^ first[1] ^ second[1]
    image.SetStereoAtoms(first[0], second[0])
    image.SetStereo(Chem.BondStereo.STEREOTRANS if trans else Chem.BondStereo.STEREOCIS)


def _substituent(
    origin: Chem.Atom, reference: int, images: dict[int, int], atom: Chem.Atom, other_end: int
) -> tuple[int, bool] | None:
    """The substituent that stands for a reference substituent now, and whether it is on the other side."""
    around = {n.GetIdx() for n in atom.GetNeighbors()} - {other_end}
    if images.get(reference, -1) in around:
        return images[reference], False
    for neighbour in origin.GetNeighbors():
        if neighbour.GetIdx() != reference and images.get(neighbour.GetIdx(), -1) in around:
            return images[neighbour.GetIdx()], True
    return (around.pop(), False) if len(around) == 1 else None

"""Applies a retro template to a product.

RDKit runs the reaction. This module handles the cases that RDKit leaves to its caller: hydrogens that brackets hold
fixed, double bonds that lose their E/Z mark, results that are no molecules, and invalid templates.

    >>> apply_template("[C:1](=[O:2])-;!@[N:3]>>[C:1](=[O:2])-[O].[N:3]", "CCC(=O)NC")
    ['CCC(=O)O.CN']
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rdkit import Chem
from rdkit.Chem import rdChemReactions

from flex_dspy.metrics.molecules import canonical_smiles, read_molecule
from flex_dspy.offline.screening import Features, features_of
from flex_dspy.offline.template_limits import is_bounded

_MAX_OUTCOMES = 64
_MARK = re.compile(r"[@/\\]")
_STEREO = re.compile(r"\[[^]]*@|[/\\]")  # in SMARTS, an @ outside brackets means a ring bond

Site = tuple[tuple[int, str], ...]
"""The atoms of a product that a template's centre falls on, by symmetry class, each with what becomes of it there."""

Centre = tuple[tuple[int, str], ...]
"""Atoms of a reaction centre, by index, each with its patterns in the product and in the reactants."""


class RetroTemplate(NamedTuple):
    """A parsed template.

    Attributes:
        reaction: The reaction to run on a product.
        pattern: Substructure that the product must contain.
        growth: Number of atoms by which the reactants exceed the product.
        centre: The reaction centre in the pattern.
        places: The reaction centre in each of the reactants.
        stereo: Whether the template marks a configuration.
    """

    reaction: rdChemReactions.ChemicalReaction
    pattern: Chem.Mol
    growth: int
    centre: Centre
    places: tuple[Centre, ...]
    stereo: bool


def apply_template(smarts: str, product: str) -> list[str]:
    """All reactant sets that a retro template gives for a product.

    Args:
        smarts: Retro reaction SMARTS, perhaps from a language model. An invalid template gives no result. Neither does
            a template beyond the limits of ``flex_dspy.offline.template_limits``.
        product: SMILES of the product.

    Returns:
        Distinct canonical SMILES of the valid reactant sets, sorted; empty if the template does not fit.
    """
    return sorted(disconnections(smarts, product))


def disconnections(smarts: str, product: str, done: Mapping[Site, str] | None = None) -> dict[str, set[Site]]:
    """The reactant sets that a retro template gives for a product, and the sites where it cuts.

    Args:
        smarts: See ``apply_template``.
        product: SMILES of the product.
        done: Results by site of another template with the same general form. They are reused at these sites.

    Returns:
        For each valid reactant set, the sites that lead to it.
    """
    template, prepared = read_template(smarts), _prepare(product)
    if template is None or prepared is None:
        return {}
    whole, classes, marked = prepared
    matches = whole.GetSubstructMatches(template.pattern, uniquify=False, maxMatches=_MAX_OUTCOMES)
    if not matches:
        return {}
    sites = {tuple(sorted((classes[match[place]], role) for place, role in template.centre)) for match in matches}
    known = {} if template.stereo or done is None else {site: done[site] for site in sites & done.keys()}
    found: dict[str, set[Site]] = {}
    for site, outcome in known.items():
        found.setdefault(outcome, set()).add(site)
    if len(known) == len(sites):
        return found
    # A ring that is cut at only one bond gives two parts that share atoms. Then the count of atoms is wrong.
    size = whole.GetNumAtoms() + template.growth
    for parts in _run(template, whole):
        site = tuple(sorted((classes[atom], role) for atom, role in _centre(parts, template.places)))
        if sum(part.GetNumAtoms() for part in parts) != size or site in known:
            continue
        result = _valid_reactants(parts, marked)
        if result is None:
            continue
        found.setdefault(result, set()).add(site)
        # Results that differ in the order of like neighbours alone are one, unless that order is a configuration.
        if not template.stereo:
            known[site] = result
    return found


@functools.lru_cache(maxsize=64)
def product_features(product: str) -> Features | None:
    """The features of a product that templates may need (see ``flex_dspy.offline.screening``); None for a bad SMILES.

    Args:
        product: SMILES of the product.
    """
    prepared = _prepare(product)
    return None if prepared is None else features_of(prepared.whole)


def _run(template: RetroTemplate, whole: Chem.Mol) -> Sequence[tuple[Chem.Mol, ...]]:
    try:
        results: Sequence[tuple[Chem.Mol, ...]] = template.reaction.RunReactants((whole,), maxProducts=_MAX_OUTCOMES)
    except (ValueError, RuntimeError):
        return ()
    return results


def _centre(parts: tuple[Chem.Mol, ...], places: Sequence[Sequence[tuple[int, str]]]) -> Iterator[tuple[int, str]]:
    """The product's atoms that match a template's centre. A result begins with the atoms that the template names."""
    for part, named in zip(parts, places, strict=True):
        for place, role in named:
            yield part.GetAtomWithIdx(place).GetIntProp("react_atom_idx"), role


@functools.lru_cache(maxsize=16_000)
def read_template(smarts: str) -> RetroTemplate | None:
    """A template ready for use; None for an invalid text, or if the cost of the template has no bound."""
    if not is_bounded(smarts):
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
    pattern, parts = reaction.GetReactantTemplate(0), reaction.GetProducts()
    growth = sum(part.GetNumAtoms() for part in parts) - pattern.GetNumAtoms()
    after = {number: _becomes(atom) for part in parts for atom in atoms_of(part) if (number := atom.GetAtomMapNum())}
    roles = {
        number: f"{_smarts_without_number(atom)}>>{after.get(number, '')}"
        for atom in atoms_of(pattern)
        if (number := atom.GetAtomMapNum())
    }
    # The centre consists of the atoms whose degree the template fixes. If there are none, it is the whole pattern.
    roles = {number: role for number, role in roles.items() if "&D" in role.partition(">>")[0]} or roles
    centre, *places = (
        tuple((n, roles[number]) for n, atom in enumerate(atoms_of(part)) if (number := atom.GetAtomMapNum()) in roles)
        for part in (pattern, *parts)
    )
    return RetroTemplate(reaction, pattern, growth, centre, tuple(places), _STEREO.search(smarts) is not None)


def atoms_of(molecule: Chem.Mol) -> list[Chem.Atom]:
    """The atoms of a molecule, three times as fast as ``GetAtoms``, which checks the size at each step.

    Args:
        molecule: A molecule or a pattern that is not changed meanwhile.
    """
    return [molecule.GetAtomWithIdx(n) for n in range(molecule.GetNumAtoms())]


def _smarts_without_number(atom: Chem.Atom) -> str:
    return str(atom.GetSmarts()).replace(f":{atom.GetAtomMapNum()}]", "]")


def _becomes(atom: Chem.Atom) -> str:
    """A description of a reactant atom, including the bonded atoms that the product lacks."""
    new = sorted(_smarts_without_number(other) for other in atom.GetNeighbors() if not other.GetAtomMapNum())
    return ".".join([_smarts_without_number(atom), *new])


class _Prepared(NamedTuple):
    """A product ready for templates: the molecule, its atoms' symmetry classes, its bonds with an E/Z mark."""

    whole: Chem.Mol
    classes: Sequence[int]
    marked: Sequence[Chem.Bond]


@functools.lru_cache(maxsize=64)
def _prepare(product: str) -> _Prepared | None:
    """The product with hydrogens that may follow the template; None for a bad SMILES.

    An atom in brackets ([C@@H]) has a fixed number of hydrogens, and a template that adds a bond there would break its
    valence. If the valence model gives the same number of hydrogens, the number is not fixed.
    """
    whole = read_molecule(product)
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
    marked = [bond for bond in whole.GetBonds() if bond.GetStereo() > Chem.BondStereo.STEREOANY]
    return _Prepared(whole, tuple(Chem.CanonicalRankAtoms(whole, breakTies=False)), marked)


def _valid_reactants(parts: tuple[Chem.Mol, ...], marked: Sequence[Chem.Bond]) -> str | None:
    """Canonical SMILES of a result, or None if it is no molecule; `marked` are the product's E/Z bonds."""
    try:
        for part in parts:
            Chem.SanitizeMol(part)
            if marked:
                _keep_double_bonds(part, marked)
        written = [Chem.MolToSmiles(part) for part in parts]
    except (ValueError, RuntimeError):
        return None
    # A stereo mark may remain without a configuration. Reading the text again removes it. Other texts are canonical.
    read = [canonical_smiles(text) if _MARK.search(text) else text for text in written]
    return None if None in read else ".".join(sorted(".".join(filter(None, read)).split(".")))


def _keep_double_bonds(part: Chem.Mol, marked: Sequence[Chem.Bond]) -> None:
    """Copy the product's E/Z marks to double bonds that lost their mark because a substituent was replaced.

    RDKit keeps the mark of a double bond only as long as the substituents that it refers to stay. A new substituent
    (the boron of a vinyl boronate) takes the position of the old one.
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
    """The substituent that now replaces a reference substituent, and whether it is on the other side."""
    around = {n.GetIdx() for n in atom.GetNeighbors()} - {other_end}
    if images.get(reference, -1) in around:
        return images[reference], False
    for neighbour in origin.GetNeighbors():
        if neighbour.GetIdx() != reference and images.get(neighbour.GetIdx(), -1) in around:
            return images[neighbour.GetIdx()], True
    return (around.pop(), False) if len(around) == 1 else None

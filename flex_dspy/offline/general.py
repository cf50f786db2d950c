"""The general form of a retro template: its centre without the neighbours. It fits if only the centre is alike.

>>> generalize(extract_template("CC(=O)NC", "CC(=O)O.CN").smarts)
'[C;H0;D3;+0:1](-;!@[N;H1;D2;+0:2])=[O:3]>>[C:1](=[O:3])-[O].[N:2]'
"""

from __future__ import annotations

import functools
import re

from rdkit import Chem

from flex_dspy.offline.application import RetroTemplate, atoms_of, read_template
from flex_dspy.offline.smarts import PRODUCT, REACTANTS, TemplateAtom, TemplateGraph, write_retro_smarts
from flex_dspy.offline.template_limits import MAX_ATOMS

_NUMBER = re.compile(r":\d+(?=]$)")
_MULTIPLE = (Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)


@functools.lru_cache(maxsize=16_000)
def generalize(smarts: str) -> str | None:
    """The general form of a retro template; equal forms have equal texts.

    Heteroatoms with a multiple bond to the centre stay, because a carbonyl needs its oxygen.

    Args:
        smarts: Retro reaction SMARTS.

    Returns:
        The form; None for a template that is invalid, already general, very large, or has implicit bonds.
    """
    template = read_template(smarts)
    if template is None:
        return None
    centre = {template.pattern.GetAtomWithIdx(place).GetAtomMapNum() for place, _ in template.centre}
    outside = {
        atom.GetAtomMapNum()
        for atom in atoms_of(template.pattern)
        if atom.GetAtomMapNum() not in centre and not _belongs(atom, centre)
    }
    graph = _graph(template, outside) if outside else None
    return None if graph is None or len(graph.atoms) > MAX_ATOMS else write_retro_smarts(graph)


def _belongs(atom: Chem.Atom, centre: set[int]) -> bool:
    return any(
        bond.GetBondType() in _MULTIPLE and bond.GetOtherAtom(atom).GetAtomMapNum() in centre
        for bond in atom.GetBonds()
    )


def _graph(template: RetroTemplate, outside: set[int]) -> TemplateGraph | None:
    """Both sides of a template without some atoms; None if a bond is implicit."""
    patterns: dict[object, list[str]] = {}
    bonds: dict[tuple[object, object], list[str]] = {}
    molecules: dict[object, int] = {}
    for n, part in enumerate((template.pattern, *template.reaction.GetProducts()), -1):
        side = PRODUCT if n < 0 else REACTANTS
        # The key of an atom is its map number. The key of an atom that only the reactants have is its index there.
        atoms = atoms_of(part)
        names = [atom.GetAtomMapNum() or (n, index) for index, atom in enumerate(atoms)]
        for name, atom in zip(names, atoms, strict=True):
            if name not in outside:
                patterns.setdefault(name, ["", ""])[side] = _pattern(atom.GetSmarts())
                molecules[name] = n
        for bond in part.GetBonds():
            ends = names[bond.GetBeginAtomIdx()], names[bond.GetEndAtomIdx()]
            if outside.isdisjoint(ends):
                text = bond.GetSmarts().replace("&", ";")
                if not text:
                    return None
                key = ends if ends in bonds or ends[::-1] not in bonds else ends[::-1]
                bonds.setdefault(key, ["", ""])[side] = text
    order = {name: place for place, name in enumerate(patterns)}
    return TemplateGraph(
        tuple(TemplateAtom((own[0], own[1]), molecules[name]) for name, own in patterns.items()),
        {(order[a], order[b]): (own[0], own[1]) for (a, b), own in bonds.items()},
    )


def _pattern(smarts: str) -> str:
    return _NUMBER.sub("", smarts).strip("[]").replace("&", ";")

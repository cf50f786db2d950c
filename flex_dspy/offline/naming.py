"""Names a retro template by its reaction class, read forward as a chemist does.

The classes are the ones that medicinal chemists use most (Roughley and Jordan, J. Med. Chem. 2011, 54, 3451). The name
depends only on the template's text, so equal templates have equal names. A template of no class is named by its bonds.

    >>> name_template("[C:1]-[N;H1;D2;+0:2]-;!@[C;H0;D3;+0:3]=[O:4]>>[C:1]-[N:2].[C:3](=[O:4])-[O]")
    'amide formation from a carboxylic acid'
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from rdkit import Chem
from rdkit.Chem import rdChemReactions

from flex_dspy.metrics.molecules import canonical_smiles

UNNAMED = "rearrangement"
_METALS = {5: "Suzuki coupling", 50: "Stille coupling", 30: "Negishi coupling", 14: "Hiyama coupling"}
_HALOGENS = {9: "fluor", 17: "chlor", 35: "brom", 53: "iod"}
# Leaving groups as SMILES, with the open valence filled by hydrogen.
_GROUPS = {
    "O": "hydroxide",
    "F": "fluoride",
    "Cl": "chloride",
    "Br": "bromide",
    "I": "iodide",
    "CS(=O)O": "mesylate",
    "Cc1ccc(S(=O)O)cc1": "tosylate",
    "O=S(O)C(F)(F)F": "triflate",
    "CS(=O)(=O)O": "mesylate",
    "Cc1ccc(S(=O)(=O)O)cc1": "tosylate",
    "O=S(=O)(O)C(F)(F)F": "triflate",
    "CO": "methoxide",
    "CCO": "ethoxide",
    "C": "methyl",
    "CC": "ethyl",
    "CC(C)C": "tert-butyl",
    "Cc1ccccc1": "benzyl",
    "COc1ccc(C)cc1": "4-methoxybenzyl",
    "CC(C)(C)OC=O": "Boc",
    "O=COCc1ccccc1": "Cbz",
    "O=COCC1c2ccccc2-c2ccccc21": "Fmoc",
    "CC=O": "acetyl",
    "O=CC(F)(F)F": "trifluoroacetyl",
    "c1ccc(C(c2ccccc2)c2ccccc2)cc1": "trityl",
    "C1CCOCC1": "tetrahydropyranyl",
    "C[SiH](C)C": "trimethylsilyl",
    "C[SiH](C)C(C)(C)C": "tert-butyldimethylsilyl",
    "CC(C)[SiH](C(C)C)C(C)C": "triisopropylsilyl",
    "CC(C)(C)[SiH](c1ccccc1)c1ccccc1": "tert-butyldiphenylsilyl",
}


@dataclass(frozen=True, slots=True)
class _BondChanges:
    """The changes of a template, by map number; a `_ReactionSide` holds the atoms of one side.

    Attributes:
        before: The reactants' atoms by map number. Atoms without a map number have a negative number.
        after: The product's atoms, by the same numbers.
        made: Bonds that only the product has.
        reordered: Bonds that both sides have, with different orders.
        leaving: SMILES of each group that the product has lost, and the map number of the atom that it was bonded to.
    """

    before: _ReactionSide
    after: _ReactionSide
    made: tuple[tuple[int, int], ...]
    reordered: tuple[tuple[int, int], ...]
    leaving: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class _ReactionSide:
    elements: dict[int, int]
    bonds: dict[int, dict[int, float]]

    def neighbours(self, n: int, element: int, order: float | None = None) -> list[int]:
        """Atoms of one element that are bonded to an atom, with the given bond order or with any order."""
        bonds = self.bonds.get(n, {})
        return [m for m, o in bonds.items() if self.elements[m] == element and order in (None, o)]

    def aromatic(self, n: int) -> bool:
        """Whether an atom has an aromatic bond in the template."""
        return 1.5 in self.bonds.get(n, {}).values()

    def acyl(self, n: int) -> bool:
        """Whether an atom is a carbon with a double bond to oxygen or sulphur."""
        double = self.neighbours(n, 8, 2.0) or self.neighbours(n, 16, 2.0)
        return self.elements.get(n) == 6 and bool(double)


@functools.lru_cache(maxsize=50_000)
def name_template(smarts: str) -> str:
    """The reaction class of a retro template.

    Args:
        smarts: Retro reaction SMARTS, well formed.
    """
    change = _change(rdChemReactions.ReactionFromSmarts(smarts))
    for rule in (_ring_formation, _coupling, _bond_making, _deprotection, _redox):
        name = rule(change)
        if name is not None:
            return name
    return _by_bonds(change)


def _ring_formation(change: _BondChanges) -> str | None:
    """The class of a reaction that makes two or more bonds at once and closes a ring."""
    rings = [pair for pair in change.made if _is_in_ring(change.after, *pair)]
    if len(change.made) < 2 or not rings:
        return None
    aromatic = any(change.after.aromatic(n) for pair in rings for n in pair)
    return f"{'heteroarene' if aromatic else 'ring'} formation: {_bond_names(change, change.made)}"


def _is_in_ring(side: _ReactionSide, start: int, end: int) -> bool:
    """Whether a second path joins two bonded atoms, so that their bond is in a ring of the template."""
    seen, queue = {start}, [m for m in side.bonds[start] if m != end]
    while queue:
        n = queue.pop()
        if n == end:
            return True
        if n not in seen:
            seen.add(n)
            queue.extend(side.bonds[n])
    return False


def _coupling(change: _BondChanges) -> str | None:
    """The class of a reaction that makes carbon-carbon bonds, by the metal or the multiple bond that takes part."""
    pairs = [pair for pair in change.made if {change.after.elements[n] for n in pair} == {6}]
    if not pairs:
        return None
    lost = {number: smiles for smiles, number in change.leaving}
    for n in pairs[0]:
        for element, name in _METALS.items():
            if change.before.neighbours(n, element):
                return name
    metal = any(change.before.neighbours(n, 12) or change.before.neighbours(n, 3) for n in pairs[0])
    if metal:
        return "addition of a Grignard or lithium reagent"
    if any(change.before.neighbours(n, 15) for n in pairs[0]):
        return "Wittig or Horner-Wadsworth-Emmons olefination"
    return _coupling_without_metal(change, pairs[0], lost)


def _coupling_without_metal(change: _BondChanges, pair: tuple[int, int], lost: dict[int, str]) -> str | None:
    after, before = change.after, change.before
    aromatic = [n for n in pair if after.aromatic(n)]
    if any(3.0 in after.bonds[n].values() for n in pair) and len(lost) == 1:
        return "Sonogashira coupling" if aromatic else "alkynylation"
    if any(n in lost for n in aromatic) and any(2.0 in after.bonds[n].values() for n in pair):
        return "Heck coupling"
    if any(n not in lost for n in aromatic) and any(after.acyl(n) and n in lost for n in pair):
        return "Friedel-Crafts acylation"
    if after.bonds[pair[0]][pair[1]] == 2.0 and any(lost.get(n) == "O" and before.acyl(n) for n in pair):
        return "aldol or Knoevenagel condensation"
    return None


def _bond_making(change: _BondChanges) -> str | None:
    """The class of a reaction that makes one bond between carbon or sulphur and a heteroatom."""
    if len(change.made) != 1:
        return None
    pair = sorted(change.made[0], key=lambda n: (change.after.elements[n] != 16, change.after.elements[n]))
    electrophile, nucleophile = pair
    elements = change.after.elements[electrophile], change.after.elements[nucleophile]
    if elements[0] == 16 and elements[1] in (7, 8) and len(change.before.neighbours(electrophile, 8, 2.0)) > 1:
        return "sulfonamide formation" if elements[1] == 7 else "sulfonate formation"
    if elements[1] == 16 or elements[0] == 16:
        return _carbon_heteroatom(change, *sorted(pair, key=lambda n: change.after.elements[n]))
    return _carbon_heteroatom(change, electrophile, nucleophile) if elements[0] == 6 else None


def _carbon_heteroatom(change: _BondChanges, carbon: int, other: int) -> str | None:
    element = change.after.elements[other]
    source = _source(change, carbon)
    if element in _HALOGENS:
        return f"{_HALOGENS[element]}ination{source}"
    if element not in (7, 8, 16) or change.after.elements[carbon] != 6:
        return None
    if change.after.acyl(carbon):
        return _acylation(change, carbon, element) + source
    letter = {7: "N", 8: "O", 16: "S"}[element]
    lost_carbonyl = any(s == "O" and n == carbon for s, n in change.leaving) and change.before.acyl(carbon)
    if lost_carbonyl and element == 7:
        return "reductive amination" if change.after.bonds[carbon][other] == 1.0 else "condensation to C=N"
    if change.after.aromatic(carbon):
        return f"{letter}-arylation{source}"
    return f"{letter}-alkylation{source}" if any(n == carbon for _, n in change.leaving) else None


def _acylation(change: _BondChanges, carbon: int, element: int) -> str:
    nitrogen = len(change.after.neighbours(carbon, 7))
    oxygen = len(change.after.neighbours(carbon, 8, 1.0))
    if nitrogen > 1:
        return "urea formation"
    if nitrogen and oxygen:
        return "carbamate formation"
    return {7: "amide formation", 8: "ester formation"}.get(element, "thioester formation")


def _source(change: _BondChanges, carbon: int) -> str:
    """The electrophile, if the leaving group shows it."""
    groups = [_GROUPS.get(smiles) for smiles, number in change.leaving if number == carbon]
    if len(groups) != 1 or groups[0] is None:
        return ""
    if change.before.acyl(carbon):
        return {"hydroxide": " from a carboxylic acid", "chloride": " from an acid chloride"}.get(
            groups[0], " from an ester" if groups[0].endswith("oxide") else f" from an acyl {groups[0]}"
        )
    kind = "aryl" if change.before.aromatic(carbon) else "alkyl"
    return f" from an {kind} {groups[0]}" if groups[0] != "hydroxide" else " from an alcohol"


def _deprotection(change: _BondChanges) -> str | None:
    """The class of a reaction in which a heteroatom loses a group and gets a hydrogen instead."""
    if change.made or len(change.leaving) != 1 or change.reordered:
        return None
    smiles, number = change.leaving[0]
    element = change.after.elements[number]
    letter = {7: "N", 8: "O", 16: "S"}.get(element)
    if letter is None:
        return None
    if element == 8 and any(change.after.acyl(n) for n in change.after.bonds.get(number, {})):
        return f"ester hydrolysis ({_GROUPS[smiles]} ester)" if smiles in _GROUPS else "ester hydrolysis"
    return f"{letter}-{_GROUPS[smiles]} removal" if smiles in _GROUPS else f"{letter}-deprotection"


def _redox(change: _BondChanges) -> str | None:
    """The class of a reaction that changes bond orders or oxygen atoms but keeps the skeleton."""
    orders = [
        (change.before.bonds[a][b], change.after.bonds[a][b], {change.after.elements[n] for n in (a, b)})
        for a, b in change.reordered
    ]
    nitrogen = [n for _, n in change.leaving if change.after.elements[n] == 7]
    if nitrogen and change.before.neighbours(nitrogen[0], 8, 2.0) and not change.made:
        return "nitro reduction"
    if nitrogen and any({c for c in smiles if c.isalpha()} <= {"N", "H"} for smiles, _ in change.leaving):
        return "azide reduction"
    if any(before > after and kinds == {6, 8} for before, after, kinds in orders):
        return "carbonyl reduction to an alcohol"
    if any(before < after and kinds == {6, 8} for before, after, kinds in orders):
        return "alcohol oxidation"
    if any(before == 3.0 and kinds == {6, 7} for before, after, kinds in orders):
        return "nitrile reduction or addition"
    if any(before > after and kinds == {6} for before, after, kinds in orders):
        return "hydrogenation of a carbon-carbon bond" if not change.made else "addition to a carbon-carbon bond"
    if len(change.leaving) == 1 and not change.made and change.leaving[0][0] in ("F", "Cl", "Br", "I"):
        return "dehalogenation"
    if [n for n in change.after.elements if n < 0 and change.after.elements[n] == 8]:
        return "oxidation"
    oxide = [n for smiles, n in change.leaving if smiles == "O" and change.after.elements[n] == 6]
    return "reduction to CH" if oxide and not change.made else None


def _by_bonds(change: _BondChanges) -> str:
    parts = []
    if change.made:
        parts.append(f"{_bond_names(change, change.made)} bond formation")
    if change.leaving:
        lost = sorted({_GROUPS.get(smiles, smiles) for smiles, _ in change.leaving})
        parts.append(f"loss of {', '.join(lost)}")
    if change.reordered and not parts:
        parts.append(f"{_bond_names(change, change.reordered)} bond order change")
    return "; ".join(parts) or UNNAMED


def _bond_names(change: _BondChanges, pairs: tuple[tuple[int, int], ...]) -> str:
    table = Chem.GetPeriodicTable()
    symbols = [sorted(table.GetElementSymbol(change.after.elements[n]) for n in pair) for pair in pairs]
    return ", ".join(sorted("-".join(pair) for pair in symbols))


# --- reading a template -----------------------------------------------------------------------------------------------


def _change(reaction: rdChemReactions.ChemicalReaction) -> _BondChanges:
    before, leaving = _read(list(reaction.GetProducts()))
    after, _ = _read(list(reaction.GetReactants()))
    shared = {frozenset((a, b)) for a in after.bonds for b in after.bonds[a]}
    pairs = sorted(tuple(sorted(pair)) for pair in shared)
    made = tuple((a, b) for a, b in pairs if b not in before.bonds.get(a, {}))
    reordered = tuple((a, b) for a, b in pairs if (a, b) not in made and before.bonds[a][b] != after.bonds[a][b])
    return _BondChanges(before, after, made, reordered, leaving)


def _read(parts: list[Chem.Mol]) -> tuple[_ReactionSide, tuple[tuple[str, int], ...]]:
    elements: dict[int, int] = {}
    bonds: dict[int, dict[int, float]] = {}
    leaving: list[tuple[str, int]] = []
    for part in parts:
        numbers = [atom.GetAtomMapNum() or -1 - len(elements) - atom.GetIdx() for atom in part.GetAtoms()]
        elements.update(zip(numbers, (atom.GetAtomicNum() for atom in part.GetAtoms()), strict=True))
        for bond in part.GetBonds():
            a, b = numbers[bond.GetBeginAtomIdx()], numbers[bond.GetEndAtomIdx()]
            order = bond.GetBondTypeAsDouble()
            bonds.setdefault(a, {})[b] = bonds.setdefault(b, {})[a] = order
        leaving.extend(_leaving_groups(part, numbers))
    return _ReactionSide(elements, bonds), tuple(sorted(leaving))


def _leaving_groups(part: Chem.Mol, numbers: list[int]) -> list[tuple[str, int]]:
    """Groups of connected atoms without a map number, as SMILES, each with the mapped atom that it is bonded to."""
    plain = Chem.RWMol()
    for atom in part.GetAtoms():
        copy = Chem.Atom(atom.GetAtomicNum())
        copy.SetFormalCharge(atom.GetFormalCharge())
        copy.SetIsAromatic(atom.GetIsAromatic())
        plain.AddAtom(copy)
    holders: dict[int, int] = {}
    for bond in part.GetBonds():
        a, b = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if numbers[a] < 0 and numbers[b] < 0:
            plain.AddBond(a, b, bond.GetBondType())
        elif numbers[a] < 0 or numbers[b] < 0:
            holders[a if numbers[a] < 0 else b] = max(numbers[a], numbers[b])
    groups = []
    for atoms in Chem.GetMolFrags(plain):
        held = [holders[n] for n in atoms if n in holders]
        if held:
            smiles = Chem.MolFragmentToSmiles(plain, atoms)
            groups.append((canonical_smiles(smiles) or smiles, held[0]))
    return groups

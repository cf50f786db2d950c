"""Finds templates that cannot fit a product, by their texts alone. Most templates at hand need no RDKit then.

A template needs some atoms and bonds: an amide carbon without hydrogens and with three neighbours, bonded to a
nitrogen. A product that lacks one of them has no match, so the search for the pattern is left out. This is the idea of
screening by fragments in databases of molecules (Daylight Theory Manual, chapter 6). The answer is on the safe side: a
part of the text that this module does not understand is no need.

    >>> product = features_of(Chem.MolFromSmiles("CCC(=O)NC"))
    >>> needs_of("[C;H0;D3;+0:1](-;!@[N;H1;D2;+0:2])=[O:3]>>[C:1](=[O:3])-[O].[N:2]") <= product
    True
    >>> needs_of("[C;H0;D3;+0:1](-;!@[O;H0;D2;+0:2])=[O:3]>>[C:1](=[O:3])-[O].[O:2]") <= product
    False
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from rdkit import Chem

Features = frozenset[str]
"""Atoms and bonds, as texts: "C;H0;D3;+0 1" (at least one such atom), "C;H0;D3;+0 -!@ N" (such a bond)."""

# Only symbols whose meaning in SMARTS is plain: the element, aromatic if in small letters.
_ATOM = re.compile(r"(?P<symbol>Br|Cl|[BCNOFPSIbcnops])@{0,2}(?P<rest>;H\d;D\d;[+-]\d)?(?P<number>:\d+)?")
# A bond between two atoms that stand side by side in the text, perhaps with a parenthesis between them.
_BOND = re.compile(r"\[([^\[\]]*)\]\(?([-=#:])(?:;(!?@))?(?=\[([^\[\]]*)\])")
_BRACKET = re.compile(r"\[([^\[\]]*)\]")
_SYMBOLS = {
    Chem.BondType.SINGLE: "-",
    Chem.BondType.DOUBLE: "=",
    Chem.BondType.TRIPLE: "#",
    Chem.BondType.AROMATIC: ":",
}


@functools.lru_cache(maxsize=20_000)
def needs_of(smarts: str) -> Features:
    """Features of every product that a template fits.

    Args:
        smarts: Retro reaction SMARTS, the product's pattern first; it need not be valid.
    """
    return frozenset(_needs(smarts, _names))


@functools.lru_cache(maxsize=20_000)
def centre_needs_of(smarts: str) -> Features:
    """Features of every product that a template's general form fits (see ``flex_dspy.offline.general``).

    Args:
        smarts: Retro reaction SMARTS of the template.
    """
    return frozenset(_needs(smarts, _centre_names))


def features_of(molecule: Chem.Mol) -> Features:
    """All features of a molecule that a template may need.

    Args:
        molecule: The molecule that the templates are matched with.
    """
    names = [_names_of_atom(atom) for atom in molecule.GetAtoms()]
    bonds = {
        (names[begin], _SYMBOLS.get(bond.GetBondType(), "?"), bond.IsInRing(), names[end])
        for bond in molecule.GetBonds()
        for begin, end in (
            (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()),
            (bond.GetEndAtomIdx(), bond.GetBeginAtomIdx()),
        )
    }
    pairs = (
        f"{one} {symbol}{ring} {other}"
        for first, symbol, in_ring, second in bonds
        for ring in ("", "@" if in_ring else "!@")
        for one in first
        for other in second
    )
    return frozenset([*_counts(names), *pairs])


def _needs(smarts: str, names: Callable[[str], tuple[str, ...]]) -> Iterator[str]:
    pattern = smarts.partition(">")[0]
    if "$" in pattern:  # the atoms of a recursive pattern may be atoms of the pattern around it
        return
    yield from _counts(map(names, _BRACKET.findall(pattern)))
    for first, symbol, ring, second in _BOND.findall(pattern):
        for one, other in zip(names(first)[-1:], names(second)[-1:], strict=False):
            yield f"{one} {symbol}{ring} {other}"


def _counts(names: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """For each name the numbers of atoms up to that of the atoms that have it."""
    counts = Counter(name for own in names for name in own)
    return (f"{name} {number + 1}" for name, count in counts.items() for number in range(count))


def _names(pattern: str) -> tuple[str, ...]:
    """The names of an atom of a template, the most exact last; none if the pattern is not plain."""
    found = _ATOM.fullmatch(pattern)
    if found is None:
        return ()
    symbol, rest = found["symbol"], found["rest"]
    return (symbol, symbol + rest) if rest else (symbol,)


def _centre_names(pattern: str) -> tuple[str, ...]:
    """The names of an atom that stays in the general form; none for others."""
    found = _ATOM.fullmatch(pattern)
    return _names(pattern) if found is not None and found["rest"] and found["number"] else ()


def _names_of_atom(atom: Chem.Atom) -> tuple[str, str]:
    symbol = atom.GetSymbol().lower() if atom.GetIsAromatic() else atom.GetSymbol()
    hydrogens = atom.GetTotalNumHs(includeNeighbors=True)
    return symbol, f"{symbol};H{hydrogens};D{atom.GetDegree()};{atom.GetFormalCharge():+d}"

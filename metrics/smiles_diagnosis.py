"""Explains why a SMILES cannot be read, in words that help to write a better SMILES."""

from __future__ import annotations

import re
from typing import Any

from rdkit import Chem

from flex_dspy.metrics.molecules import MAX_ATOMS, MAX_LENGTH, is_too_large, read_molecule

_SHOWN = 120
_UNKNOWN = re.compile(r"[^A-Za-z0-9\[\]().=#$:/\\@+\-%*~><]")
_RING_BOND = re.compile(r"%\(\d+\)|%\d\d|\d")
_BRACKET_ATOM = re.compile(r"\[[^\[\]]*\]")

_UNSANITIZED = Chem.SmilesParserParams()
_UNSANITIZED.sanitize = False  # type: ignore[assignment, unused-ignore]


def why_unreadable(smiles: str) -> str:
    """One sentence on the first fault of a SMILES that RDKit refuses; positions and atoms count from 1."""
    if is_too_large(smiles):
        return f"The SMILES is too large: at most {MAX_LENGTH:,} characters and {MAX_ATOMS:,} atoms are read."
    fault = _bad_character(smiles) or _find_unbalanced(smiles) or _open_ring(smiles)
    if fault:
        return fault
    for part in smiles.split("."):
        fault = _fault_of_part(part)
        if fault:
            return fault
    return "The SMILES cannot be read."


def shorten(smiles: str) -> str:
    """A SMILES for a message: the whole text, or its beginning if it is long."""
    return smiles if len(smiles) <= _SHOWN else f"{smiles[:_SHOWN]}..."


def _bad_character(smiles: str) -> str | None:
    if re.search(r"\s", smiles):
        return "The answer is not one SMILES: write the reactants only, joined by dots, without any other text."
    found = _UNKNOWN.search(smiles)
    return f"No SMILES has the character {found[0]!r} (position {found.start() + 1})." if found else None


def _find_unbalanced(smiles: str) -> str | None:
    """The first bracket or parenthesis without a partner."""
    for opening, closing, name in (("[", "]", "bracket"), ("(", ")", "parenthesis")):
        open_at: list[int] = []
        for position, letter in enumerate(smiles, start=1):
            if letter == opening:
                open_at.append(position)
            elif letter == closing and open_at:
                open_at.pop()
            elif letter == closing:
                return f"The {name} closed at position {position} was never opened."
        if open_at:
            return f"The {name} opened at position {open_at[-1]} is never closed."
    return None


def _open_ring(smiles: str) -> str | None:
    """The ring bond that is opened and never closed, if any."""
    # Digits in brackets are isotopes, hydrogens, charges or atom maps. Replacing them by blanks keeps the positions.
    outside = _BRACKET_ATOM.sub(lambda atom: " " * len(atom[0]), smiles)
    open_at: dict[str, int] = {}
    for found in _RING_BOND.finditer(outside):
        if open_at.pop(found[0], None) is None:
            open_at[found[0]] = found.start() + 1
    if not open_at:
        return None
    label, position = next(iter(open_at.items()))
    return f"The ring bond {label} opened at position {position} is never closed."


def _fault_of_part(part: str) -> str | None:
    """What is wrong with one molecule, or None if nothing is."""
    if not part:
        return "There is an empty molecule: a dot at an end, or two dots in a row."
    molecule = read_molecule(part, _UNSANITIZED)
    if molecule is None:
        return f"The SMILES syntax of {shorten(part)} is wrong: look for an unknown atom or a misplaced bond."
    problems = Chem.DetectChemistryProblems(molecule)
    return _in_words(molecule, problems[0], part) if problems else None


def _in_words(molecule: Chem.Mol, problem: Any, part: str) -> str:
    kind = problem.GetType()
    if kind == "KekulizeException":
        atoms = ", ".join(str(index + 1) for index in problem.GetAtomIndices())
        return (
            f"The aromatic atoms {atoms} of {shorten(part)} cannot be given alternating double bonds: "
            "a hydrogen on a ring nitrogen may be missing, or an atom should not be aromatic."
        )
    number = problem.GetAtomIdx() + 1
    symbol = molecule.GetAtomWithIdx(problem.GetAtomIdx()).GetSymbol()
    if kind == "AtomValenceException":
        return f"Atom {number} ({symbol}) of {shorten(part)} has more bonds than its valence allows."
    return f"Atom {number} ({symbol}) of {shorten(part)} is written as aromatic but is in no aromatic ring."

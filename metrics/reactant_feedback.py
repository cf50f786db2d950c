"""Describes the faults of a set of reactants without revealing the right set.

A remark names only molecules of the answer, in the answer's own spelling.
"""

from __future__ import annotations

from collections import Counter

from rdkit import Chem

from flex_dspy.metrics.molecules import canonical_smiles

_PERIODIC_TABLE = Chem.GetPeriodicTable()


def whats_wrong(product: str | None, reference: str, answer: str, text: str) -> str:
    """The remarks on a readable, wrong answer.

    Args:
        product: Canonical SMILES of the product, None if it is not known.
        reference: Canonical SMILES of the reactants, joined by dots.
        answer: Canonical SMILES of the answer's reactants, joined by dots.
        text: The answer as written; the feedback quotes its words.
    """
    if answer == product:
        return "Wrong. The answer is the product itself: name the molecules that it is made from."
    wanted, given = Counter(reference.split(".")), Counter(answer.split("."))
    remarks = [_overlap(wanted, given, text), _stereo(wanted - given, given - wanted)]
    if product is not None:
        remarks += [_product_among(product, given), _missing_atoms(product, answer)]
    if not wanted & given and not remarks[1]:
        remarks.append(_isomers(reference, answer))
    return " ".join(["Wrong.", *filter(None, remarks)])


def _overlap(wanted: Counter[str], given: Counter[str], text: str) -> str:
    """Which of the answer's molecules are right, and whether there are too many or too few."""
    right, total, extra = wanted & given, wanted.total(), given.total() - wanted.total()
    if right == wanted:
        # Naming the right molecules here would reveal the whole reference.
        return f"Every reactant of the reference is there, but there {_are_reactants(extra)} too many."
    number = f" There {_are_reactants(extra)} too many." if extra > 0 else ""
    number = f" There {_are_reactants(-extra)} too few." if extra < 0 else number
    if not right:
        return f"No reactant is right.{number}"
    is_right = "is" if right.total() == 1 else "are"
    kept = _as_written(right, text)
    keep = f": keep {' and '.join(kept)}." if kept else "."
    rest = "" if number else " The other is not." if total - right.total() == 1 else " The others are not."
    return f"{right.total()} of {total} reactants {is_right} right{keep}{number}{rest}"


def _are_reactants(count: int) -> str:
    return "is one reactant" if count == 1 else f"are {count} reactants"


def _as_written(right: Counter[str], text: str) -> list[str]:
    """The right molecules in the answer's own spelling, so that the feedback adds no information."""
    left, written = right.copy(), []
    for part in text.split("."):
        canonical = canonical_smiles(part)
        if canonical is not None and left[canonical] > 0:
            left[canonical] -= 1
            written.append(part)
    return written


def _stereo(wanted: Counter[str], given: Counter[str]) -> str | None:
    """A remark if the sets differ only in stereochemistry."""
    if not wanted or _flat(wanted) != _flat(given):
        return None
    known, marked = (sum(map(_stereo_marks, counter.elements())) for counter in (wanted, given))
    if marked < known:
        return "The connectivity is right, but stereochemistry that the reference gives is left out."
    if marked > known:
        return "The connectivity is right, but stereochemistry is given that the reference leaves open."
    return "The connectivity is right, but the stereochemistry is wrong: compare it with the product's."


def _flat(molecules: Counter[str]) -> Counter[str]:
    return Counter(
        Chem.MolToSmiles(Chem.MolFromSmiles(smiles), isomericSmiles=False) for smiles in molecules.elements()
    )


def _stereo_marks(smiles: str) -> int:
    """Number of stereocentres and double bonds with a specified configuration."""
    found = Chem.FindPotentialStereo(Chem.MolFromSmiles(smiles))
    return sum(element.specified == Chem.StereoSpecified.Specified for element in found)


def _product_among(product: str, given: Counter[str]) -> str | None:
    return "One of the reactants is the product itself." if product in given else None


def _missing_atoms(product: str, answer: str) -> str | None:
    """Elements of which the product has more atoms than the reactants."""
    missing = heavy_atoms(product) - heavy_atoms(answer)
    if not missing:
        return None
    counts = ", ".join(
        f"{count} {_PERIODIC_TABLE.GetElementName(element).lower()}" for element, count in sorted(missing.items())
    )
    return f"Atoms of the product come from nowhere: {counts}."


def heavy_atoms(smiles: str) -> Counter[int]:
    """Number of atoms by atomic number, without hydrogen and wildcards."""
    atoms = Chem.MolFromSmiles(smiles).GetAtoms()
    return Counter(atom.GetAtomicNum() for atom in atoms if atom.GetAtomicNum() > 1)


def _isomers(reference: str, answer: str) -> str | None:
    if heavy_atoms(reference) != heavy_atoms(answer):
        return None
    return "The atoms are those of the reference, but bonded or split differently."

"""The RDKit calls that metrics, data and retrieval share, such as from SMILES to canonical SMILES.

Everything here is deterministic and quiet: RDKit's own log is silenced, a bad SMILES gives ``None``, and so does one
that is too large for its time to be bounded.
"""

from __future__ import annotations

import functools
import re
import string

import numpy as np
import numpy.typing as npt
from rdkit import Chem, rdBase
from rdkit.Chem import rdFingerprintGenerator

rdBase.DisableLog("rdApp.*")

# The > of a dative bond, as in N->[Pt], separates nothing.
_REACTION_MARK = re.compile(r"(?<!-)>")
# No side of a reaction of USPTO-50k has more than 97 atoms. RDKit's time grows with the square of the atoms: the worst
# texts found within both bounds (a torus of 625 fused atoms, a ring of 1,000 aromatic atoms) take it 0.2 s. Within the
# first alone it is 2 s (a ring of 4,000).
MAX_LENGTH = 4_000
MAX_ATOMS = 1_000

_ATOM = re.compile(r"\[[^\[\]]*\]|Br|Cl|[A-Zbcnops*]")
_ATOM_MAP = re.compile(r":\d+(?=\])")
FINGERPRINT_BITS = 2048
_MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=FINGERPRINT_BITS, includeChirality=True)


def is_too_large(smiles: str) -> bool:
    """Whether a SMILES has more than ``MAX_LENGTH`` characters or ``MAX_ATOMS`` atoms. Such a text is never parsed."""
    if len(smiles) <= MAX_ATOMS:  # no atom takes less than a character
        return False
    return len(smiles) > MAX_LENGTH or len(_ATOM.findall(smiles)) > MAX_ATOMS


def read_molecule(smiles: str, parameters: Chem.SmilesParserParams | None = None) -> Chem.Mol | None:
    """The molecules of a SMILES, or None where RDKit cannot parse it or it is too large.

    Args:
        smiles: One or more molecules, dot-separated.
        parameters: RDKit's settings of the parser; None for its own choice.
    """
    if is_too_large(smiles):
        return None
    try:
        return Chem.MolFromSmiles(smiles) if parameters is None else Chem.MolFromSmiles(smiles, parameters)
    except UnicodeEncodeError:  # half of a surrogate pair is no text to RDKit
        return None


def canonical_smiles(smiles: str) -> str | None:
    """Canonical isomeric SMILES without atom maps, or None where RDKit cannot parse it or it is too large.

    Dot-separated parts come out sorted, so the text of a set of reactants identifies the set.

    Args:
        smiles: One or more molecules, dot-separated.
    """
    return None if is_too_large(smiles) else _canonical_smiles(smiles)


@functools.lru_cache(maxsize=100_000)
def _canonical_smiles(smiles: str) -> str | None:
    # Maps go before RDKit reads, or explicit hydrogens and stale stereo marks stay and need a second reading.
    # Checked on the 89,722 sides of USPTO-50k: the same text as with a second reading, in a third of the time.
    molecule = read_molecule(_ATOM_MAP.sub("", smiles)) if smiles.strip() else None
    return None if molecule is None else ".".join(sorted(Chem.MolToSmiles(molecule).split(".")))


def reaction_parts(text: str) -> list[str]:
    """A reaction SMILES at its separators: reactants, reagents and products, if it is one.

    Example:
        >>> reaction_parts("N->[Pt](Cl)Cl.N>>N->[Pt](<-N)(Cl)Cl")
        ['N->[Pt](Cl)Cl.N', '', 'N->[Pt](<-N)(Cl)Cl']
    """
    return _REACTION_MARK.split(text)


def fingerprint(smiles: str) -> npt.NDArray[np.uint64] | None:
    """Morgan fingerprint (radius 2, chirality, 2048 bits) as 32 words, or None for a bad or too large SMILES.

    Source: Rogers and Hahn, J. Chem. Inf. Model. 2010, 50, 742.
    """
    return None if is_too_large(smiles) else _fingerprint(smiles)


@functools.lru_cache(maxsize=200_000)
def _fingerprint(smiles: str) -> npt.NDArray[np.uint64] | None:
    molecule = read_molecule(smiles)
    if molecule is None:
        return None
    bits = _MORGAN.GetFingerprintAsNumPy(molecule)
    return np.packbits(bits).view(np.uint64)


_BRACKET_ATOM = re.compile(r"\[[^\]]*\]")
_RING_BOND = re.compile(r"%\d\d|\d")
_LETTERS = str.maketrans(
    string.ascii_uppercase, string.ascii_lowercase, "".join(map(chr, range(128))).translate(
        str.maketrans("", "", string.ascii_letters + ".*")
    ) + "hH",
)  # fmt: skip


def smiles_sketch(smiles: str) -> str:
    """A short text that all SMILES of a molecule share: the letters except hydrogen, and the number of rings.

    Checked on USPTO-50k: the same for the 39,860 training products as written, atom-mapped, and canonical.
    """
    rings = len(_RING_BOND.findall(_BRACKET_ATOM.sub("", smiles)))
    return f"{''.join(sorted(smiles.strip().translate(_LETTERS)))}{rings}"


def problem_fingerprint(problem: str) -> npt.NDArray[np.uint64] | None:
    """The fingerprint of a problem that is one molecule's SMILES, or None: the ``structural`` view.

    RDKit reads the first word of a sentence as SMILES, and the rest as the molecule's name.

    Args:
        problem: Any text; white space around it does not count.
    """
    return fingerprint(problem.strip()) if len(problem.split()) == 1 else None

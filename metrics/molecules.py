"""The RDKit calls that metrics, data and retrieval share, such as the conversion to canonical SMILES.

All functions are deterministic. RDKit's log is turned off. A bad SMILES gives ``None``, and so does a SMILES that is so
large that the computing time has no bound.
"""

from __future__ import annotations

import functools
import re
import string

import numpy as np
import numpy.typing as npt
import rdkit
from rdkit import Chem, rdBase
from rdkit.Chem import rdFingerprintGenerator

from flex_dspy.core.array_file import ArrayFile, cache_file

rdBase.DisableLog("rdApp.*")

# The > of a dative bond, as in N->[Pt], is no separator.
_REACTION_MARK = re.compile(r"(?<!-)>")
# No side of a reaction of USPTO-50k has more than 97 atoms. RDKit's time grows with the square of the number of atoms.
# The slowest texts found within both bounds (a torus of 625 fused atoms, a ring of 1,000 aromatic atoms) take 0.2 s.
# With only the first bound it would be 2 s (a ring of 4,000).
MAX_LENGTH = 4_000
MAX_ATOMS = 1_000

_ATOM = re.compile(r"\[[^\[\]]*\]|Br|Cl|[A-Zbcnops*]")
_ATOM_MAP = re.compile(r":\d+(?=\])")
FINGERPRINT_BITS = 2048
FINGERPRINT_FORMAT = 1  # to be raised with any change of the fingerprint, because computed ones are kept in a file
_MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=FINGERPRINT_BITS, includeChirality=True)


def is_too_large(smiles: str) -> bool:
    """Whether a SMILES has more than ``MAX_LENGTH`` characters or ``MAX_ATOMS`` atoms. Such a text is never parsed."""
    if len(smiles) <= MAX_ATOMS:  # an atom takes at least one character
        return False
    return len(smiles) > MAX_LENGTH or len(_ATOM.findall(smiles)) > MAX_ATOMS


def read_molecule(smiles: str, parameters: Chem.SmilesParserParams | None = None) -> Chem.Mol | None:
    """The molecules of a SMILES, or None if RDKit cannot parse it or it is too large.

    Args:
        smiles: One or more molecules, dot-separated.
        parameters: Settings of RDKit's parser; None for the defaults.
    """
    if is_too_large(smiles):
        return None
    try:
        return Chem.MolFromSmiles(smiles) if parameters is None else Chem.MolFromSmiles(smiles, parameters)
    except UnicodeEncodeError:  # RDKit does not accept half of a surrogate pair
        return None


def canonical_smiles(smiles: str) -> str | None:
    """Canonical isomeric SMILES without atom maps, or None if RDKit cannot parse it or it is too large.

    Dot-separated parts are sorted, so that equal sets of reactants have equal texts.

    Args:
        smiles: One or more molecules, dot-separated.
    """
    return None if is_too_large(smiles) else _canonical_smiles(smiles)


@functools.lru_cache(maxsize=100_000)
def _canonical_smiles(smiles: str) -> str | None:
    # Maps are removed before RDKit reads: explicit hydrogens and stale stereo marks would need a second reading.
    # Checked on the 89,722 sides of USPTO-50k: the same text as with a second reading, in a third of the time.
    molecule = read_molecule(_ATOM_MAP.sub("", smiles)) if smiles.strip() else None
    return None if molecule is None else ".".join(sorted(Chem.MolToSmiles(molecule).split(".")))


def reaction_parts(text: str) -> list[str]:
    """Split a reaction SMILES at its separators into reactants, reagents and products.

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
    return _fingerprints().find(smiles, _compute_fingerprint)


@functools.cache
def _fingerprints() -> ArrayFile:
    name = f"flex-dspy-fingerprints-{FINGERPRINT_FORMAT}-rdkit-{rdkit.__version__}.rows"
    return ArrayFile(cache_file(name), FINGERPRINT_BITS // 64)


def _compute_fingerprint(smiles: str) -> npt.NDArray[np.uint64] | None:
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
    """A short text that is the same for all SMILES of a molecule: the letters except hydrogen, and the number of rings.

    On USPTO-50k it is the same for the 39,860 training products as written, atom-mapped, and canonical.
    """
    rings = len(_RING_BOND.findall(_BRACKET_ATOM.sub("", smiles)))
    return f"{''.join(sorted(smiles.strip().translate(_LETTERS)))}{rings}"


def problem_fingerprint(problem: str) -> npt.NDArray[np.uint64] | None:
    """The fingerprint of a problem that is the SMILES of one molecule, else None. It is the ``structural`` view.

    A sentence gives None: RDKit would read its first word as SMILES and the rest as the molecule's name.

    Args:
        problem: Any text; white space around it is ignored.
    """
    return fingerprint(problem.strip()) if len(problem.split()) == 1 else None

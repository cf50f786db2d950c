"""The size of a molecule that is read at all."""

import zlib

import dspy
import pytest
from rdkit import Chem

from flex_dspy.metrics.molecules import (
    FINGERPRINT_FORMAT,
    MAX_ATOMS,
    MAX_LENGTH,
    canonical_smiles,
    fingerprint,
    is_too_large,
    read_molecule,
)
from flex_dspy.metrics.smiles_diagnosis import why_unreadable
from flex_dspy.metrics.uspto50k import uspto50k
from flex_dspy.offline.mapping import MolGraph
from flex_dspy.offline.templates import extract_template


@pytest.mark.parametrize("atom", ["C", "Cl.", "[13CH4].", "c1ccccc1", "[Na+].[Cl-]."])
def test_atoms_are_counted_as_rdkit_counts_them(atom: str) -> None:
    each = Chem.MolFromSmiles(atom.strip(".")).GetNumAtoms()
    most = min(MAX_ATOMS // each, MAX_LENGTH // len(atom))
    text = (atom * most).rstrip(".")
    assert not is_too_large(text)
    assert read_molecule(text).GetNumAtoms() == each * most
    assert is_too_large(atom * (most + 1) + "C")


@pytest.mark.parametrize("text", ["C" * (MAX_ATOMS + 1), "[13CH3+]" * 600, "C=" * MAX_LENGTH, "C" * 1_000_000])
def test_what_is_too_large_is_no_molecule(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Chem, "MolFromSmiles", lambda *_: pytest.fail("parsed"))
    assert canonical_smiles(text) is None
    assert fingerprint(text) is None
    assert read_molecule(text) is None
    assert MolGraph.of(text) is None
    assert "at most 4,000 characters and 1,000 atoms" in why_unreadable(text)


def test_the_metric_says_that_an_answer_is_too_large() -> None:
    gold = dspy.Example(product="CC(=O)NC", reactants="CC(=O)O.CN")
    result = uspto50k(gold, dspy.Prediction(reactants="C" * (MAX_ATOMS + 1)), pred_name="actor")
    assert result.score == 0
    assert "at most 4,000 characters and 1,000 atoms" in result.feedback


def test_a_reaction_of_hundreds_of_atoms_has_no_template() -> None:
    assert extract_template("C" * 301, "C" * 300 + "N") is None


def test_kept_fingerprints_belong_to_this_code() -> None:
    # Computed fingerprints are kept in a file. If this number differs, raise FINGERPRINT_FORMAT, and write the new one.
    found = fingerprint("C[C@H](N)C(=O)Nc1ccccc1")
    assert found is not None
    assert (FINGERPRINT_FORMAT, zlib.crc32(found.tobytes())) == (1, 3666313916)

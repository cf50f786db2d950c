from pathlib import Path

import pytest

from flex_dspy.core.errors import DataError
from flex_dspy.data import uspto50k
from flex_dspy.metrics.molecules import canonical_smiles

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "uspto50k"
needs_real_data = pytest.mark.skipif(not REAL.exists(), reason="the real data is not here")


@pytest.mark.parametrize(
    "cells",
    [
        {"id": "r1", "class": "2", "reactants>reagents>production": "NCC.CC(=O)Cl>CCN(CC)CC>CCNC(C)=O"},
        {
            "id": "r1",
            "class": 2,
            "reactants": "[NH2:1][CH2:2][CH3:3].[CH3:4][C:5](=[O:6])[Cl:7]",
            "product": "[NH:1]([CH2:2][CH3:3])[C:5]([CH3:4])=[O:6]",
        },
        {"question": "CCNC(=O)C", "answer": "CC(=O)Cl.NCC", "id": "r1", "class": "2"},
    ],
)
def test_every_known_shape_gives_the_same_example(cells):
    example = uspto50k.to_example(cells)
    assert (example.product, example.reactants) == ("CCNC(C)=O", "CC(=O)Cl.CCN")
    assert (example.id, example.reaction_class) == ("r1", "2")
    assert list(example.inputs().keys()) == ["product"]


def test_a_dative_bond_is_no_separator():
    reaction = "N->[Pt](Cl)Cl.N>>N->[Pt](<-N)(Cl)Cl"
    example = uspto50k.to_example({"reactants>reagents>production": reaction})
    assert example.product == canonical_smiles("N->[Pt](<-N)(Cl)Cl")
    assert example.reactants == canonical_smiles("N->[Pt](Cl)Cl.N")


def test_class_and_id_may_be_missing():
    one = uspto50k.to_example({"question": "CCNC(=O)C", "answer": "CC(=O)Cl.NCC"})
    other = uspto50k.to_example({"question": "CC(=O)NCC", "answer": "NCC.CC(=O)Cl"})
    assert one.reaction_class is None
    assert one.id == other.id


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({}, "no reaction"),
        ({"reactants>reagents>production": "CC>CC"}, "two >"),
        ({"reactants>reagents>production": ">>CC"}, "no reactants"),
        ({"reactants": "CCO", "product": "CC("}, "the product cannot be read"),
        ({"reactants": "OCC", "product": "CCO"}, "what it is made from"),
        ({"reactants": 1, "product": "CCO"}, "no reaction"),
    ],
)
def test_a_bad_row_is_refused_with_the_reason(cells, words):
    with pytest.raises(ValueError, match=words):
        uspto50k.to_example(cells)


def test_an_unknown_word_names_the_shipped_splits():
    with pytest.raises(DataError, match="one of train, val, test"):
        uspto50k.load("training")


@needs_real_data
def test_the_real_validation_split_loads_whole():
    loaded = uspto50k.load(REAL / "valid.csv.gz", limit=300)
    assert not loaded.bad_rows
    assert len({example.id for example in loaded.examples}) == 300
    for example in loaded.examples:
        assert ":" not in example.product + example.reactants
        assert canonical_smiles(example.reactants) == example.reactants


@needs_real_data
def test_the_small_real_file_loads_whole():
    assert len(uspto50k.load(REAL / "flex_train50.jsonl").examples) == 50

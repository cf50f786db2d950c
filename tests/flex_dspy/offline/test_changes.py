"""What a reaction changes, and how alike two changes are."""

import zlib

import numpy as np

from flex_dspy.offline.changes import (
    FORMAT,
    GAINED,
    LOST,
    PRODUCT,
    REACTANTS,
    change,
    changes,
    count_common,
    likeness,
    size,
)

BENZOIC = "O=C(O)c1ccccc1", "COC(=O)c1ccccc1"
TOLUIC = "Cc1ccccc1C(=O)O", "COC(=O)c1ccccc1C"
ACETIC = "CC(=O)O", "COC(C)=O"


def likenesses(side):
    found = [change(*reaction)[side] for reaction in (BENZOIC, TOLUIC, ACETIC)]
    return likeness(np.array(found[:1]), np.array(found))[0]


def test_likeness_falls_with_what_differs_and_how_near_it_is():
    for side in (LOST, GAINED):
        same, near, far = likenesses(side)
        assert same == 1 > near > far > 0


def test_a_change_is_where_the_reaction_is():
    """Of two acids in one product, the one that was made."""
    diacid = "O=C(O)CCc1ccc(C(=O)O)cc1"
    aliphatic, aromatic = changes(diacid, ["COC(=O)CCc1ccc(C(=O)O)cc1", "COC(=O)c1ccc(CCC(=O)O)cc1"])[:, LOST]
    benzoic = change(*BENZOIC)[LOST]
    to_aliphatic, to_aromatic = likeness(benzoic[None], np.array([aliphatic, aromatic]))[0]
    assert to_aromatic > to_aliphatic


def test_what_is_lost_was_in_the_product_and_what_is_gained_is_in_the_reactants():
    sides = change(*BENZOIC)
    assert (sides[LOST] & ~sides[PRODUCT] == 0).all()
    assert (sides[GAINED] & ~sides[REACTANTS] == 0).all()
    assert (size(sides) > 0).all()


def test_nothing_is_like_nothing():
    assert (size(change("CCO", "CCO")[:2]) == 0).all()
    nothing = change("CCO", "CCO")[LOST][None]
    assert likeness(nothing, nothing) == 0
    assert (count_common(nothing, change(*ACETIC)) == 0).all()


def test_what_cannot_be_read_is_no_change():
    assert change("xyz", "CCO") is None
    assert change("CCO", "xyz") is None
    assert (size(changes("CCO", ["xyz"])) == 0).all()


def test_kept_changes_belong_to_this_code() -> None:
    # Computed changes are kept in a file. If this number differs, raise FORMAT in changes.py, and write the new one.
    found = change("CC(=O)Nc1ccccc1", "CC(=O)O.Nc1ccccc1")
    assert found is not None
    assert (FORMAT, zlib.crc32(found.tobytes())) == (1, 3714817062)

from collections import Counter

import pytest

from flex_dspy.data import uspto50k
from flex_dspy.data.building_blocks import BLOCKS
from flex_dspy.data.generate_reactions import PER_SHARE, as_csv, generate, main
from flex_dspy.data.reaction_types import REACTION_TYPES
from flex_dspy.metrics.molecules import canonical_smiles


@pytest.fixture(scope="module")
def shipped():
    return {split: uspto50k.load(split) for split in uspto50k.SHIPPED}


def test_the_generator_makes_the_shipped_files(monkeypatch, capsys):
    splits = generate()
    for split, path in uspto50k.SHIPPED.items():
        assert as_csv(split, splits[split]).encode() == path.read_bytes()
    monkeypatch.setattr("flex_dspy.data.generate_reactions.generate", lambda: splits)
    assert main(["--check"]) == 0
    splits["val"].pop()
    assert main(["--check"]) == 1
    assert "reactions_val.csv is not what" in capsys.readouterr().err


def test_the_loader_reads_every_shipped_row(shipped):
    assert {split: len(data.examples) for split, data in shipped.items()} == {
        split: per_share * sum(kind.share for kind in REACTION_TYPES) for split, per_share in PER_SHARE.items()
    }
    assert all(not data.bad_rows for data in shipped.values())
    ids = [example.id for data in shipped.values() for example in data.examples]
    assert len(set(ids)) == len(ids)


def test_no_two_examples_share_a_product(shipped):
    products = [example.product for data in shipped.values() for example in data.examples]
    assert len(set(products)) == len(products)


def test_every_type_is_in_every_split_and_the_order_is_mixed(shipped):
    names = {kind.name for kind in REACTION_TYPES}
    for data in shipped.values():
        assert {example.reaction_class for example in data.examples} == names
    counts = Counter(example.reaction_class for example in shipped["train"].examples)
    assert counts == {kind.name: kind.share * PER_SHARE["train"] for kind in REACTION_TYPES}
    assert len({example.reaction_class for example in shipped["train"].examples[:25]}) > 10


def test_products_keep_the_stereocentres_of_their_blocks(shipped):
    examples = [example for data in shipped.values() for example in data.examples]
    chiral = [example for example in examples if "@" in example.reactants]
    assert len(chiral) > 40
    assert all("@" in example.product for example in chiral)


def test_building_blocks_are_readable_and_distinct():
    canonical = [canonical_smiles(block) for block in BLOCKS]
    assert None not in canonical
    assert len(set(canonical)) == len(canonical)

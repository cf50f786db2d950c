"""Templates that are told apart from their texts: none that fits is lost."""

import functools
import itertools
import re
from pathlib import Path

import pytest
from rdkit import Chem

from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.offline.application import product_features, read_template
from flex_dspy.offline.general import generalize
from flex_dspy.offline.screening import centre_needs_of, features_of, needs_of

SHIPPED = Path(__file__).parents[3] / "exps/uspto50k.json"
AMIDE = "[C:1]-[N;H1;D2;+0:3]-;!@[C;H0;D3;+0:2](=[O:4])-[C:5]>>[C:1]-[N:3].[C:2](=[O:4])(-[C:5])-[O]"
# Products with what the shipped ones lack or hardly have.
ODD_PRODUCTS = ["[2H]C([2H])([2H])NC(C)=O", "C[N+](C)(C)CC(=O)[O-]", "[O-][n+]1ccccc1", "C[Si](C)(C)c1cc[nH]c1", "CI"]


@pytest.fixture(scope="module")
def shipped():
    """The templates of the shipped library, and every tenth of its products."""
    library = ExperienceLibrary.load(SHIPPED)
    rules = [rule.text for entry in library for rule in entry.rules]
    templates = sorted({smarts for text in rules for smarts in re.findall(r"`(\S+>>\S+)`", text)})
    return templates, sorted(precedent.problem for entry in library for precedent in entry.precedents)[::10]


def fits(smarts, product):
    return molecule_of(product).HasSubstructMatch(read_template(smarts).pattern)


molecule_of = functools.cache(Chem.MolFromSmiles)


def test_no_template_that_fits_is_left_out_and_few_others_stay(shipped):
    templates, products = shipped
    kept = right = 0
    for smarts, product in itertools.product(templates, [*products, *ODD_PRODUCTS]):
        stays = needs_of(smarts) <= product_features(product)
        kept += stays
        right += fits(smarts, product)
        assert stays or not fits(smarts, product), (smarts, product)
    assert 0 < right <= kept < 3 * right


def test_no_general_form_that_fits_is_left_out(shipped):
    templates, products = shipped
    forms = [(smarts, form) for smarts in templates if (form := generalize(smarts))]
    for (smarts, form), product in itertools.product(forms, products[::3]):
        stays = (centre_needs_of(smarts) | needs_of(form)) <= product_features(product)
        assert stays or not fits(form, product), (form, product)


@pytest.mark.parametrize(
    ("pattern", "product"),
    [
        ("[C,N;H3;D1;+0:1]-[C:2]", "CC"),
        ("[*:1]-[C:2]", "NC"),
        ("[#6:1]-[C:2]", "CC"),
        ("[!N:1]-[C:2]", "CC"),
        ("[13C:1]-[O:2]", "[13CH3]O"),
        ("[C:1]-,=[O:2]", "C=O"),
        ("[C:1]~[O:2]", "C=O"),
        ("[C:1]!-[O:2]", "C=O"),
        ("[C;$([C:1]=[O:2]):3]", "C=O"),
        ("C(=[O:1])[N:2]", "NC=O"),
        ("[C:1]1-[C:2]-[C:3]-1", "C1CC1"),
        ("[C:1].[N;H2;D1;+0:2]", "CCN"),
        ("[C@;H1;D3;+0:1](-[O:2])-[N:3]", "C[C@H](O)N"),
        ("[c;H1;D2;+0:1]:[n;H0;D2;+0:2]", "n1ccccc1"),
        ("[H:1]-[C:2]", "[2H]C"),
        ("[A:1]-[C:2]", "OC"),
        ("[Si:1]-[C:2]", "C[SiH3]"),
    ],
)
def test_a_pattern_that_fits_is_never_left_out(pattern, product):
    molecule = Chem.MolFromSmiles(product)
    assert molecule.HasSubstructMatch(Chem.MolFromSmarts(pattern))
    assert needs_of(f"{pattern}>>[C:1]") <= features_of(molecule)


@pytest.mark.parametrize(
    ("product", "lacks"),
    [
        ("CC(=O)OC", "nitrogen"),
        ("CC(=O)N(C)C", "the hydrogen"),
        ("O=C1CCCN1", "a bond outside of rings"),
        ("CNC=O", "the third neighbour"),
        ("CC(=S)NC", "oxygen"),
        ("NC(=O)C(C)=O", "a carbon on nitrogen"),
    ],
)
def test_a_product_that_lacks_an_atom_or_a_bond_is_told_apart(product, lacks):
    assert needs_of(AMIDE) <= product_features("CCC(=O)NCC")
    assert not needs_of(AMIDE) <= product_features(product), lacks


def test_the_number_of_atoms_counts():
    diol = "[C;H2;D2;+0:1](-[O:2])-[C;H2;D2;+0:3]-[O:4]>>[C:1]=[C:3]"
    assert needs_of(diol) <= product_features("OCCO")
    assert not needs_of(diol) <= product_features("CCO")


def test_the_general_form_needs_less():
    assert centre_needs_of(AMIDE) < needs_of(AMIDE)
    assert not needs_of(AMIDE) <= product_features("O=C(Nc1ccccc1)c1ccccc1")
    assert centre_needs_of(AMIDE) <= product_features("O=C(Nc1ccccc1)c1ccccc1")


@pytest.mark.parametrize("text", ["", ">>", "[", "[]>>[C:1]", "no template", "[C;H0;D3;+0:1]"])
def test_a_text_that_is_no_template_can_be_screened(text):
    assert needs_of(text) <= product_features("CCC(=O)NCC")


def test_a_product_that_cannot_be_read_has_no_features():
    assert product_features("xyz") is None

"""Surroundings of a reaction centre."""

import pytest

from flex_dspy.offline.application import disconnections, sites
from flex_dspy.offline.environments import changed_site, environment, likeness
from flex_dspy.offline.reactions import extract_template

HYDROLYSIS = extract_template("O=C(O)c1ccccc1", "COC(=O)c1ccccc1").smarts
DIACID = "O=C(O)CCc1ccc(C(=O)O)cc1"


def test_likeness_falls_with_what_differs_and_how_near_it_is():
    benzoic, toluic, acetic = (
        environment(smiles, next(iter(sites(template, smiles))))
        for smiles, template in (
            ("O=C(O)c1ccccc1", HYDROLYSIS),
            ("Cc1ccccc1C(=O)O", HYDROLYSIS),
            ("CC(=O)O", extract_template("CC(=O)O", "COC(C)=O").smarts),
        )
    )
    assert likeness(benzoic, benzoic) == 1
    assert 1 > likeness(benzoic, toluic) > likeness(benzoic, acetic) > 0
    assert likeness(frozenset(), frozenset()) == 0


def test_sites_are_where_a_template_cuts():
    given = disconnections(HYDROLYSIS, DIACID)
    assert frozenset().union(*given.values()) == sites(HYDROLYSIS, DIACID)
    assert all(len(site) == 1 for site in sites(HYDROLYSIS, DIACID))  # the hydroxyl oxygen
    assert sites(HYDROLYSIS, "CCC") == sites("no template", DIACID) == sites(HYDROLYSIS, "no molecule") == frozenset()


@pytest.mark.parametrize("ester", ["COC(=O)CCc1ccc(C(=O)O)cc1", "COC(=O)c1ccc(CCC(=O)O)cc1"])
def test_of_two_like_groups_the_one_that_reacted_is_found(ester):
    oxygens = [frozenset({2}), frozenset({11})]  # of the aliphatic and of the aromatic acid
    expected = oxygens[ester == "COC(=O)c1ccc(CCC(=O)O)cc1"]
    assert changed_site(DIACID, ester, oxygens) == expected
    assert changed_site(DIACID, ester, reversed(oxygens)) == expected


def test_one_site_needs_no_choice_and_none_gives_none():
    assert changed_site(DIACID, "C", [frozenset({2})]) == frozenset({2})
    assert changed_site(DIACID, "C", []) is None

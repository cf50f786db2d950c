"""The chemistry of the offline chemist, on reactions small enough to check by hand."""

import csv
import gzip
import math
import random
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from flex_dspy.metrics.molecules import canonical_smiles
from flex_dspy.offline.evidence import COEFFICIENTS, COEFFICIENTS_OF_FEW, share_of_many
from flex_dspy.offline.general import generalize
from flex_dspy.offline.mapping import MolGraph, chemical_distance, map_atoms
from flex_dspy.offline.reactions import (
    AnswerCandidate,
    Case,
    ReactionAdvice,
    apply_template,
    extract_template,
    rank_candidates,
)

DATA = Path(__file__).parents[3].parent / "shared/data/uspto50k/train.csv.gz"

REACTIONS = {
    "amide formation from a carboxylic acid": ("CC(=O)NCc1ccccc1", "CC(=O)O.NCc1ccccc1"),
    "amide formation from an acid chloride": ("CC(=O)NCc1ccccc1", "CC(=O)Cl.NCc1ccccc1"),
    "sulfonamide formation": ("CCNS(=O)(=O)c1ccccc1", "CCN.O=S(=O)(Cl)c1ccccc1"),
    "ester hydrolysis (methyl ester)": ("O=C(O)c1ccccc1", "COC(=O)c1ccccc1"),
    "ester formation from a carboxylic acid": ("CCCOC(=O)c1ccccc1", "CCCO.O=C(O)c1ccccc1"),
    "N-Boc removal": ("C1CCNCC1", "CC(C)(C)OC(=O)N1CCCCC1"),
    "O-benzyl removal": ("CCCO", "CCCOCc1ccccc1"),
    "Suzuki coupling": ("c1ccc(-c2cccnc2)cc1", "Brc1cccnc1.OB(O)c1ccccc1"),
    "Sonogashira coupling": ("CC(C)C#Cc1ccccc1", "C#CC(C)C.Ic1ccccc1"),
    "reductive amination": ("CCCNCc1ccccc1", "CCCN.O=Cc1ccccc1"),
    "N-alkylation from an alkyl bromide": ("CCCN(C)Cc1ccccc1", "BrCc1ccccc1.CCCNC"),
    "O-alkylation from an alkyl iodide": ("COc1ccccc1", "CI.Oc1ccccc1"),
    "N-arylation from an aryl fluoride": (
        "O=[N+]([O-])c1ccc(N2CCCC2)cc1",
        "C1CCNC1.O=[N+]([O-])c1ccc(F)cc1",
    ),
    "nitro reduction": ("Nc1ccccc1", "O=[N+]([O-])c1ccccc1"),
    "carbonyl reduction to an alcohol": ("CCC(O)CC", "CCC(=O)CC"),
    "alcohol oxidation": ("CCC(=O)CC", "CCC(O)CC"),
    "hydrogenation of a carbon-carbon bond": ("CCCc1ccccc1", "C=CCc1ccccc1"),
    "urea formation": ("CCNC(=O)Nc1ccccc1", "CCN.O=C=Nc1ccccc1"),
    "bromination from an alcohol": ("BrCc1ccccc1", "OCc1ccccc1"),
}


@pytest.mark.parametrize(("name", "product", "reactants"), [(n, *r) for n, r in REACTIONS.items()])
def test_common_reactions_are_recovered_and_named(name, product, reactants):
    template = extract_template(product, reactants)
    assert template is not None
    assert template.name == name
    assert canonical_smiles(reactants) in apply_template(template.smarts, product)


@pytest.mark.parametrize(
    ("product", "reactants"),
    [
        # click: both parts keep their atoms, three bonds change order
        ("c1ccc(-n2cc(-c3ccccc3)nn2)cc1", "C#Cc1ccccc1.[N-]=[N+]=Nc1ccccc1"),
        # benzimidazole: an aromatic ring is made, two oxygens leave
        ("Cc1nc2ccccc2[nH]1", "CC(=O)O.Nc1ccccc1N"),
        # thiazole from thioamide and bromoketone
        ("Cc1csc(-c2ccccc2)n1", "CC(=O)CBr.NC(=S)c1ccccc1"),
        # lactam closure within one molecule
        ("O=C1CCCN1c1ccccc1", "O=C(O)CCCNc1ccccc1"),
    ],
)
def test_ring_formation(product, reactants):
    template = extract_template(product, reactants)
    assert template is not None
    assert "bond" in template.name or "formation" in template.name
    assert canonical_smiles(reactants) in apply_template(template.smarts, product)


def test_one_transformation_has_one_text():
    first = extract_template("CC(=O)NCc1ccccc1", "CC(=O)O.NCc1ccccc1")
    second = extract_template("O=C(NCC1CCOCC1)C1CC1", "NCC1CCOCC1.O=C(O)C1CC1")
    assert first == second


def test_text_does_not_depend_on_how_the_molecules_are_written():
    written = ("O=C(Nc1ccccc1)C(C)C", "C(C)(C)C(=O)O.c1ccccc1N"), ("CC(C)C(=O)Nc1ccccc1", "Nc1ccccc1.CC(C)C(=O)O")
    assert extract_template(*written[0]) == extract_template(*written[1])


def test_text_survives_any_numbering_of_the_atoms():
    product, reactants = REACTIONS["sulfonamide formation"]
    shuffled = Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(product), 10, randomSeed=3)
    assert {extract_template(text, reactants) for text in shuffled} == {extract_template(product, reactants)}


def test_stereo_away_from_the_centre_is_kept():
    template = extract_template("CC(=O)NCc1ccccc1", "CC(=O)O.NCc1ccccc1")
    assert apply_template(template.smarts, "C/C=C/C(=O)NC[C@@H](C)F") == [canonical_smiles("C/C=C/C(=O)O.NC[C@@H](C)F")]


def test_retention_needs_no_mark():
    template = extract_template("CC[C@H](C)NC(C)=O", "CC(=O)O.CC[C@H](C)N")
    assert "@" not in template.smarts.replace("!@", "")
    assert apply_template(template.smarts, "CC[C@@H](C)NC(C)=O") == ["CC(=O)O.CC[C@@H](C)N"]


def test_inversion_is_written_and_holds_for_both_configurations():
    template = extract_template("CC[C@H](C)Oc1ccccc1", "CC[C@@H](C)O.Oc1ccccc1")
    assert "CC[C@@H](C)O.Oc1ccccc1" in apply_template(template.smarts, "CC[C@H](C)Oc1ccccc1")
    assert "CC[C@H](C)O.Oc1ccccc1" in apply_template(template.smarts, "CC[C@@H](C)Oc1ccccc1")


def test_stereo_centre_lost_in_the_reactants():
    template = extract_template("CC[C@H](C)O", "CCC(C)=O")
    assert apply_template(template.smarts, "CC[C@@H](C)O") == ["CCC(C)=O"]


def test_double_bond_at_the_centre_keeps_its_geometry():
    template = extract_template("C(=C/c1ccccc1)\\c1ccncc1", "OB(O)/C=C/c1ccccc1.Brc1ccncc1")
    assert template is not None
    outcomes = apply_template(template.smarts, "CC/C=C\\c1ccccc1")
    assert canonical_smiles("CC/C=C\\B(O)O.Brc1ccccc1") in outcomes


def test_symmetric_molecules():
    product, reactants = "O=C(NCCNC(=O)c1ccccc1)c1ccccc1", "NCCNC(=O)c1ccccc1.O=C(O)c1ccccc1"
    template = extract_template(product, reactants)
    assert apply_template(template.smarts, product) == [reactants]


def test_reagent_that_leaves_no_atom():
    product, reactants = "CC(=O)NC", "CC(=O)O.CN.O=S(Cl)Cl"
    template = extract_template(product, reactants)
    assert apply_template(template.smarts, "CCC(=O)NCC") == [canonical_smiles("CCC(=O)O.CCN.O=S(Cl)Cl")]


def test_a_chain_template_does_not_cut_a_ring():
    template = extract_template("CC(=O)NC", "CC(=O)O.CN")
    assert apply_template(template.smarts, "O=C1CCCN1") == []


@pytest.mark.parametrize("smarts", ["", ">>", "hello", "[C:1]>>", "[C:1", "[C:1]>>[?:1]", "C.C>>C", "[C:1]" * 900])
def test_bad_templates_give_nothing(smarts):
    assert apply_template(smarts, "CCO") == []


@pytest.mark.parametrize(
    ("product", "reactants"), [("", ""), ("C", ""), ("x", "C"), ("C", "x"), ("CCO", "CCO"), ("CC", "[Na+]")]
)
def test_no_template_from_nonsense(product, reactants):
    assert extract_template(product, reactants) is None


def test_mapping_finds_the_fewest_changes():
    product, reactants = MolGraph.of("CCOC(C)=O"), MolGraph.of("CC(=O)O.CCO")
    best = map_atoms(product, reactants)[0]
    assert len(best) == 6
    assert chemical_distance(product, reactants, best) == pytest.approx(1.9)


# --- ranking ----------------------------------------------------------------------------------------------------------


def lesson(name, product, reactants, similarity=0.5, avoid=()):
    template = extract_template(product, reactants)
    return ReactionAdvice(name, (template.smarts,), avoid, (Case(product, reactants, similarity),))


ACID = lesson("acid", *REACTIONS["amide formation from a carboxylic acid"], similarity=0.8)
CHLORIDE = lesson("chloride", *REACTIONS["amide formation from an acid chloride"], similarity=0.4)


def test_the_nearer_precedent_wins():
    ranked = rank_candidates("CCC(=O)NCc1ccccc1", [CHLORIDE, ACID])
    assert [candidate.reactants for candidate in ranked] == ["CCC(=O)O.NCc1ccccc1", "CCC(=O)Cl.NCc1ccccc1"]
    best = ranked[0]
    assert best == AnswerCandidate("CCC(=O)O.NCc1ccccc1", best.score, ("acid",), ACID.templates[0], ACID.precedents[0])
    assert sum(candidate.score for candidate in ranked) == pytest.approx(1)
    assert ranked[0].score > ranked[1].score > 0


def test_a_template_is_trusted_where_it_was_used_in_like_surroundings():
    """Two esters in one product: the case shows that the aromatic one is made, not the aliphatic one."""
    case = lesson("ester", "CCCOC(=O)c1ccc(CCOC(C)=O)cc1", "CCCO.CC(=O)OCCc1ccc(C(=O)O)cc1", similarity=0.6)
    other = lesson("acetate", "CC(=O)OCCCC", "CC(=O)O.CCCCO", similarity=0.1)
    ranked = rank_candidates("CCOC(=O)c1ccc(CCOC(C)=O)cc1", [case, other])
    assert ranked[0].reactants == "CC(=O)OCCc1ccc(C(=O)O)cc1.CCO"


def test_known_molecules_raise_an_outcome():
    """Of two ways, the one that uses what a solved case used."""
    stock = ReactionAdvice("stock", (), (), (Case("CCOc1ccccc1", "CCO.Oc1ccccc1", 0.0),))
    lessons, product = [ACID, CHLORIDE], "CC(=O)NCCO"
    plain, known = ({c.reactants: c.score for c in rank_candidates(product, ls)} for ls in (lessons, [*lessons, stock]))
    assert plain == pytest.approx(known)  # a case as far from the product as can be says nothing else
    stock = ReactionAdvice("stock", (), (), (Case("CCOc1ccccc1", "CC(=O)O.NCCO", 0.0),))
    known = {c.reactants: c.score for c in rank_candidates(product, [*lessons, stock])}
    acid, chloride = "CC(=O)O.NCCO", "CC(=O)Cl.NCCO"
    # The amine is in both, acetic acid and acetyl chloride were known before.
    assert known[acid] / known[chloride] == pytest.approx(plain[acid] / plain[chloride])
    product = "CCC(=O)NCCO"
    stock = ReactionAdvice("stock", (), (), (Case("CCOc1ccccc1", "CCC(=O)O.Oc1ccccc1", 0.0),))
    plain, known = ({c.reactants: c.score for c in rank_candidates(product, ls)} for ls in (lessons, [*lessons, stock]))
    acid, chloride = "CCC(=O)O.NCCO", "CCC(=O)Cl.NCCO"
    many = share_of_many(np.array([case.similarity for lesson in lessons for case in lesson.precedents]))
    few, close = (each["number of unknown molecules"] for each in (COEFFICIENTS_OF_FEW, COEFFICIENTS))
    effect = math.exp((many - 1) * few - many * close)
    assert known[acid] / known[chloride] == pytest.approx(effect * plain[acid] / plain[chloride])


def test_lessons_that_agree_add_up():
    again = ReactionAdvice("again", ACID.templates, (), ACID.precedents)
    alone, together = (
        rank_candidates("CCC(=O)NCc1ccccc1", ls)[0] for ls in ([ACID, CHLORIDE], [ACID, again, CHLORIDE])
    )
    assert together.score > alone.score
    assert together.lesson_ids == ("acid", "again")


def test_a_general_form_fits_where_only_the_centre_is_alike():
    """A benzamide has an aromatic carbon where the template of an acetamide wants another."""
    (found,) = rank_candidates("CCNC(=O)c1ccccc1", [ACID])
    assert (found.reactants, found.template) == ("CCN.O=C(O)c1ccccc1", generalize(ACID.templates[0]))
    assert generalize(CHLORIDE.templates[0]) != found.template
    assert generalize(found.template) is None
    assert found.lesson_ids == ("acid",)


@pytest.mark.parametrize(
    "smarts",
    [
        "junk",
        "[C;D1:1]C[N:2]>>[C:1]Br.[N:2]",  # a bond that is not written out
        "[C;D1:1]-" + "-".join(f"[N;D2:{n}]" for n in range(2, 150)) + "-[O:150]>>" + ".".join(["[C:1]", "[O:150]"]),
    ],
)
def test_what_has_no_general_form(smarts):
    assert generalize(smarts) is None


def test_both_ends_of_a_symmetric_bond_are_tried():
    """Which of the two rings carries the boron is a choice, though the template's ends look alike."""
    suzuki = lesson("suzuki", *REACTIONS["Suzuki coupling"])
    found = {candidate.reactants for candidate in rank_candidates("Cc1ccc(-c2ccc(F)cc2)cc1", [suzuki])}
    assert found == {"Cc1ccc(Br)cc1.OB(O)c1ccc(F)cc1", "Cc1ccc(B(O)O)cc1.Fc1ccc(Br)cc1"}


def test_a_warning_pushes_down():
    warning = ReactionAdvice("warning", (), ACID.templates, (Case("CCC(=O)NCc1ccccc1", "C", 1.0),))
    before = rank_candidates("CCC(=O)NCc1ccccc1", [ACID])[0]
    after = rank_candidates("CCC(=O)NCc1ccccc1", [ACID, warning])[0]
    assert after.score == pytest.approx(0.5 * before.score)


def test_order_of_lessons_does_not_matter():
    product = "CCC(=O)NCc1ccccc1"
    assert rank_candidates(product, [ACID, CHLORIDE]) == rank_candidates(product, [CHLORIDE, ACID])


def test_a_lesson_without_solved_cases_still_proposes():
    (found,) = rank_candidates("CCC(=O)NCC", [ReactionAdvice("bare", ACID.templates, (), ())])
    assert (found.reactants, found.score, found.lesson_ids, found.precedent) == ("CCC(=O)O.CCN", 1, ("bare",), None)


def test_limit_and_bad_input():
    assert len(rank_candidates("CCC(=O)NCc1ccccc1", [ACID, CHLORIDE], limit=1)) == 1
    assert rank_candidates("not a molecule", [ACID]) == []
    assert rank_candidates("CCC(=O)NC", []) == []
    assert rank_candidates("CCC(=O)NC", [ReactionAdvice("bad", ("junk", "[C:1]>>[C:1]"), ("junk",), ())]) == []


@pytest.mark.skipif(not DATA.exists(), reason="the development data is not here")
def test_most_real_reactions_are_recovered():
    with gzip.open(DATA, "rt") as file:
        rows = random.Random(0).sample(list(islice(csv.DictReader(file), 5000)), 100)
    recovered = 0
    for row in rows:
        reactants, _, product = row["reactants>reagents>production"].split(">")
        recovered += extract_template(canonical_smiles(product), canonical_smiles(reactants)) is not None
    assert recovered >= 93

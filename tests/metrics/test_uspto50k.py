import random
import re

import dspy
import pytest

from flex_dspy.core.errors import DataError
from flex_dspy.metrics.molecules import canonical_smiles
from flex_dspy.metrics.uspto50k import clean_smiles_answer, maxfrag, rank_of_reference, top_k, uspto50k

GOLD = dspy.Example(product="CC(=O)NCC", reactants="CC(=O)Cl.NCC").with_inputs("product")
CHIRAL = dspy.Example(product="C[C@H](N)C(=O)NC", reactants="C[C@H](N)C(=O)O.CN").with_inputs("product")


def judged(reactants, gold=GOLD):
    return uspto50k(gold, dspy.Prediction(reactants=reactants))


@pytest.mark.parametrize(
    "answer",
    [
        "CC(=O)Cl.NCC",
        "NCC.ClC(C)=O",
        "[CH3:1][C:2](=[O:3])[Cl:4].[NH2:5][CH2:6][CH3:7]",
        " CC(=O)Cl . NCC \n",
        "CC(=O)Cl + NCC",
        "CC(=O)Cl and NCC",
        "CC(=O)Cl, NCC",
        "CC(=O)Cl\nNCC",
        "1. CC(=O)Cl\n2. NCC",
        "- `CC(=O)Cl`\n- `NCC`",
        '["CC(=O)Cl", "NCC"]',
        ["CC(=O)Cl", "NCC"],
        "`CC(=O)Cl.NCC`",
        "```smiles\nCC(=O)Cl.NCC\n```",
        "An amide.\n<answer>CC(=O)Cl.NCC</answer> I am sure.",
        "<answer>CC(=O)Cl.NCC",
        r"$\boxed{CC(=O)Cl.NCC}$",
        "Reactants: CC(=O)Cl.NCC",
        "**Final answer:** CC(=O)Cl.NCC",
        "The reactants are CC(=O)Cl and NCC.",
        "I would cut the amide bond and take CC(=O)Cl with NCC here.",
        "The product CC(=O)NCC is an amide.\n\nAnswer: CC(=O)Cl.NCC",
        "CC(=O)Cl.NCC>>CC(=O)NCC",
        "CC(=O)Cl.NCC>CCN(CC)CC>CC(=O)NCC",
    ],
)
def test_the_right_answer_is_found_in_many_wrappings(answer):
    result = judged(answer)
    assert result.score == 1.0, result.feedback


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "no answer"),
        ("  ", "no answer"),
        ("C" * 5000, "too long"),
        ("I cannot tell.", "without any other text"),
        ("CCO or CC(=O)Cl, perhaps", "without any other text"),
        ("CC(=O", "parenthesis opened at position 3 is never closed"),
        ("CC)=O", "parenthesis closed at position 3 was never opened"),
        ("C[NH3+", "bracket opened at position 2 is never closed"),
        ("C1CC.NCC", "ring bond 1 opened at position 2 is never closed"),
        ("C%10CC", "ring bond %10 opened"),
        ("CC(=O)(=O)C.NCC", "Atom 2 (C) of CC(=O)(=O)C has more bonds"),
        ("c1cccc1", "aromatic atoms 1, 2, 3, 4, 5 of c1cccc1"),
        ("cC", "in no aromatic ring"),
        ("CC..NCC", "empty molecule"),
        ("CC=(O)C", "syntax of CC=(O)C"),
        ("CC(=O)NCC", "the product itself"),
        ("CCNC(C)=O.O", "One of the reactants is the product itself"),
        ("CC(=O)Cl.CN", "1 of 2 reactants is right: keep CC(=O)Cl. The other is not."),
        ("CC(=O)Cl", "keep CC(=O)Cl. There is one reactant too few."),
        ("CC(=O)Cl.NCC.O.O", "there are 2 reactants too many"),
        ("CO.CN", "come from nowhere: 2 carbon."),
        ("CCN.O=CCCl", "keep CCN"),
        ("CC(C)N.O=CCl", "bonded or split differently"),
    ],
)
def test_feedback_names_the_fault(answer, words):
    result = judged(answer)
    assert result.score == 0.0
    assert words in result.feedback


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("C[C@@H](N)C(=O)O.CN", "stereochemistry is wrong"),
        ("CC(N)C(=O)O.CN", "left out"),
    ],
)
def test_stereochemistry_counts_and_is_told(answer, words):
    result = judged(answer, CHIRAL)
    assert result.score == 0.0
    assert words in result.feedback


def test_too_much_stereochemistry_is_told():
    gold = dspy.Example(product="CC(N)C(=O)NC", reactants="CC(N)C(=O)O.CN")
    assert "leaves open" in judged("C[C@H](N)C(=O)O.CN", gold).feedback


def test_how_often_a_molecule_appears_counts():
    gold = dspy.Example(product="CC(=O)OC(C)=O", reactants="CC(=O)O.CC(=O)O")
    assert judged("CC(=O)O.CC(=O)O", gold).score == 1.0
    assert judged("CC(=O)O", gold).score == 0.0


def test_a_missing_field_is_a_missing_answer_and_the_product_may_be_missing_too():
    gold = dspy.Example(reactants="CCO")
    assert "no answer" in uspto50k(gold, dspy.Prediction()).feedback
    assert uspto50k(gold, {"reactants": "CCN"}, None, "actor", []).score == 0.0


@pytest.mark.parametrize("reactants", [None, "", "not smiles"])
def test_a_broken_reference_is_an_error(reactants):
    with pytest.raises(DataError, match="reactants"):
        judged("CCO", dspy.Example(product="CC", reactants=reactants))


POOL = [
    "CC(=O)Cl", "NCc1ccccc1", "OB(O)c1ccccc1", "Brc1ccccc1", "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "CN", "O",
    "[Na+].[OH-]", "O=C(O)c1ccccc1", "CCO", "BrCCBr", "C1CCOC1", "c1cccc1", "CC(=O", "CC(N)C(=O)O",
]  # fmt: skip


def said(text):
    """The readable molecules among the words of a text, canonical, whole sets and their parts."""
    words = {word.strip(".,:;`'") for word in re.split(r"[\s()]*\s[\s()]*", text)}
    sets = {canonical_smiles(word) for word in words if word and word not in ENGLISH}
    return sets | {part for whole in sets if whole for part in whole.split(".")} - {None}


# Words and symbols of the fixed phrases that happen to be SMILES.
ENGLISH = {"(C)", "(B)", "C", "B", "no", "on"}


def test_feedback_never_names_what_the_answer_did_not():
    rng = random.Random(7)
    readable = [smiles for smiles in POOL if canonical_smiles(smiles)]
    for _ in range(300):
        gold = dspy.Example(
            product=rng.choice(readable), reactants=".".join(rng.sample(readable, rng.choice([1, 2, 3])))
        )
        answer = ".".join(rng.sample(POOL, rng.choice([1, 2, 3])))
        result = judged(answer, gold)
        reference = canonical_smiles(gold.reactants)
        if result.score == 0.0:
            named = said(result.feedback)
            assert reference not in named or "." not in reference
            assert (
                not (set(reference.split(".")) & named)
                - said(answer)
                - set((canonical_smiles(answer) or "").split("."))
            )
            assert gold.reactants not in result.feedback or gold.reactants in answer


def test_every_writing_of_the_answer_is_right():
    from rdkit import Chem

    reference = "CC(C)(C)OC(=O)N[C@@H](Cc1ccccc1)C(=O)O.F/C=C/c1cc[nH]c1.[Na+].[OH-]"
    molecule = Chem.MolFromSmiles(reference)
    gold = dspy.Example(product="C", reactants=reference)
    for writing in Chem.MolToRandomSmilesVect(molecule, 40, randomSeed=3):
        assert judged(writing, gold).score == 1.0
    assert judged(Chem.MolToSmiles(molecule, kekuleSmiles=False, allBondsExplicit=True), gold).score == 1.0


@pytest.mark.parametrize(
    "text", ["", "x", "C" * 100, "<answer></answer>", "``", "[", "I", ">>", "\x00", "é", "1.", "()"]
)
def test_no_text_is_too_odd_to_clean(text):
    assert isinstance(clean_smiles_answer(text), str)
    assert judged(text).score == 0.0


def test_maxfrag_asks_for_the_largest_reactant_only():
    assert maxfrag(GOLD, dspy.Prediction(reactants="CC(=O)Cl.CN")).score == 1.0
    assert maxfrag(GOLD, dspy.Prediction(reactants="CC(=O)O.NCC")).score == 0.0
    assert maxfrag(GOLD, dspy.Prediction(reactants="rubbish")).score == 0.0


def test_rank_counts_every_answer():
    answers = ["CCO", "rubbish", "CCO", "NCC.CC(=O)Cl"]
    assert rank_of_reference(GOLD, answers) == 4
    assert rank_of_reference(GOLD, answers[:3]) is None
    assert top_k(GOLD, answers, 4)
    assert not top_k(GOLD, answers, 3)


def test_module_and_function_share_a_name_in_peace():
    import flex_dspy.metrics.uspto50k as module

    assert module.uspto50k is uspto50k

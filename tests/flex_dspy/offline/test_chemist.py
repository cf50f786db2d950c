"""The offline chemist's four roles, as a prompt calls them."""

import pytest

from flex_dspy.libraries.experience import Experience, Precedent, Rule
from flex_dspy.libraries.hits import Hit
from flex_dspy.metrics.molecules import canonical_smiles
from flex_dspy.offline import chemist
from flex_dspy.search.rendering import NONE, render

PRODUCT, REACTANTS = "CC(=O)NCc1ccccc1", "CC(=O)Cl.NCc1ccccc1"
OTHER, OTHERS_REACTANTS = "CCC(=O)NCc1ccc(F)cc1", "CCC(=O)Cl.NCc1ccc(F)cc1"


def distilled(product: str = OTHER, reactants: str = OTHERS_REACTANTS, attempts: str = "") -> dict:
    inputs = {"problem": product, "reference": reactants, "attempts": attempts}
    return chemist.answer(inputs, ["lesson"])["lesson"]


def experience(lesson: dict, zone: str = "golden", **fields) -> Experience:
    return Experience(
        zone=zone,
        method=lesson["method"],
        category=lesson["category"],
        rules=tuple(Rule(rule["text"]) for rule in lesson["rules"]),
        **fields,
    )


def block(*entries: Experience) -> str:
    return render([Hit(e, 1.0, tuple((p, 0.8) for p in e.precedents)) for e in entries], 10_000)


LEARNED = experience(distilled(), precedents=(Precedent("e1", OTHER, OTHERS_REACTANTS),))


def act(experiences: str, earlier: str = "none", product: str = PRODUCT) -> dict:
    inputs = {"product": product, "experiences": experiences, "earlier_attempts": earlier}
    return chemist.answer(inputs, ["reasoning", "reactants", "alternatives", "experiences_used"])


def test_without_a_lesson_it_knows_nothing():
    answer = act(NONE)
    assert (answer["reactants"], answer["alternatives"], answer["experiences_used"]) == ("", [], [])


def test_a_lesson_from_another_molecule_is_applied():
    answer = act(block(LEARNED))
    assert canonical_smiles(answer["reactants"]) == canonical_smiles(REACTANTS)
    assert answer["experiences_used"] == [LEARNED.id]


def test_a_rejected_answer_is_not_given_again():
    earlier = "Attempt 1:\n  reasoning: so\n  reactants: Clc1ccccc1\n  verdict: rejected\n  feedback: No."
    first = act(block(LEARNED))["reactants"]
    assert act(block(LEARNED), earlier)["reactants"] == first
    # In another spelling.
    earlier = earlier.replace("Clc1ccccc1", "c1ccccc1CN.ClC(C)=O")
    assert canonical_smiles(act(block(LEARNED), earlier)["reactants"]) != canonical_smiles(REACTANTS)


@pytest.mark.parametrize("product", ["", "no molecule", "C(", "C" * 3_000])
def test_a_product_that_is_no_molecule_has_no_answer(product):
    assert act(block(LEARNED), product=product)["reactants"] == ""


def test_what_fits_no_template_is_left_alone():
    assert act(block(LEARNED), product="CCCCCC")["reactants"] == ""


def test_the_lesson_of_a_success():
    lesson = distilled()
    assert lesson["category"]
    assert [rule["text"].split(" ")[0] for rule in lesson["rules"]] == ["Disconnect"]
    assert ">>" in lesson["rules"][0]["text"]
    assert OTHER not in lesson["method"]
    assert lesson["trajectory"] == f"{OTHER} was made from {OTHERS_REACTANTS}."


def test_the_lesson_of_a_failure_names_the_mistake_and_the_way():
    attempts = "Attempt 1:\n  reactants: CC(=O)N.BrCc1ccccc1\n  verdict: rejected\n  feedback: No."
    rules = [rule["text"] for rule in distilled(PRODUCT, REACTANTS, attempts)["rules"]]
    assert rules[0].startswith("Instead:")
    assert rules[1].startswith("Avoid:")


@pytest.mark.parametrize(("product", "reactants"), [("C(", "CC"), ("CC", "no molecule")])
def test_no_lesson_is_made_up(product, reactants):
    lesson = distilled(product, reactants)
    assert lesson["rules"] == []
    assert lesson["category"] == "unexplained"


def decide(lesson: Experience, *nearest: Experience) -> dict:
    inputs = {"new_lesson": block(lesson), "nearest": block(*nearest)}
    return chemist.answer(inputs, ["decision"])["decision"]


def test_the_same_template_is_merged_into_its_entry():
    again = experience(distilled(PRODUCT, REACTANTS))
    decision = decide(again, LEARNED)
    assert (decision["action"], decision["target"]) == ("merge", LEARNED.id)
    assert [rule["action"] for rule in decision["rules"]] == ["skip"]


def test_another_reaction_type_is_an_entry_of_its_own():
    ether = experience(distilled("CCOCc1ccccc1", "CCO.BrCc1ccccc1"))
    assert decide(ether, LEARNED)["action"] == "insert"


def test_another_template_or_another_zone_of_a_reaction_type_is_merged_into_its_entry():
    tertiary = experience(distilled("CCC(=O)N(C)Cc1ccccc1", "CCC(=O)Cl.CNCc1ccccc1"))
    assert tertiary.category == LEARNED.category
    decision = decide(tertiary, LEARNED)
    assert (decision["action"], decision["target"]) == ("merge", LEARNED.id)
    assert [rule["action"] for rule in decision["rules"]] == ["add"]
    assert decision["case_of"] == tertiary.rules[0].text
    attempts = "Attempt 1:\n  reactants: CC(=O)N.BrCc1ccccc1\n  verdict: rejected\n  feedback: No."
    decision = decide(experience(distilled(PRODUCT, REACTANTS, attempts), zone="warning"), LEARNED)
    assert [rule["action"] for rule in decision["rules"]] == ["skip", "add"]  # "Instead: T" says the same as "T"
    assert decision["case_of"] == LEARNED.rules[0].text


def test_an_entry_that_gathers_lessons_is_read_as_these_lessons():
    text = """<experiences>
## e1 | mixed | amide
Method: cut
Rule: Avoid: `[C:1]>>[C:1]Br` gave the wrong reactants
  e.g. CCN
Rule: Avoid: `[C:1]>>[C:1]I` gave the wrong reactants
  e.g. CCCCN
Rule: Disconnect with the retro template `[C:1]>>[C:1]O`
Solved (0.900): CCO => CC.O
Rule: Disconnect with the retro template `[C:1]>>[C:1]N`
Solved (0.400): CCN => CC.N
</experiences>"""
    lessons = chemist.read_lessons(text)
    taught = {lesson.templates: [case.product for case in lesson.precedents] for lesson in lessons if lesson.templates}
    assert taught == {("[C:1]>>[C:1]O",): ["CCO"], ("[C:1]>>[C:1]N",): ["CCN"]}
    warned = {lesson.avoid: (lesson.closeness, lesson.precedents) for lesson in lessons if lesson.avoid}
    assert warned == {("[C:1]>>[C:1]Br",): (0.4, ()), ("[C:1]>>[C:1]I",): (0.0, ())}
    assert {lesson.id for lesson in lessons} == {"e1"}
    assert lessons[0].templates == ("[C:1]>>[C:1]O",)  # the nearest lesson comes first


def test_a_lesson_without_a_template_is_discarded():
    assert decide(experience(distilled("CCO", "no molecule")), LEARNED)["action"] == "discard"


def verify(attempt: str, measured: str = "") -> dict:
    inputs = {"problem": PRODUCT, "attempt": attempt, "measured": measured, "reference": ""}
    return chemist.answer(inputs, ["accepted", "feedback"])


def test_the_exact_check_is_passed_on():
    verdict = verify(f"reactants: {REACTANTS}", "rejected (score 0). The acid part is wrong. Look again.")
    assert verdict == {"accepted": False, "feedback": "The acid part is wrong. Look again."}


@pytest.mark.parametrize(
    ("attempt", "accepted"),
    [
        (f"reasoning: so\nreactants: {REACTANTS}", True),
        ("reactants: C(", False),
        ("reactants: ", False),
        ("reactants: O=C(C)NCc1ccccc1", False),
    ],
)
def test_without_a_check_only_nonsense_is_rejected(attempt, accepted):
    assert verify(attempt)["accepted"] is accepted


@pytest.mark.parametrize("outputs", [[], ["answer"], ["reasoning", "experiences_used"]])
def test_it_has_no_other_role(outputs):
    with pytest.raises(ValueError, match="no role"):
        chemist.answer({"product": PRODUCT}, outputs)

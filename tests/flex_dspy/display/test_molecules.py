"""Drawings: what parses is drawn in the colours of the page, what does not is passed over."""

import re

import pytest

from flex_dspy.display.molecules import MAX_ATOMS, MAX_LENGTH, case, drawings_in, molecule, template

TEMPLATE = "[C:1]-[N;H1;D2;+0:2]-;!@[C;H0;D3;+0:3]=[O:4]>>[C:1]-[N:2].[C:3](=[O:4])-[Cl]"


def test_a_molecule_has_the_colour_of_the_page_and_no_background():
    drawing = molecule("CC(=O)Nc1ccccc1")
    assert drawing.startswith("<svg")
    assert drawing.endswith("</svg>")
    assert "currentColor" in drawing
    assert "<rect" not in drawing
    assert not re.search(r"#000000|#0000FF", drawing)  # unseen on a dark page


def test_a_drawing_is_small():
    assert len(molecule("COC(=O)[C@@H]1CCCN1C(=O)c1cnn(C)c1C(F)(F)F")) < 4_000


def test_the_parts_of_a_smiles_stand_side_by_side():
    assert molecule("CCO.CC(=O)Cl").count("<svg") == 2


BAD = [
    "",
    "C1CC(",
    "not a molecule",
    "C" * (MAX_LENGTH + 1),
    "C" * (MAX_ATOMS + 1),
    "\ud800",
    "[",
    "c1cccc1",
    "F(F)F",
    "56",
]


@pytest.mark.parametrize("text", [*BAD, "CC O", "C\n", "<svg onload=x>", ".".join(["CC"] * 7), "\0"])
def test_what_is_no_molecule_has_no_drawing(text):
    assert molecule(text) is None


def test_a_template_shows_both_sides_and_the_numbers_of_its_atoms():
    drawing = template(TEMPLATE)
    assert drawing.count("<svg") == 3
    assert drawing.count("⇒") == 1
    assert {">1<", ">2<", ">3<", ">4<"} <= set(re.findall(r">\d<", drawing))


def test_a_bond_that_a_template_asks_about_is_drawn_as_a_bond():
    def lines(smarts):
        return template(smarts).count("M ")

    assert lines("[C:1]-;!@[N:2]>>[C:1].[N:2]") == lines("[C:1]-[N:2]>>[C:1].[N:2]") > 0


@pytest.mark.parametrize("text", ["", ">>", "C>>", "[C:1>>X", "[C:1]>>(" * 60, "\ud800>>C", "CCO"])
def test_what_is_no_template_has_no_drawing(text):
    assert template(text) is None


def test_what_a_text_names_is_found():
    text = f"Use `{TEMPLATE}`; **CC(=O)Nc1ccccc1** was made from <answer>CC(=O)Cl.Nc1ccccc1</answer>."
    assert drawings_in(text, 9) == [template(TEMPLATE), molecule("CC(=O)Nc1ccccc1"), molecule("CC(=O)Cl.Nc1ccccc1")]
    assert len(drawings_in(text, 2)) == 2
    assert len(drawings_in(f"{text} {text}", 9)) == 3


@pytest.mark.parametrize(
    "text", ["SOS, a word", "f(n)=n^2+1 for (n+10)", "binomial(add(b, 1), a)", "Conclusion: no. [1], (a)", "`C1CC(`"]
)
def test_prose_and_formulas_are_not_drawn(text):
    assert drawings_in(text, 9) == []


def test_a_case_is_drawn_where_its_problem_is_a_molecule():
    assert case("CC(=O)NC", "CC(=O)O.CN").count("<svg") == 3
    assert case("CC(=O)NC", "3 < 4").count("<svg") == 1
    assert "3 &lt; 4" in case("CC(=O)NC", "3 < 4")
    assert case("What is 2 + 3?", "5") is None
    assert case("NO", "I") is None

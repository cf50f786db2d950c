"""A library as a single-step model, with the real package: its search plans a route, its evaluator measures."""

import math
from dataclasses import replace

import pytest
from rdkit import Chem
from rdkit.Chem import rdChemReactions
from syntheseus import Molecule

from flex_dspy.data.building_blocks import BLOCKS
from flex_dspy.data.reaction_types import REACTION_TYPES, ReactionType
from flex_dspy.integrations import syntheseus
from flex_dspy.integrations.syntheseus import LEAST_PROBABILITY, ExperienceModel
from flex_dspy.libraries.experience import Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.metrics.molecules import canonical_smiles
from flex_dspy.offline.reactions import AnswerCandidate
from flex_dspy.search.retrieval import ExperienceRetriever
from tests.documentation import assumed
from tests.documentation.pages import DOCS, blocks
from tests.flex_dspy.offline.test_disconnections import CASE, LESSON, LIBRARY, PRODUCT, TEMPLATE

PAGE = DOCS / "how-to" / "syntheseus.md"


def test_a_library_proposes_reactants_with_a_probability_and_their_source() -> None:
    model = ExperienceModel(LIBRARY, use_cache=True)
    ours, other = model([Molecule(PRODUCT), Molecule("CCCC")])
    assert [reaction.reactants_str for reaction in ours] == ["CCC(=O)O.CCN"]
    assert (ours[0].product, ours[0].metadata["template"]) == (Molecule(PRODUCT), TEMPLATE.smarts)
    assert ours[0].metadata["source"] == f"lesson {LESSON.id}"
    assert ours[0].metadata["probability"] == pytest.approx(1.0)
    assert other == []
    assert model.get_model_info() == {"library": LIBRARY.hash, "entries": 1}
    assert model.get_parameters() == []


def test_a_product_s_own_solution_is_left_out_unless_the_retriever_shows_it() -> None:
    solved = Molecule(CASE[0])  # its SMILES is canonical, as in libraries that were learned from our loaders
    library = ExperienceLibrary([replace(LESSON, precedents=(Precedent("amide", solved.smiles, CASE[1]),))])
    assert ExperienceModel(library)([solved]) == [[]]
    [[reaction]] = ExperienceModel(ExperienceRetriever(library, exclude_self=False))([solved])
    assert reaction.reactants_str == CASE[1]


def test_every_proposal_has_a_probability_with_a_logarithm(monkeypatch: pytest.MonkeyPatch) -> None:
    def candidate(reactants: str, score: float) -> AnswerCandidate:
        return AnswerCandidate(reactants, score, (LESSON.id,), TEMPLATE.smarts)

    found = [candidate("CCN.CCC(=O)O", 0.9), candidate("not a molecule", 0.1), candidate("CCN.CCC(=O)Cl", 0.0)]
    monkeypatch.setattr(syntheseus, "find_disconnections", lambda retriever, product: found)
    [reactions] = ExperienceModel(LIBRARY)([Molecule(PRODUCT)], num_results=3)
    assert [reaction.metadata["probability"] for reaction in reactions] == [0.9, LEAST_PROBABILITY]
    assert all(math.exp(r.metadata["log_probability"]) == pytest.approx(r.metadata["probability"]) for r in reactions)
    assert len(ExperienceModel(LIBRARY)([Molecule(PRODUCT)], num_results=1)[0]) == 1


@pytest.mark.slow
def test_the_page_plans_a_route_and_measures(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assumed.write_files(tmp_path)
    names = {"__name__": "page"}
    plan, measure = blocks(PAGE, "python")
    exec(plan.text, names)
    printed = capsys.readouterr().out.splitlines()
    [shown] = blocks(PAGE, "text")
    assert sorted(printed) == sorted(shown.text.splitlines())  # Syntheseus keeps the steps in a set
    route = [line.split(">>") for line in printed]
    assert len(route) == 4
    assert names["model"].num_calls() in (4, 5)  # as the page says; two molecules of equal cost come in any order
    check_route(route, names["moclobemide"].smiles)
    names["search"].reset()
    names["search"].reaction_model = ExperienceModel(ExperienceLibrary())
    graph, _ = names["search"].run_from_mol(names["moclobemide"])
    assert not graph.root_node.has_solution
    exec(measure.text, names)
    assert names["found"].num_samples == 1
    assert names["found"].top_k[-1] == 1.0


def check_route(route: list[list[str]], target: str) -> None:
    """Every step is a reaction of a known kind, and leads from the stock or from another step."""
    made = {product for _, product in route}
    assert target in made
    stock = {canonical_smiles(block) for block in BLOCKS}
    for reactants, product in route:
        assert any(gives(kind, reactants, product) for kind in REACTION_TYPES), (product, reactants)
        assert {canonical_smiles(part) for part in reactants.split(".")} <= stock | made


def gives(kind: ReactionType, reactants: str, product: str) -> bool:
    parts = [Chem.MolFromSmiles(part) for part in reactants.split(".")]
    forward = rdChemReactions.ReactionFromSmarts(kind.template)
    if forward.GetNumReactantTemplates() != len(parts):
        return False
    outcomes = [made for order in (parts, parts[::-1]) for made in forward.RunReactants(order)]
    return product in {canonical_smiles(Chem.MolToSmiles(made[0])) for made in outcomes}

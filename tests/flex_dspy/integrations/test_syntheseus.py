"""A library as a single-step model, with the real package: its search plans a route, its evaluator measures."""

import math
from dataclasses import replace

import pytest
from syntheseus import Molecule

from flex_dspy.integrations import syntheseus
from flex_dspy.integrations.syntheseus import LEAST_PROBABILITY, ExperienceModel
from flex_dspy.libraries.experience import Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.offline.reactions import AnswerCandidate
from flex_dspy.search.retrieval import ExperienceRetriever
from tests.documentation import assumed
from tests.documentation.pages import DOCS, blocks
from tests.flex_dspy.offline.test_disconnections import CASE, LESSON, LIBRARY, PRODUCT, TEMPLATE


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
    plan, measure = blocks(DOCS / "how-to" / "syntheseus.md", "python")
    exec(plan.text, names)
    route = capsys.readouterr().out.split()
    assert len(route) == 2
    assert "CCOC(=O)CC(=O)O.Nc1ccccc1>>CCOC(=O)CC(=O)Nc1ccccc1" in route
    assert "CCO.O=C(O)CC(=O)O>>CCOC(=O)CC(=O)O" in route
    exec(measure.text, names)
    assert names["found"].num_samples == 1
    assert names["found"].top_k[-1] == 1.0

"""Candidate disconnections for actors that think for themselves."""

import asyncio

import dspy
import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.experience import Experience, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.offline.disconnections import NO_CANDIDATE, DisconnectionTool
from flex_dspy.offline.templates import extract_template
from flex_dspy.search.recall import recalling
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.tasks.registry import get_task

PRODUCT, CASE = "CCC(=O)NCC", ("CC(=O)NCC", "CC(=O)O.CCN")
TEMPLATE = extract_template(*CASE)
LESSON = Experience(
    zone="golden",
    category=TEMPLATE.name,
    method="Cut the amide bond.",
    rules=(Rule(f"Disconnect with the retro template `{TEMPLATE.smarts}`"),),
    precedents=(Precedent("amide", *CASE),),
    helped=3,
    hurt=1,
)
LIBRARY = ExperienceLibrary([LESSON], task="uspto50k")


@pytest.fixture
def retriever():
    return ExperienceRetriever(LIBRARY, views=["structural"])


def test_it_lists_reactants_template_case_record_and_source(retriever):
    told = DisconnectionTool(retriever)(product=PRODUCT)
    first, *lines = told.splitlines()
    assert first == "1. CCC(=O)O.CCN"
    for text in (TEMPLATE.smarts, "CC(=O)NCC => CC(=O)O.CCN", "helped 3 times, misled 1", LESSON.id, TEMPLATE.name):
        assert any(text in line for line in lines)


def test_it_never_tells_the_solution_of_the_problem_under_way(retriever):
    assert DisconnectionTool(retriever)(product=CASE[0]) == NO_CANDIDATE
    with recalling(retriever, CASE[0]):
        assert DisconnectionTool()(product=PRODUCT) == NO_CANDIDATE


def test_unbound_it_serves_the_actor_at_work(retriever):
    tool = DisconnectionTool()
    assert tool(product=PRODUCT) == NO_CANDIDATE
    with recalling(retriever, "CCCC"):
        assert asyncio.run(tool.acall(product=PRODUCT)).startswith("1. CCC(=O)O.CCN")
    assert DisconnectionTool(retriever)(product="no molecule") == NO_CANDIDATE


def test_the_actors_of_the_task_are_given_it_unless_they_have_no_experience():
    task = get_task("uspto50k")
    assert "propose_disconnections" in task.actor(LIBRARY, strategy="react").attempt.tools
    assert "propose_disconnections" not in task.actor(LIBRARY, strategy="react", experience="none").attempt.tools


def test_candidates_stand_in_the_prompt_where_they_are_asked_for():
    seen = []
    for candidates in (5, 0):
        actor = get_task("uspto50k").actor(LIBRARY, candidates=candidates)
        fields = actor.attempt.predict.signature.input_fields
        assert ("candidates" in fields) == bool(candidates)
        actor.attempt = lambda **given: seen.append(given) or dspy.Prediction()
        actor(product=PRODUCT)
    assert seen[0]["candidates"].startswith("1. CCC(=O)O.CCN")
    assert "candidates" not in seen[1]


@pytest.mark.parametrize(("task", "settings"), [("aime", {}), ("uspto50k", {"experience": "none"})])
def test_where_there_are_no_candidates_asking_for_them_is_an_error(task, settings):
    with pytest.raises(ConfigurationError, match="no candidates"):
        get_task(task).actor(candidates=5, **settings)

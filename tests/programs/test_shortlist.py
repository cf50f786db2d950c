"""The shortlist: a model's choice, and what stands where there is none."""

import json
from typing import Any

import dspy
import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.experience import Experience, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs.actor import Actor
from flex_dspy.programs.shortlist import Shortlist
from flex_dspy.search.reading import pinned
from flex_dspy.search.rendering import OPEN, parse
from flex_dspy.search.retrieval import ExperienceRetriever, retrievers
from tests.llm_server import Fault, LLMServer


def lesson(number: int, *problems: str) -> Experience:
    return Experience(
        id=f"l{number}",
        zone="golden",
        method=f"count the odd ones {'x' * number}",
        rules=(Rule(f"rule {number}", (f"example {number}",)),),
        trajectory=f"story {number}",
        precedents=tuple(Precedent(problem, problem, "a") for problem in problems),
    )


ENTRIES = [lesson(n, f"case {n}") for n in range(12)]


def shortlist(*entries: Experience, **settings: Any) -> Shortlist:
    library = ExperienceLibrary(list(entries or ENTRIES))
    return Shortlist(ExperienceRetriever(library, views=["lexical"]), **{"k": 3, "shortlist": 10, **settings})


@pytest.fixture
def server(llm_server: LLMServer, lm: dspy.LM) -> LLMServer:
    return llm_server


def chooses(server: LLMServer, *ids: str) -> None:
    server.script = lambda role, inputs, messages: {"ids": list(ids)}


def found(prediction: dspy.Prediction) -> list[str]:
    return [hit.experience.id for hit in prediction.hits]


def test_what_the_model_names_is_written_in_full_in_its_order(server, ask, adapter):
    module = shortlist()
    plain = [hit.experience.id for hit in module.retriever.hits("odd ones", 10)]
    chooses(server, plain[7], f" {plain[2]} ", "unknown", plain[7])
    with pinned(module.retriever.library) as reading:
        prediction = ask(module, query="odd ones")
    assert found(prediction) == [plain[7], plain[2]] == reading.shown
    assert "story" in prediction.experiences
    assert [hit.experience.id for hit in prediction.shortlist] == plain
    (request,) = server.requests
    assert [entry.id for entry in parse(request.inputs["shortlist"])] == plain
    assert request.inputs["most"] == "3"
    assert "rule" not in request.inputs["shortlist"]


@pytest.mark.parametrize("ids", [[], ["unknown"], ["L0"]])
def test_where_it_names_none_the_plain_ranking_stands(server, ask, ids):
    chooses(server, *ids)
    module = shortlist()
    assert found(ask(module, query="odd ones")) == [hit.experience.id for hit in module.retriever.hits("odd ones", 3)]


@pytest.mark.parametrize(
    "answer", ["no idea", json.dumps({"ids": 7}), Fault(400, "too many words", code="context_length_exceeded")]
)
def test_where_it_cannot_be_read_the_plain_ranking_stands(server, ask, answer):
    server.script = lambda role, inputs, messages: answer
    module = shortlist()
    prediction = ask(module, query="odd ones")
    assert found(prediction) in ([hit.experience.id for hit in module.retriever.hits("odd ones", 3)],)
    assert server.requests


def test_a_model_that_cannot_be_used_is_an_error(server, ask):
    server.script = lambda role, inputs, messages: Fault(401, "wrong key")
    with pytest.raises(dspy.utils.exceptions.LMAuthError):
        ask(shortlist(), query="odd ones")


def test_no_more_than_k_are_taken(server, ask):
    chooses(server, *(entry.id for entry in ENTRIES))
    assert len(found(ask(shortlist(), query="odd ones"))) == 3
    assert len(found(ask(shortlist(), query="odd ones", k=5))) == 5


def test_where_there_is_nothing_to_choose_no_model_is_asked(server, ask):
    assert found(ask(shortlist(*ENTRIES[:3]), query="odd ones")) == ["l0", "l1", "l2"]
    assert found(ask(shortlist(), query="nothing alike")) == []
    assert server.requests == []


def test_the_own_solution_is_not_on_the_list(server, ask):
    chooses(server, "l20", "l21")
    own, shared = lesson(20, "the odd problem"), lesson(21, "the odd problem", "another")
    prediction = ask(shortlist(*ENTRIES, own, shared, shortlist=14), query="odd", exclude="the odd problem")
    assert found(prediction) == ["l21"]
    assert "rule 21" in prediction.experiences
    assert "story 21" not in prediction.experiences
    assert server.requests[0].inputs["problem"] == "the odd problem"
    assert "l20" not in server.requests[0].inputs["shortlist"]


def test_it_stands_where_a_retriever_does(server):
    answers = {"ids": ["l5"], "reasoning": "so", "answer": "7", "experiences_used": ["l5"]}
    server.script = lambda role, inputs, messages: answers
    actor = Actor("question -> answer", shortlist())  # type: ignore[arg-type]
    assert retrievers(actor) == [actor.retriever.retriever]
    assert actor(question="odd ones").answer == "7"
    block = server.requests[-1].inputs["experiences"]
    assert block.startswith(OPEN)
    assert [entry.id for entry in parse(block)] == ["l5"]


def test_it_is_saved_and_loaded_with_its_retriever(tmp_path):
    saved = shortlist()
    saved.retriever.depth = 9
    saved.save(tmp_path / "s.json")
    loaded = Shortlist(ExperienceRetriever(), k=3, shortlist=10)
    loaded.load(tmp_path / "s.json")
    assert loaded.retriever.depth == 9


@pytest.mark.parametrize("sizes", [{"k": 0}, {"k": 10}, {"shortlist": 2}])
def test_sizes_that_leave_no_choice_are_refused(sizes):
    with pytest.raises(ConfigurationError):
        shortlist(**sizes)

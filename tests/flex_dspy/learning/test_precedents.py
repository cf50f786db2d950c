"""Training examples as precedents: a library that no model is asked for."""

import dspy
import pytest

from flex_dspy import ExperienceLibrary, ForwardLearning, LibraryStore, equip, precedent_library
from flex_dspy.core.errors import ConfigurationError
from tests.llm_server import LLMServer
from tests.scripted import problems, right, student

TRAIN = problems(12)
TEXTS = {example.problem for example in TRAIN}


@pytest.fixture
def server(llm_server: LLMServer) -> LLMServer:
    llm_server.script = student
    dspy.configure(lm=dspy.LM("openai/test", api_base=llm_server.url, api_key="none", cache=False))
    return llm_server


def learn(library=None, **options) -> ExperienceLibrary:
    optimizer = ForwardLearning(right, progress=False, max_rollouts=1, precedents=True, library=library, **options)
    learned = optimizer.compile(equip(dspy.Predict("problem -> answer: int")), trainset=TRAIN)
    return learned.retriever.library


def test_each_example_is_an_entry_without_a_lesson():
    library = precedent_library(TRAIN, task="sums")
    assert library.task == "sums"
    assert {entry.precedents[0].problem for entry in library} == TEXTS
    assert {entry.precedents[0].answer for entry in library} == {str(example.answer) for example in TRAIN}
    assert not any(entry.teaches for entry in library)


def test_a_problem_is_kept_once_and_none_without_an_answer():
    bare = dspy.Example(problem="Case 99").with_inputs("problem")
    assert precedent_library([*TRAIN, *TRAIN, bare]) == precedent_library(TRAIN)


def test_other_fields_of_an_example_are_no_answer():
    example = dspy.Example(message="Where is it?", intent="arrival", row=7).with_inputs("message")
    [entry] = precedent_library([example], ["intent"])
    assert entry.precedents[0].answer == "arrival"


def test_learning_begins_with_them_and_adds_lessons(server):
    library = learn(lessons_from="failures")
    assert {p.problem for entry in library if not entry.teaches for p in entry.precedents} == TEXTS
    assert any(entry.teaches for entry in library)


def test_they_are_kept_before_the_first_request(server, tmp_path):
    def broken(request):
        raise AssertionError("nothing is asked")

    store = LibraryStore(tmp_path / "library.json")
    ended = ForwardLearning(right, progress=False, precedents=True, library=store, stop=[lambda event: "at once"])
    server.script = broken
    ended.compile(equip(dspy.Predict("problem -> answer: int")), trainset=TRAIN)
    assert {p.problem for entry in store.library for p in entry.precedents} == TEXTS


def test_a_resumed_run_holds_them_once(server, tmp_path):
    path = tmp_path / "library.json"
    assert learn(path).hash == learn(path).hash == learn().hash


def test_the_library_does_not_depend_on_concurrency(server):
    assert learn(concurrency=1).hash == learn(concurrency=8).hash


def test_it_is_another_run(server):
    actor = equip(dspy.Predict("problem -> answer: int"))
    runs = [ForwardLearning(right, **options).run_id(actor, TRAIN) for options in ({}, {"precedents": True})]
    assert len(set(runs)) == 2


def test_precedents_need_reference_answers():
    with pytest.raises(ConfigurationError, match="precedents hold the reference answers"):
        ForwardLearning(right, precedents=True, reference=False)

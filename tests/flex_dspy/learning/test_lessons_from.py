"""Lessons from failures alone: what is solved at the first attempt is kept as a precedent, without a request more."""

import dspy
import pytest

from flex_dspy import ExperienceLibrary, ExperienceRetriever, ForwardLearning, OnlineLearner, equip, merge
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.experience import Experience, Precedent
from flex_dspy.search.nearest import nearest_lessons
from tests.llm_server import LLMServer
from tests.scripted import problems, right, student

TRAIN = problems(12)


@pytest.fixture
def server(llm_server: LLMServer) -> LLMServer:
    llm_server.script = student
    dspy.configure(lm=dspy.LM("openai/test", api_base=llm_server.url, api_key="none", cache=False))
    return llm_server


def learn(**options) -> ExperienceLibrary:
    optimizer = ForwardLearning(right, progress=False, max_rollouts=1, **options)
    learned = optimizer.compile(equip(dspy.Predict("problem -> answer: int")), trainset=TRAIN)
    return learned.retriever.library


def calls(server: LLMServer, role: str) -> int:
    return sum(request.role == role for request in server.requests)


def test_only_rollouts_with_a_failure_reach_the_critic(server):
    library = learn(lessons_from="failures")
    solved = {entry.precedents[0].problem for entry in library if not entry.teaches}
    assert solved == {example.problem for example in TRAIN if int(example.problem.split()[1][:-1]) % 2 == 0}
    assert calls(server, "critic") == len(TRAIN) - len(solved) == 6
    assert all(entry.zone == "golden" and not entry.rules for entry in library if not entry.teaches)
    assert {p.problem for entry in library for p in entry.precedents} == {example.problem for example in TRAIN}


def test_by_default_each_rollout_gives_a_lesson(server):
    library = learn()
    assert all(entry.teaches for entry in library)
    assert calls(server, "critic") == len(TRAIN)


def test_the_library_does_not_depend_on_concurrency(server):
    assert learn(lessons_from="failures", concurrency=1).hash == learn(lessons_from="failures", concurrency=8).hash


def test_it_is_another_run_and_the_default_is_the_run_of_before(server):
    actor = equip(dspy.Predict("problem -> answer: int"))
    runs = [ForwardLearning(right, **options).run_id(actor, TRAIN) for options in ({}, {"lessons_from": "all"})]
    assert runs[0] == runs[1] != ForwardLearning(right, lessons_from="failures").run_id(actor, TRAIN)
    with pytest.raises(ConfigurationError, match="lessons_from must be 'all' or 'failures', got 'some'"):
        ForwardLearning(right, lessons_from="some")


def test_an_online_learner_keeps_accepted_answers_without_a_lesson(server):
    with OnlineLearner(dspy.Predict("problem -> answer: int"), lessons_from="failures") as learner:
        learner.observe({"problem": "Case 2"}, {"answer": 7}, 1.0)
        learner.observe({"problem": "Case 3: what is 2 # 2?"}, {"answer": 4}, 0.0)
        learner.flush(60)
        library = learner.program.retriever.library
    assert sorted(entry.teaches for entry in library) == [False, True]


def precedent_only(name: str) -> Experience:
    return Experience("golden", "", precedents=(Precedent(name, f"transfer {name}", "declined"),))


def test_entries_without_a_lesson_are_no_hits_and_take_no_place_of_one():
    lesson = Experience("golden", "Look at the word transfer.")
    library = ExperienceLibrary([lesson, *(precedent_only(str(n)) for n in range(80))])
    retriever = ExperienceRetriever(library, views=["lexical"], depth=10)
    assert [hit.experience.id for hit in retriever("transfer 7").hits] == [lesson.id]
    assert nearest_lessons(library, Experience("golden", "transfer"), 3) == [lesson]
    found = ExperienceRetriever(library, views=["precedents"], exclude_self=False)("transfer 7").experiences
    assert "Solved (1.000): transfer 7 => declined" in found
    assert "Method:" not in found


def test_merging_keeps_each_entry_without_a_lesson():
    one, other = ExperienceLibrary([precedent_only("1")]), ExperienceLibrary([precedent_only("1"), precedent_only("2")])
    merged = merge(one, other).library
    assert sorted(p.example_id for entry in merged for p in entry.precedents) == ["1", "2"]
    assert ExperienceLibrary.from_json(merged.to_json()).hash == merged.hash


def test_such_entries_are_shown_by_their_problem():
    library = ExperienceLibrary([precedent_only("1")])
    assert "transfer 1" in library._repr_html_()

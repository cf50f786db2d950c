"""The precedents most like a problem: the same for a library that grew and for one that was loaded."""

import random

import pytest

from flex_dspy.libraries.experience import Experience, Insert, Precedent, Remove
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.indexes import index_of
from flex_dspy.search.precedent_index import LONGEST_PROBLEM, PrecedentIndex
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.search.words import spelling_of, words_of
from tests.flex_dspy.search.test_indexes import committed

MESSAGES = {
    "my transfer is still pending": "pending",
    "why was my transfer declined": "declined",
    "the transfer was declinned again": "declined",
    "how long do transfers take": "timing",
    "when will the money arrive": "timing",
    "please cancel my transfer": "cancel",
}


def entry(number: int, problem: str, answer: str) -> Experience:
    return Experience("golden", f"Lesson {number}.", precedents=(Precedent(str(number), problem, answer),))


def library_of(messages: dict[str, str]) -> ExperienceLibrary:
    return ExperienceLibrary([entry(number, *pair) for number, pair in enumerate(messages.items())])


def similar(library: ExperienceLibrary, problem: str, depth: int = 3, skip: frozenset[str] = frozenset()):
    return index_of(library, "precedents", PrecedentIndex).search(library, problem, depth, skip=skip)


def test_the_most_similar_problem_comes_first_even_where_a_word_is_spelled_otherwise():
    found = similar(library_of(MESSAGES), "was it declinned")
    assert [match.precedent.answer for match in found[:2]] == ["declined", "declined"]
    assert found[0].precedent.problem == "the transfer was declinned again"


def test_a_similarity_lies_between_0_and_1_and_is_1_for_the_problem_itself():
    library = library_of(MESSAGES)
    for problem in MESSAGES:
        found = similar(library, problem, len(MESSAGES))
        assert found[0].precedent.problem == problem
        assert found[0].score == pytest.approx(1.0)
        assert all(0 < match.score <= 1 for match in found)
    assert similar(library, "???") == []


def test_skipped_problems_make_room_for_the_next():
    library = library_of(MESSAGES)
    first, second = similar(library, "transfer declined", 2)
    assert similar(library, "transfer declined", 1, frozenset({first.precedent.problem})) == [second]


@pytest.mark.parametrize("seed", range(5))
def test_a_snapshot_is_searched_like_the_library_that_is_loaded_from_its_file(seed):
    random_ = random.Random(seed)
    words = ["transfer", "card", "money", "declined", "pending", "fee", "why", "when", "cancel", "arrive"]
    library, snapshots = ExperienceLibrary(), []
    for step in range(40):
        if len(library) and random_.random() < 0.25:
            edit = Remove(random_.choice([each.id for each in library]))
        else:
            edit = Insert(entry(step, " ".join(random_.choices(words, k=5)), random_.choice("ab")))
        library = committed(library, edit)
        snapshots.append(library)
    similar(library, "transfer declined")  # the index has read all of the line
    for snapshot in snapshots[::7]:
        loaded = ExperienceLibrary.from_json(snapshot.to_json())
        for query in ("transfer declined", "when does the money arrive", "card"):
            assert similar(snapshot, query, 8) == similar(loaded, query, 8)


def test_the_retriever_leaves_out_the_problem_itself_and_hidden_zones():
    library = library_of(MESSAGES)
    retriever = ExperienceRetriever(library, views=["precedents"])
    question = "why was my transfer declined"
    assert question not in [match.precedent.problem for match in retriever.precedents(question, 5)]
    hit = retriever(question).hits[0]
    assert hit.precedents[0][0].problem != question
    assert ExperienceRetriever(library, zones=["warning"]).precedents(question, 5) == []


def test_terms_are_words_and_trigrams_within_them():
    assert set(words_of("Card 7")) < set(spelling_of("Card 7"))
    assert spelling_of("ab")[" ^ab"] == 1
    assert all(term.startswith(" ") for term in spelling_of("pending").keys() - {"pending"})


def test_only_the_beginning_of_a_long_problem_is_compared():
    library = library_of({"pending " * 300: "a", "x" * LONGEST_PROBLEM + " declined": "b"})
    assert [match.precedent.answer for match in similar(library, "declined")] == []

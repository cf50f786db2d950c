"""A query of any length costs no more than one of the longest length that is looked at."""

import dspy
import numpy as np
import pytest

from flex_dspy.libraries.experience import Experience, Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search import lexical_index
from flex_dspy.search.indexes import LONGEST_QUERY
from flex_dspy.search.nearest import nearest_lessons
from flex_dspy.search.retrieval import ExperienceRetriever

DICE = Experience("golden", "Count the complement.", precedents=(Precedent("e1", "CC(=O)NC", "CC(=O)O.CN"),))
LIBRARY = ExperienceLibrary([DICE, Experience("golden", "Add the chances.")])
FILLER = "y " * 500_000


def found(query: str, view: str, **settings: object) -> list[str]:
    retriever = ExperienceRetriever(LIBRARY, views=[view], **settings)
    return [hit.experience.id for hit in retriever.hits(query, 5)]


def test_words_beyond_the_longest_query_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []
    words_of = lexical_index.words_of
    assert found("complement", "lexical") == [DICE.id]
    monkeypatch.setattr(lexical_index, "words_of", lambda text: lengths.append(len(text)) or words_of(text))
    assert found("complement " + FILLER, "lexical") == [DICE.id]
    assert found(FILLER + "complement", "lexical") == []
    assert nearest_lessons(LIBRARY, Experience("golden", "complement " * 2_000), 1) == [DICE]
    assert max(lengths) <= LONGEST_QUERY


def test_a_long_text_is_no_molecule(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("CC(=O)NCC", "structural") == [DICE.id]
    assert found("C" * 1_000_000, "structural") == []
    assert found(FILLER, "structural") == []


def test_an_embedder_is_given_the_beginning() -> None:
    seen: list[int] = []

    def embed(texts: list[str]) -> np.ndarray:
        seen.extend(map(len, texts))
        return np.ones((len(texts), 2), np.float32)

    assert len(found("complement " + FILLER, "dense", embedder=dspy.Embedder(embed, caching=False))) == 2
    assert max(seen) == LONGEST_QUERY

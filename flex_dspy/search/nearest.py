"""Finds the entries that the updater compares with a new lesson."""

from __future__ import annotations

from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.exact_indexes import RuleIndex
from flex_dspy.search.indexes import index_of
from flex_dspy.search.lexical_index import LexicalIndex
from flex_dspy.search.ranking import until_enough


def nearest_lessons(library: ExperienceLibrary, lesson: Experience, count: int) -> list[Experience]:
    """The entries nearest to a new lesson, which the updater compares with it.

    These are the entries that hold one of its rules word for word. If there are none, they are the closest entries by
    words.
    """
    exact = index_of(library, "rules", RuleIndex).search(library, lesson, count)
    if exact:
        return exact
    index, text = index_of(library, "lexical", LexicalIndex), lesson.text()
    matches = until_enough(lambda depth: index.search(library, text, depth), count, lambda id: library[id].teaches)
    return [library[match.entry_id] for match in matches]

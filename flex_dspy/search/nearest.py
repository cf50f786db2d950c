"""The entries nearest to a new lesson: those that the updater compares it with."""

from __future__ import annotations

from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.exact_indexes import RuleIndex
from flex_dspy.search.indexes import index_of
from flex_dspy.search.lexical_index import LexicalIndex


def nearest_lessons(library: ExperienceLibrary, lesson: Experience, count: int) -> list[Experience]:
    """The few entries that a new lesson might belong to: what the updater compares it with.

    An entry that holds one of its rules word for word is surely one of them; otherwise the closest by words.
    """
    exact = index_of(library, "rules", RuleIndex).search(library, lesson, count)
    if exact:
        return exact
    matches = index_of(library, "lexical", LexicalIndex).search(library, lesson.text(), count)
    return [library[match.entry_id] for match in matches]

"""Finds the entries that the updater compares with a new lesson."""

from __future__ import annotations

from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.gathering import choose_entry
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.exact_indexes import KindIndex, RuleIndex
from flex_dspy.search.indexes import index_of
from flex_dspy.search.lexical_index import LexicalIndex
from flex_dspy.search.ranking import until_enough


def nearest_lessons(library: ExperienceLibrary, lesson: Experience, count: int) -> list[Experience]:
    """The entries nearest to a new lesson, which the updater compares with it.

    These are the entries that hold one of its rules word for word. If there are none, they are the closest entries by
    words. If an entry gathers lessons of its kind, no other is needed.
    """
    alike = entry_of_kind(library, lesson)
    return [alike] if alike is not None and alike.gathers else _similar(library, lesson, count)


def entry_of_kind(library: ExperienceLibrary, lesson: Experience) -> Experience | None:
    """An entry of the lesson's category and method that holds its first rule, or else one that has room for it."""
    rule = lesson.rules[0].text if lesson.rules else ""
    alike = list(index_of(library, "kinds", KindIndex).search(library, lesson))
    return choose_entry(alike, rule)


def _similar(library: ExperienceLibrary, lesson: Experience, count: int) -> list[Experience]:
    exact = index_of(library, "rules", RuleIndex).search(library, lesson, count)
    if exact:
        return exact
    index, text = index_of(library, "lexical", LexicalIndex), lesson.text()
    matches = until_enough(lambda depth: index.search(library, text, depth), count, lambda id: library[id].teaches)
    return [library[match.entry_id] for match in matches]

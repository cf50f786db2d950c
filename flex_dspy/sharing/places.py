"""Lists the texts of a library, each with its place."""

from __future__ import annotations

from collections.abc import Iterator

from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary


def texts(entry: Experience) -> Iterator[tuple[str, str]]:
    """Every text of an entry that is not empty.

    Args:
        entry: Any entry.

    Yields:
        The text's place, such as ``rules[2].examples[0]``, and the text.
    """
    fields = [("id", entry.id), ("category", entry.category), ("method", entry.method), *_rule_texts(entry)]
    fields += [("trajectory", entry.trajectory), ("step", entry.step), ("author", entry.author)]
    for number, case in enumerate(entry.precedents):
        names = ("example_id", "problem", "answer")
        fields += [(f"precedents[{number}].{name}", getattr(case, name)) for name in names]
    for number, source in enumerate(entry.sources):
        fields += [(f"sources[{number}]", text) for text in (source.id, source.name, *source.runs, *source.lessons)]
    fields += list(_foreign(entry.origin, "origin"))
    return ((place, text) for place, text in fields if text)


def texts_of_library(library: ExperienceLibrary) -> Iterator[tuple[str, str]]:
    """Every text of a library's own fields: its task, its runs, and the fields of a foreign format."""
    fields = [("task", library.task), *(("runs", run) for run in library.runs), *_foreign(library.origin, "origin")]
    return ((place, text) for place, text in fields if text)


def _rule_texts(entry: Experience) -> Iterator[tuple[str, str]]:
    for number, rule in enumerate(entry.rules):
        yield f"rules[{number}]", rule.text
        yield from ((f"rules[{number}].examples[{n}]", example) for n, example in enumerate(rule.examples))


def _foreign(value: object, place: str) -> Iterator[tuple[str, str]]:
    """The texts in the fields of a foreign format, including the keys."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield f"{place}: a key", str(key)
            yield from _foreign(inner, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _foreign(inner, f"{place}[{number}]")

"""Turns training examples into precedents. This is the cheapest experience, because it needs no model call."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import dspy

from flex_dspy.core.examples import example_id, problem_of, reference_of
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import Store


def precedent_library(
    examples: Iterable[dspy.Example], outputs: Collection[str] | None = None, *, task: str = "", scope: str = ""
) -> ExperienceLibrary:
    """A library of precedents without lessons, one precedent for each example.

    Args:
        examples: Examples with reference answers. Those without one are left out, and each problem is kept once.
        outputs: Names of the fields that hold reference answers; None takes all fields that are not inputs.
        task: Name of the task.
        scope: The scope that the precedents belong to; "" for all.

    Example:
        >>> import dspy
        >>> example = dspy.Example(message="Where is my card?", intent="card_arrival").with_inputs("message")
        >>> precedent_library([example])
        ExperienceLibrary(no task: 1 golden; 1 precedents)
    """
    entries: dict[str, Experience] = {}
    for example in examples:
        answer = reference_of(example, example.labels().keys() if outputs is None else outputs)
        if answer:
            precedent = Precedent(example_id(example), problem_of(example), answer)
            entries.setdefault(precedent.example_id, Experience("golden", "", precedents=(precedent,), scope=scope))
    return ExperienceLibrary(list(entries.values()), task=task)


def keep_precedents(store: Store, run: str, precedents: ExperienceLibrary) -> None:
    """Put precedents into a library in one commit. A run makes this commit only once.

    Args:
        store: The store of the library.
        run: Identity of the run.
        precedents: See ``precedent_library``.
    """
    edits = tuple(map(Insert, precedents))
    store.commit([Commit(f"{run}.precedents", 1, edits)])

"""Finds problems that a library was learned from, however they are written.

Example:
    >>> sorted(common_problems(["CASE", "other"], ["case"], str.lower))
    ['CASE']
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import dspy

from flex_dspy.core.errors import OverlapError
from flex_dspy.core.examples import example_id, problem_of
from flex_dspy.libraries.library import ExperienceLibrary

# One form for all ways of writing a problem; None where the text cannot be read: it then stands for itself.
ProblemKey = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class FastKey:
    """A key that is slow, with a sketch that saves most of its calls.

    A canonical SMILES takes RDKit 0.1 to 0.4 ms, and a library holds tens of thousands of problems. So the key is asked
    only of problems that share their sketch with an example.

    Attributes:
        key: One form for all ways of writing a problem.
        sketch: Takes microseconds, and is equal for any two problems whose keys are equal.
    """

    key: ProblemKey
    sketch: Callable[[str], str]

    def __call__(self, problem: str) -> str | None:
        """The key of a problem."""
        return self.key(problem)


def common_problems(problems: Iterable[str], learned: Iterable[str], key: ProblemKey | None = None) -> set[str]:
    """The problems that are among the learned ones.

    Args:
        problems: The problems that are asked about.
        learned: The problems that were learned from.
        key: One form for all ways of writing a problem; None overlooks only differences in white space.
    """
    asked, seen = set(problems), set(learned)
    same = asked & seen  # letter by letter, which is free
    sketch = _sketch(key)
    near: dict[str, list[str]] = {sketch(problem): [] for problem in asked - same}
    for problem in seen if near else ():
        group = near.get(sketch(problem))
        if group is not None:
            group.append(problem)
    forms = {_form(problem, key) for group in near.values() for problem in group}
    return same | {problem for problem in asked - same if near[sketch(problem)] and _form(problem, key) in forms}


def _sketch(key: ProblemKey | None) -> Callable[[str], str]:
    if key is None:
        return _one_line
    return key.sketch if isinstance(key, FastKey) else lambda problem: ""


def _form(problem: str, key: ProblemKey | None) -> str:
    return (key(problem) if key else None) or _one_line(problem)


def _one_line(text: str) -> str:
    """The text with each stretch of white space as one space."""
    return " ".join(text.split())


def precedent_ids(library: ExperienceLibrary) -> set[str]:
    """Ids of all examples that the library was learned from."""
    return {precedent.example_id for entry in library for precedent in entry.precedents}


def precedent_problems(library: ExperienceLibrary) -> set[str]:
    """The problems of all examples that the library was learned from."""
    return {precedent.problem for entry in library for precedent in entry.precedents}


def without_overlap(
    examples: Sequence[dspy.Example], learned: Iterable[str], *, key: ProblemKey | None = None
) -> tuple[list[dspy.Example], list[dspy.Example]]:
    """Split examples into those that were not learned from, and those that were.

    Args:
        examples: The examples.
        learned: Problems that were learned from, as text; ids of examples count as well.
        key: One form for all ways of writing a problem; None overlooks only differences in white space.

    Returns:
        The clean ones, and the others.
    """
    learned = set(learned)
    problems = [problem_of(example) for example in examples]
    shared_problems = common_problems(problems, learned, key)
    clean: list[dspy.Example] = []
    shared: list[dspy.Example] = []
    for example, problem in zip(examples, problems, strict=True):
        (shared if problem in shared_problems or example_id(example) in learned else clean).append(example)
    return clean, shared


def refuse_overlap(
    library: ExperienceLibrary, examples: Sequence[dspy.Example], *, key: ProblemKey | None = None
) -> None:
    """Refuse examples that the library was learned from.

    Raises:
        OverlapError: If there are any.
    """
    _, shared = without_overlap(examples, precedent_problems(library) | precedent_ids(library), key=key)
    if shared:
        raise OverlapError(
            f"{len(shared)} of {len(examples)} examples were learned from, e.g. {problem_of(shared[0])[:120]!r}: "
            "leave them out, or allow the overlap if you want to measure memory rather than learning"
        )

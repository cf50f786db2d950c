"""Finds problems that a library was learned from, even if they are written differently.

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

# Normal form of a problem: equal for all ways of writing it. None if the text cannot be read; then the text itself is
# compared.
ProblemKey = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class FastKey:
    """A slow key with a fast sketch that avoids most calls of the key.

    RDKit needs 0.1 to 0.4 ms for a canonical SMILES, and a library holds tens of thousands of problems. So the key is
    computed only for problems that have the same sketch as an example.

    Attributes:
        key: Normal form of a problem.
        sketch: Fast function (microseconds). Problems with equal keys must have equal sketches.
    """

    key: ProblemKey
    sketch: Callable[[str], str]

    def __call__(self, problem: str) -> str | None:
        """Key of a problem."""
        return self.key(problem)


def common_problems(problems: Iterable[str], learned: Iterable[str], key: ProblemKey | None = None) -> set[str]:
    """Problems that are also among the learned problems.

    Args:
        problems: The problems to look for.
        learned: The problems that were learned from.
        key: Normal form of a problem; None ignores only differences in white space.
    """
    asked, seen = set(problems), set(learned)
    same = asked & seen  # equal texts need no key
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
    """Text on one line, with single spaces."""
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
    """Split examples by whether a library was learned from them.

    Args:
        examples: The examples.
        learned: Problems that were learned from, as text; ids of examples count as well.
        key: Normal form of a problem; None ignores only differences in white space.

    Returns:
        The examples that were not learned from, and the examples that were.
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
    """Raise an error if the library was learned from some of the examples.

    Raises:
        OverlapError: If the library was learned from some of the examples.
    """
    _, shared = without_overlap(examples, precedent_problems(library) | precedent_ids(library), key=key)
    if shared:
        raise OverlapError(
            f"{len(shared)} of {len(examples)} examples were learned from, e.g. {problem_of(shared[0])[:120]!r}: "
            "leave them out, or allow the overlap if you want to measure memory rather than learning"
        )

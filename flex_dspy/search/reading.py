"""Pins a program to a snapshot while it runs, and records the entries that it was shown."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from flex_dspy.core.ambient import Ambient
from flex_dspy.libraries.library import ExperienceLibrary


@dataclass
class Reading:
    """The snapshot that one run of a program is pinned to, and the entries it was shown.

    Attributes:
        library: The snapshot.
        shown: Ids of the entries that were written into a prompt, in order. An entry that was written twice is listed
            twice.
        hidden: Ids of entries that no retriever finds, as if the snapshot did not hold them.
        replace: Whether the next entries of the ranking take the places of hidden entries.
        problem: The problem under way. Entries that rest only on this problem are not shown, whatever text a step of
            the program searches for.
    """

    library: ExperienceLibrary
    shown: list[str] = field(default_factory=list)
    hidden: frozenset[str] = frozenset()
    replace: bool = True
    problem: str | None = None


_CURRENT: Ambient[Reading | None] = Ambient("reading", None)


@contextlib.contextmanager
def pinned(
    library: ExperienceLibrary,
    hidden: frozenset[str] = frozenset(),
    *,
    replace: bool = True,
    problem: str | None = None,
) -> Iterator[Reading]:
    """Let every retriever read one snapshot within a ``with`` block, and record the entries that it shows.

    Args:
        library: The snapshot.
        hidden: Ids of entries that are not found in this block.
        replace: Whether the next entries of the ranking take the places of hidden entries. Otherwise these places stay
            empty.
        problem: The problem under way. Retrievers with ``exclude_self`` do not show entries that rest only on this
            problem, even if a step of the program searches with another text.

    Example:
        >>> from flex_dspy import ExperienceLibrary
        >>> with pinned(ExperienceLibrary()) as reading:
        ...     pass  # call a program here
        >>> reading.shown
        []
    """
    reading = Reading(library, hidden=frozenset(hidden), replace=replace, problem=problem)
    with _CURRENT.within(reading):
        yield reading


def current_reading() -> Reading | None:
    """The reading of the innermost ``pinned`` block; None outside of one."""
    return _CURRENT.get()


def record(entry_ids: Iterable[str]) -> None:
    """Record that these entries were written into a prompt; see ``pinned``."""
    reading = _CURRENT.get()
    if reading is not None:
        reading.shown.extend(entry_ids)

"""A program that reads new lessons while it runs."""

from __future__ import annotations

from typing import Any

import dspy

from flex_dspy.learning.settings import OnlineSettings
from flex_dspy.libraries.followed import FollowedFile
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import Store
from flex_dspy.models.rollouts import copy_program
from flex_dspy.programs.equip import equip
from flex_dspy.search.retrieval import retrievers


class NewestSnapshot:
    """The library of a store that this process learns into. A program and all its copies share it.

    Args:
        store: The store.
        follow: Always read the newest snapshot. False reads the snapshot of the last ``refresh_to``.
    """

    def __init__(self, store: Store, follow: bool) -> None:
        self._store = store
        self._fixed = None if follow else store.library

    def snapshot(self) -> ExperienceLibrary:
        """The store's newest snapshot, or the snapshot of the last refresh."""
        return self._store.library if self._fixed is None else self._fixed

    def refresh_to(self, library: ExperienceLibrary) -> None:
        """Read this snapshot from now on. Does nothing if the newest snapshot is read anyway."""
        self._fixed = None if self._fixed is None else library

    def __deepcopy__(self, memo: dict[int, Any]) -> NewestSnapshot:
        return self

    # Another process has no learner, so a copy there can only follow the file.
    def __reduce__(self) -> tuple[Any, ...]:
        if self._fixed is None and self._store.path is not None:
            return FollowedFile, (self._store.path,)
        return self.snapshot().__reduce__()


def follow(program: dspy.Module, newest: NewestSnapshot, settings: OnlineSettings) -> dspy.Module:
    """A copy of the program that reads the library.

    Args:
        program: Any program. ``equip`` gives experience to a program without experience.
        newest: The library.
        settings: Say whether a problem's own lessons are shown, and which scope a program without experience reads.
    """
    scopes = (settings.scope,) if settings.scope else ()
    program = copy_program(program) if retrievers(program) else equip(program, newest, scopes=scopes)
    for retriever in retrievers(program):
        retriever.library = newest
        retriever.exclude_self = settings.exclude_self
    return program

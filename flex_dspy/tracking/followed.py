"""A library that follows its source in files or in the MLflow registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flex_dspy.libraries.followed import FollowedFile, Stamp
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tracking import registry


class FollowedLibrary(FollowedFile):
    """The newest snapshot of a library that other processes may change. It is thread-safe.

    A deep copy is the same object, so that a copied program uses the same follower.

    Args:
        source: A file, a folder, or a name in MLflow, as in ``flex_dspy.tracking.registry.read_library``.
        every: Seconds between two checks of the source; 0 checks at each call. A check of files takes microseconds, a
            check of MLflow is a query. A name with a version number never changes, and is read once.
        tracking_uri: The tracking store of a library in MLflow; None for MLflow's own choice.
    """

    def __init__(self, source: str | Path, every: float = 1.0, tracking_uri: str | None = None) -> None:
        super().__init__(source, every)
        self.tracking_uri = tracking_uri

    def __reduce__(self) -> tuple[Any, ...]:
        source = self.source if self._is_registered() else self._path
        return FollowedLibrary, (source, self.every, self.tracking_uri)

    def snapshot(self) -> ExperienceLibrary:
        """The library as of the last check; the same object as long as nothing changed.

        Raises:
            LibraryError: If a file is gone or cannot be used; the next call checks again.
            ConfigurationError: If MLflow has no such library, or files of one folder are of different tasks.
        """
        return super().snapshot()

    def _is_registered(self) -> bool:
        return registry.is_registered(self._path, str(self.source))

    def _look(self) -> Stamp:
        return self._alias_stamp() if self._is_registered() else super()._look()

    def _alias_stamp(self) -> Stamp:
        """The number of the version that an alias points to; a number is returned unchanged."""
        name, _, alias = str(self.source).partition("@")
        if not alias:
            return (name,)
        versions = registry.list_versions(registry.name_of(str(self.source)), self.tracking_uri)
        return tuple(version.number for version in versions if alias in version.aliases)

    def _read(self) -> ExperienceLibrary:
        if self._is_registered():
            return registry.read_library(self.source, self.tracking_uri)
        return super()._read()

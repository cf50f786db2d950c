"""The read-only interface of a library, for modules that the library itself imports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from flex_dspy.libraries.experience import Experience


class Contents(Protocol):
    """The read-only interface of a library: entries, version and runs."""

    @property
    def task(self) -> str:
        """Name of the task."""
        ...

    @property
    def hash(self) -> str:
        """SHA-256 of task and entries."""
        ...

    @property
    def parent(self) -> str | None:
        """Hash of the version that the library was made from."""
        ...

    @property
    def seen(self) -> int:
        """Number of commits applied."""
        ...

    @property
    def runs(self) -> Mapping[str, int]:
        """For each learning run, the last step that the library holds."""
        ...

    @property
    def precedent_count(self) -> int:
        """Number of precedents behind all entries."""
        ...

    @property
    def waiting(self) -> Sequence[Experience]:
        """The lessons that wait for a person's approval."""
        ...

    def sizes(self) -> dict[str, int]:
        """Number of entries by zone."""
        ...

    def get(self, entry_id: str) -> Experience | None:
        """The entry with this id, or None."""
        ...

    def __getitem__(self, entry_id: str) -> Experience: ...

    def __contains__(self, entry_id: object) -> bool: ...

    def __iter__(self) -> Iterator[Experience]: ...

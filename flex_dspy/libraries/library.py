"""The experience library: an immutable snapshot, and the pure function that applies a commit to it.

A snapshot shares its structure with the snapshot before it. To make the next snapshot, or to keep the last few hundred,
therefore costs the same at a hundred entries and at a hundred thousand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rpds import HashTrieMap

from flex_dspy.core import representations
from flex_dspy.core.entry_points import find_points, load_point
from flex_dspy.core.scopes import SHARED, check_scope
from flex_dspy.libraries.by_hand import ByHand
from flex_dspy.libraries.change_log import Change, ChangeLog
from flex_dspy.libraries.diffing import LibraryDiff, diff
from flex_dspy.libraries.draft import Draft
from flex_dspy.libraries.editing import EDITS, check_edits
from flex_dspy.libraries.experience import EXPERIENCES_JSON, Commit, Edit, Experience, PersonEdit
from flex_dspy.libraries.library_json import entries_json, value_json
from flex_dspy.libraries.scopes import ScopedEntries, log_of, sizes_of, total
from flex_dspy.libraries.statistics import statistics

if TYPE_CHECKING:
    import pandas as pd

    from flex_dspy.libraries.hits import Hits

FORMAT = "flex-dspy/1"
# Number of entries that are serialised at once for the hash; the text of all would need as much memory as the library.
_BATCH = 1_000
_DERIVED = ("hash", "_views")  # computed from the other attributes on demand
# Methods that make or write libraries. Their modules import this one, so they register themselves here.
_METHODS: dict[str, Callable[..., Any]] = {}


def register_methods(**functions: Callable[..., Any]) -> None:
    """Register the functions that methods of ``ExperienceLibrary`` call.

    Args:
        **functions: The functions ``parse``, ``load``, ``save``, ``export`` and ``merge``.
    """
    _METHODS.update(functions)


class ExperienceLibrary(ByHand, representations.Representable):
    """An immutable set of experiences.

    Args:
        experiences: The entries; ids must differ.
        task: Name of the task the library was learned on.
        parent: Hash of the version it was made from.
        seen: Number of commits applied so far: the library's logical clock.
        runs: For each learning run, the last step that the library holds.
        origin: Fields of a foreign file format, kept so that they can be written back.
        waiting: Lessons that wait for a person's approval. They are not entries: readers of the library do not see
            them, and the content hash does not cover them.

    Raises:
        ValueError: If two experiences have one id.
    """

    def __init__(
        self,
        experiences: tuple[Experience, ...] | list[Experience] = (),
        *,
        task: str = "",
        parent: str | None = None,
        seen: int = 0,
        runs: Mapping[str, int] | None = None,
        origin: Mapping[str, Any] | None = None,
        waiting: Sequence[Experience] = (),
    ) -> None:
        entries = {experience.id: experience for experience in experiences}
        if len(entries) != len(experiences):
            raise ValueError("two experiences have the same id")
        self.task = task
        self.parent = parent
        # The clock is never behind the times of the entries.
        self.seen = max([seen, *(max(e.created_at, e.updated_at) for e in (*experiences, *waiting))])
        self.runs = dict(runs or {})
        self.origin = dict(origin or {})
        self._entries: HashTrieMap[str, Experience] = HashTrieMap(entries)
        self._waiting: HashTrieMap[str, Experience] = HashTrieMap({lesson.id: lesson for lesson in waiting})
        self._sizes = sizes_of(experiences)
        self.log = ChangeLog([Change(e.id, e.precedents, e) for e in experiences])
        self.tip = len(experiences)

    # -- reading -------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, entry_id: object) -> bool:
        return entry_id in self._entries

    def __getitem__(self, entry_id: str) -> Experience:
        return self._entries[entry_id]

    def get(self, entry_id: str) -> Experience | None:
        """The entry with this id, or None."""
        return self._entries.get(entry_id)

    def __iter__(self) -> Iterator[Experience]:
        """Entries, oldest first."""
        return iter(sorted(self._entries.values(), key=lambda e: (e.created_at, e.id)))

    def sizes(self) -> dict[str, int]:
        """Number of entries by zone."""
        return total(self._sizes).zones()

    @property
    def waiting(self) -> tuple[Experience, ...]:
        """The lessons that wait for a person's approval, oldest first."""
        return tuple(sorted(self._waiting.values(), key=lambda e: (e.created_at, e.id)))

    @property
    def precedent_count(self) -> int:
        """Number of precedents behind all entries."""
        return total(self._sizes).precedents

    # -- scopes --------------------------------------------------------------------------------------------

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes of the entries and waiting lessons; "" is the shared scope."""
        return tuple(sorted({*self._sizes, *(lesson.scope for lesson in self._waiting.values())}))

    def scoped(self, *scopes: str, shared: bool = True) -> ExperienceLibrary:
        """A view: a library with the entries of these scopes and the shared entries, and nothing of other scopes.

        A view can be searched, printed, compared and saved like any library. It does not hold the runs and the file of
        the whole library, and its clock shows its own last change. If no entry is hidden, the view is the library
        itself.

        Args:
            *scopes: The scopes to include; none for the shared entries only. An unknown scope has no entries.
            shared: Whether to include the shared entries.

        Raises:
            ValueError: If a text is not a valid scope.
        """
        wanted = frozenset(map(check_scope, scopes)) | ({SHARED} if shared else frozenset())
        held = wanted.intersection(self.scopes)
        if len(held) == len(self.scopes):
            return self
        views: dict[frozenset[str], ExperienceLibrary] = self.__dict__.setdefault("_views", {})
        if held not in views:
            views[held] = self._view(held)  # two threads may both make the view; the two are equal
        return views[held]

    def _view(self, scopes: frozenset[str]) -> ExperienceLibrary:
        sizes = HashTrieMap({scope: size for scope, size in self._sizes.items() if scope in scopes})
        waiting = {lesson.id: lesson for lesson in self._waiting.values() if lesson.scope in scopes}
        log = log_of(self.log, scopes)
        return self._with(
            parent=None,
            seen=max([total(sizes).latest, *(max(each.created_at, each.updated_at) for each in waiting.values())]),
            runs={},
            origin={},
            log=log,
            tip=log.tip(self.tip),
            _entries=ScopedEntries(self._entries, sizes),
            _sizes=sizes,
            _waiting=HashTrieMap(waiting),
        )

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the content. Two libraries have the same hash exactly if task and entries are equal."""
        digest = hashlib.sha256(self.task.encode() + b"\n[")
        entries = sorted(self._entries.values(), key=lambda e: e.id)
        for start in range(0, len(entries), _BATCH):
            batch = EXPERIENCES_JSON.dump_json(entries[start : start + _BATCH])
            digest.update(b"," * bool(start) + batch[1:-1])
        digest.update(b"]")
        return digest.hexdigest()

    @property
    def checksum(self) -> str:
        """SHA-256 of the other keys of the library file: lineage, clock, runs and foreign fields."""
        head: list[Any] = [self.hash, self.parent, self.seen, self.runs, self.origin]
        if self._waiting:
            head.append(EXPERIENCES_JSON.dump_python(list(self.waiting), mode="json"))
        return hashlib.sha256(json.dumps(head, sort_keys=True).encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExperienceLibrary) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        size = total(self._sizes)
        zones = ", ".join(f"{count} {zone}" for zone, count in size.zones().items() if count)
        task = self.task or "no task"
        queue = f"; {len(self._waiting)} waiting for approval" if self._waiting else ""
        return f"ExperienceLibrary({task}: {zones or 'empty'}; {size.precedents} precedents{queue})"

    # Optimizers deep-copy modules. A snapshot never changes, so a copy of it is itself.
    def __copy__(self) -> ExperienceLibrary:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ExperienceLibrary:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (ExperienceLibrary.from_json, (self.to_json(),))

    # -- changing ------------------------------------------------------------------------------------------

    def apply(self, commit: Commit) -> ExperienceLibrary:
        """The library after one commit. Cost does not depend on the library's size."""
        return self.apply_with_report(commit)[0]

    def apply_with_report(self, commit: Commit) -> tuple[ExperienceLibrary, list[Edit]]:
        """The library after one commit, and the edits that were really made (a merge may become an insert)."""
        draft = Draft(self.seen + 1, self._entries, self._sizes, self._waiting)
        done = [draft.edit(edit) for edit in commit.edits]
        draft.count(commit.tally)
        new = self._with(
            seen=draft.now,
            runs={**self.runs, commit.run: commit.step} if commit.run else self.runs,
            log=self.log.extend(self.tip, draft.changes, draft.now, commit),
            tip=self.tip + len(draft.changes),
            _entries=draft.entries,
            _sizes=draft.sizes,
            _waiting=draft.waiting,
        )
        return new, done

    def edit(self, edits: Sequence[PersonEdit]) -> ExperienceLibrary:
        """The library after a person's edits, as one commit; ``LibraryStore.edit`` makes them durable.

        Args:
            edits: In order.

        Raises:
            ConfigurationError: If an edit cannot be made, see ``flex_dspy.libraries.editing.check_edits``.
        """
        check_edits(self, edits)
        return self.apply(Commit(EDITS, self.runs.get(EDITS, 0) + 1, tuple(edits)))

    def _newest(self) -> ExperienceLibrary:
        return self

    def as_version(self, parent: str | None) -> ExperienceLibrary:
        """The same snapshot as a version with this parent."""
        return self._with(parent=parent, hash=self.hash)

    def with_waiting(self, lessons: Sequence[Experience]) -> ExperienceLibrary:
        """The same snapshot with these waiting lessons instead of its own."""
        latest = max([self.seen, *(max(lesson.created_at, lesson.updated_at) for lesson in lessons)])
        return self._with(seen=latest, _waiting=HashTrieMap({lesson.id: lesson for lesson in lessons}))

    def for_task(self, task: str) -> ExperienceLibrary:
        """The same snapshot with this task if it has none yet."""
        return self if self.task or not task else self.of_task(task)

    def of_task(self, task: str) -> ExperienceLibrary:
        """The same snapshot with this task."""
        return self if task == self.task else self._with(task=task)

    def _with(self, **fields: Any) -> ExperienceLibrary:
        new = object.__new__(ExperienceLibrary)
        new.__dict__.update({k: v for k, v in self.__dict__.items() if k not in _DERIVED} | fields)
        return new

    # -- files ---------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """The text of the library file: one JSON document, a line for each precedent; equal for equal content."""
        head = {
            "format": FORMAT,
            "task": self.task,
            "hash": self.hash,
            "checksum": self.checksum,
            "parent": self.parent,
            "seen": self.seen,
            "runs": dict(sorted(self.runs.items())),
            "origin": self.origin,
        }
        lines = [f'  "{key}": {value_json(value)},' for key, value in head.items()]
        queue = [f"{entries_json('waiting', self.waiting)},"] if self._waiting else []
        return "\n".join(["{", *lines, *queue, entries_json("experiences", self), "}", ""])

    @classmethod
    def from_json(cls, text: str | bytes, path: str | Path = "<text>") -> ExperienceLibrary:
        """Read a library file's text. See ``flex_dspy.libraries.library_file.parse``."""
        library: ExperienceLibrary = _METHODS["parse"](text, path)
        return library

    @classmethod
    def load(cls, path: str | Path) -> ExperienceLibrary:
        """Read a library file of this project or of the FLEX release. See ``flex_dspy.libraries.library_file.load``."""
        library: ExperienceLibrary = _METHODS["load"](path)
        return library

    def save(self, path: str | Path) -> None:
        """Write the library file atomically."""
        _METHODS["save"](self, path)

    # -- comparing -----------------------------------------------------------------------------------------

    def diff(self, older: ExperienceLibrary) -> LibraryDiff:
        """The difference from ``older`` to this library. See ``flex_dspy.libraries.diffing.diff``."""
        return diff(older, self)

    def merge(self, *others: ExperienceLibrary) -> ExperienceLibrary:
        """Merge this library with others. ``flex_dspy.libraries.merging.merge`` also returns their conflicts."""
        library: ExperienceLibrary = _METHODS["merge"](self, *others)
        return library

    def stats(self, most: int = 5) -> dict[str, Any]:
        """A summary of the library in numbers. See ``flex_dspy.libraries.statistics.statistics``."""
        return statistics(self, most)

    def to_pandas(self) -> pd.DataFrame:
        """A table with one row for each entry. See ``flex_dspy.display.frames.library_frame``."""
        return representations.frame(self)

    def search(self, query: str, k: int = 5, **settings: Any) -> Hits:
        """The entries that fit a query, best first, with the reasons.

        Args:
            query: A text, or a SMILES.
            k: Largest number of entries.
            **settings: Settings of ``ExperienceRetriever``.
        """
        [point] = find_points("flex_dspy.library")["search"]  # this package must not import ``flex_dspy.search``
        hits: Hits = load_point(point)(self, query, k, **settings)
        return hits

    def export(self, path: str | Path) -> None:
        """Write the library in the FLEX release's format "2.0"; ``save`` writes its own."""
        _METHODS["export"](self, path)

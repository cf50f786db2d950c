"""The experience library: an immutable snapshot, and the pure function that applies a commit to it.

A snapshot shares its structure with the one it came from, so that keeping the last few hundred of them, and
making the next, costs the same at a hundred entries and at a hundred thousand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from rpds import HashTrieMap

from flex_dspy.experience import (
    EXPERIENCES_JSON,
    MAX_METHOD,
    MAX_RULES,
    ZONES,
    Commit,
    Discard,
    Edit,
    Experience,
    Insert,
    Merge,
    Precedent,
    Rule,
    Tally,
)

FORMAT = "flex-dspy/1"


@dataclass(frozen=True, slots=True)
class Change:
    """What one edit gave the indexes to read: new precedents, and the entry if its text changed."""

    entry_id: str
    precedents: tuple[Precedent, ...]
    rewritten: Experience | None


class ChangeLog:
    """The changes of a line of snapshots, oldest first, and the indexes built from them.

    Snapshots of one line share one log; each knows how much of it is its own (``ExperienceLibrary.tip``).
    Only the newest snapshot appends; an older one that is changed copies its part first.
    """

    def __init__(self, changes: list[Change]) -> None:
        self.changes = changes
        self.views: dict[Any, Any] = {}

    def extended(self, tip: int, changes: list[Change]) -> ChangeLog:
        """This log with ``changes`` after its first ``tip``, in place where nothing follows them yet."""
        log = self if tip == len(self.changes) else ChangeLog(self.changes[:tip])
        log.changes.extend(changes)
        return log


class ExperienceLibrary:
    """An immutable set of experiences.

    Args:
        experiences: The entries; ids must differ.
        task: Name of the task the library was learned on.
        parent: Hash of the version it was made from.
        seen: Number of commits applied so far: the library's logical clock.
        runs: For each learning run, the last step that is in.
        origin: Fields of a foreign file format, kept so that they can be written back.

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
    ) -> None:
        entries = {experience.id: experience for experience in experiences}
        if len(entries) != len(experiences):
            raise ValueError("two experiences have the same id")
        self.task = task
        self.parent = parent
        # The clock is never behind what it has stamped.
        self.seen = max([seen, *(max(e.created_at, e.updated_at) for e in experiences)])
        self.runs = dict(runs or {})
        self.origin = dict(origin or {})
        self._entries: HashTrieMap[str, Experience] = HashTrieMap(entries)
        self._sizes: dict[str, int] = {zone: sum(e.zone == zone for e in experiences) for zone in ZONES}
        self._precedents = sum(len(e.precedents) for e in experiences)
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
        return dict(self._sizes)

    @property
    def precedent_count(self) -> int:
        """Number of solved cases behind all entries."""
        return self._precedents

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the content: equal for two libraries exactly when task and entries are equal."""
        digest = hashlib.sha256(self.task.encode() + b"\n")
        digest.update(EXPERIENCES_JSON.dump_json(sorted(self._entries.values(), key=lambda e: e.id)))
        return digest.hexdigest()

    @property
    def checksum(self) -> str:
        """SHA-256 of a library file's other keys: its lineage, clock, runs and foreign fields."""
        head = [self.hash, self.parent, self.seen, self.runs, self.origin]
        return hashlib.sha256(json.dumps(head, sort_keys=True).encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExperienceLibrary) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        zones = ", ".join(f"{count} {zone}" for zone, count in self._sizes.items() if count)
        task = self.task or "no task"
        return f"ExperienceLibrary({task}: {zones or 'empty'}; {self._precedents} precedents)"

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
        """The library after one commit, and the edits as they really went (a merge may become an insert)."""
        draft = _Draft(self)
        done = [draft.edit(edit) for edit in commit.edits]
        draft.count(commit.tally)
        runs = {**self.runs, commit.run: commit.step} if commit.run else self.runs
        return draft.finish(runs), done

    def published(self, parent: str | None) -> ExperienceLibrary:
        """The same snapshot as a version with the parent given."""
        return self._with(parent=parent)

    def for_task(self, task: str) -> ExperienceLibrary:
        """The same snapshot as a library of a task, where it is of none."""
        return self if self.task or not task else self._with(task=task)

    def _with(self, **fields: Any) -> ExperienceLibrary:
        new = object.__new__(ExperienceLibrary)
        new.__dict__.update({k: v for k, v in self.__dict__.items() if k != "hash"} | fields)
        return new

    # -- files ---------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """The library file: one JSON document, a precedent a line, readable and equal for equal content."""
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
        lines = [f'  "{key}": {_json(value)},' for key, value in head.items()]
        plain = EXPERIENCES_JSON.dump_python(list(self), mode="json")
        entries = ",\n".join(_entry_json(entry) for entry in plain)
        body = f'  "experiences": [\n{entries}\n  ]' if entries else '  "experiences": []'
        return "\n".join(["{", *lines, body, "}", ""])

    @classmethod
    def from_json(cls, text: str | bytes, path: str | Path = "<text>") -> ExperienceLibrary:
        """Read a library file's text. See ``flex_dspy.library_file.parse``."""
        from flex_dspy.library_file import parse

        return parse(text, path)

    @classmethod
    def load(cls, path: str | Path) -> ExperienceLibrary:
        """Read a library file of this project or of the FLEX release. See ``flex_dspy.library_file.load``."""
        from flex_dspy.library_file import load

        return load(path)

    def save(self, path: str | Path) -> None:
        """Write the library file atomically."""
        from flex_dspy.library_file import write_atomically

        write_atomically(Path(path), self.to_json())

    # -- comparing -----------------------------------------------------------------------------------------

    def diff(self, older: ExperienceLibrary) -> dict[Literal["added", "removed", "changed"], list[str]]:
        """Ids of entries added, removed and changed since ``older``."""
        shared = [e for e in self if e.id in older]
        return {
            "added": [e.id for e in self if e.id not in older],
            "removed": [e.id for e in older if e.id not in self],
            "changed": [e.id for e in shared if e != older[e.id]],
        }


class _Draft:
    """A library being changed: the one place where edits are interpreted."""

    def __init__(self, base: ExperienceLibrary) -> None:
        self.base = base
        self.now = base.seen + 1
        self.entries = base._entries
        self.sizes = dict(base._sizes)
        self.precedents = base._precedents
        self.changes: list[Change] = []

    def edit(self, edit: Edit) -> Edit:
        if isinstance(edit, Discard):
            return edit
        if isinstance(edit, Insert):
            return self._insert(edit)
        return self._merge(edit)

    def _insert(self, edit: Insert) -> Edit:
        experience = edit.experience.capped()
        if experience.id in self.entries:  # the very same lesson, from another writer
            return self._merge(Merge(experience.id, experience, reason=edit.reason))
        experience = replace(experience, created_at=self.now, updated_at=self.now)
        self.sizes[experience.zone] += 1
        self.precedents += len(experience.precedents)
        self._put(experience, experience.precedents, rewritten=True)
        return edit

    def _merge(self, edit: Merge) -> Edit:
        target = self.entries.get(edit.target)
        rules = None if target is None else _merged_rules(target, edit)
        if target is None or rules is None:
            return self._insert(Insert(edit.experience, reason=edit.reason))
        known = {(p.example_id, p.answer) for p in target.precedents}
        fresh = tuple(p for p in edit.experience.precedents if (p.example_id, p.answer) not in known)
        merged = replace(
            target,
            method=edit.method[:MAX_METHOD] if edit.method else target.method,
            rules=rules,
            precedents=target.precedents + fresh,
            merged=target.merged + 1,
            updated_at=self.now,
        )
        self.precedents += len(fresh)
        self._put(merged, fresh, rewritten=merged.text() != target.text())
        return edit

    def _put(self, experience: Experience, fresh: tuple[Precedent, ...], *, rewritten: bool) -> None:
        self.entries = self.entries.insert(experience.id, experience)
        if fresh or rewritten:
            self.changes.append(Change(experience.id, fresh, experience if rewritten else None))

    def count(self, tally: Tally) -> None:
        for entry_id in tally.shown:
            entry = self.entries.get(entry_id)
            if entry is not None:
                counted = replace(
                    entry,
                    shown=entry.shown + 1,
                    helped=entry.helped + (entry_id in tally.helped),
                    hurt=entry.hurt + (entry_id in tally.hurt),
                )
                self.entries = self.entries.insert(entry_id, counted)

    def finish(self, runs: Mapping[str, int]) -> ExperienceLibrary:
        log = self.base.log.extended(self.base.tip, self.changes)
        return self.base._with(
            seen=self.now,
            runs=runs,
            log=log,
            tip=self.base.tip + len(self.changes),
            _entries=self.entries,
            _sizes=self.sizes,
            _precedents=self.precedents,
        )


def _merged_rules(target: Experience, edit: Merge) -> tuple[Rule, ...] | None:
    """The target's rules after the edit, or None where they would outgrow the cap."""
    revised = {revision.old: revision.rule.capped() for revision in edit.revise_rules}
    rules = [revised.get(rule.text, rule) for rule in target.rules]
    texts = {rule.text for rule in rules}
    rules += {rule.text: rule for rule in map(Rule.capped, edit.add_rules) if rule.text not in texts}.values()
    return tuple(rules) if len(rules) <= max(MAX_RULES, len(target.rules)) else None


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def _json(value: Any) -> str:
    return str(value) if type(value) is int else _encode(value)  # the encoder is slow to start


def _entry_json(entry: dict[str, Any]) -> str:
    """One entry: a field a line, the items of a list a line each."""
    lines = []
    for key, value in entry.items():
        if isinstance(value, list) and value:
            items = ",\n".join([f"        {_json(item)}" for item in value])
            lines.append(f'      "{key}": [\n{items}\n      ]')
        else:
            lines.append(f'      "{key}": {_json(value)}')
    return "    {\n" + ",\n".join(lines) + "\n    }"

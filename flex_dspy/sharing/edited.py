"""Finds the edits that a person made in exported lessons, by comparing the lessons with the export.

Each lesson carries the digest of its exported text. The digest shows whether the person changed the lesson, and whether
the library has changed it since. If both changed it, the edit is a conflict; it is reported and left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flex_dspy.core.errors import LibraryError, LibraryFormatError
from flex_dspy.core.scopes import SHARED
from flex_dspy.libraries.by_hand import PERSON
from flex_dspy.libraries.contents import Contents
from flex_dspy.libraries.experience import Experience, Insert, PersonEdit, Remove, Revise
from flex_dspy.sharing.instructions import SKILL
from flex_dspy.sharing.lessons import Block, Lesson, read_lessons
from flex_dspy.sharing.sections import Section, find_section

MAX_BYTES = 16 << 20  # largest file of instructions; nobody edits a larger one by hand


@dataclass(frozen=True, slots=True)
class EditConflict:
    """An edit that cannot be made.

    Attributes:
        entry: The entry's id, as the file has it.
        problem: Why the edit cannot be made.
    """

    entry: str
    problem: str

    def text(self) -> str:
        """One line for a terminal."""
        return f"{self.entry}: {self.problem}"


@dataclass(frozen=True, slots=True)
class EditedLessons:
    """The changes that a person made.

    Attributes:
        edits: The edits, for ``ExperienceLibrary.edit`` or ``LibraryStore.edit``.
        conflicts: Edits that were left out.
    """

    edits: tuple[PersonEdit, ...]
    conflicts: tuple[EditConflict, ...]


def read_edits(path: Path, library: Contents, name: str | None = None) -> EditedLessons:
    """Find the changes that a person made in a skill or an AGENTS.md since the export.

    Args:
        path: The file, or the folder of a skill.
        library: The current state of the library that was exported.
        name: The section's name; None if the file has only one section.

    Raises:
        LibraryError: If the file cannot be read.
        LibraryFormatError: If the file has no such section, or the section is damaged.
    """
    file = path / SKILL if path.is_dir() else path
    found = find_section(_read(file), file, name)
    if found is None:
        problem = f"of {name or 'an export'} are not there"
        raise LibraryFormatError(file, "the markers", problem, "Export into this file first, or name another")
    section = found[0]
    blocks = read_lessons(section.body)
    _check_once(blocks, file)
    found_edits = [*_of_blocks(blocks, section, library), *_removals(blocks, section, library)]
    edits = tuple(edit for edit in found_edits if not isinstance(edit, EditConflict))
    return EditedLessons(edits, tuple(edit for edit in found_edits if isinstance(edit, EditConflict)))


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise LibraryFormatError(file, "the file", f"is larger than {MAX_BYTES:,} bytes", "Name another file")
        return file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise LibraryError(file, "the file", f"cannot be read: {error}", "Check the path") from error


def _check_once(blocks: list[Block], file: Path) -> None:
    lines: dict[str, int] = {}
    for block in blocks:
        if block.entry in lines:
            place = f"line {block.line} of the section"
            problem = f"is marked as the entry {block.entry}, as line {lines[block.entry]} is"
            raise LibraryFormatError(file, place, problem, "Delete the comment under the heading of the new one")
        if block.entry:
            lines[block.entry] = block.line


def _of_blocks(blocks: list[Block], section: Section, library: Contents) -> Iterator[PersonEdit | EditConflict]:
    reason = f"edited by hand in {section.name}"
    scopes = {entry.scope for short in section.exported if (entry := _find(library, short))} - {SHARED}
    for block in blocks:
        if not block.entry and len(scopes) > 1:
            problem = f"is new, and the file has lessons of the scopes {', '.join(sorted(scopes))}: export one of them"
            yield EditConflict(f"line {block.line} of the section", problem)
        elif not block.entry:
            yield from _insertion(block, library, reason, next(iter(scopes), SHARED))
        elif block.entry not in section.exported:
            yield EditConflict(block.entry, "was not exported into this file: delete the comment to add it as new")
        elif block.lesson.digest != section.exported[block.entry]:
            yield from _revision(block, section, library, reason)


def _insertion(block: Block, library: Contents, reason: str, scope: str) -> Iterator[PersonEdit | EditConflict]:
    """The insertion of a new lesson, unless it was imported before.

    It belongs to the scope of the file's other lessons: who reads the file of a scope writes for that scope.
    """
    lesson = block.lesson
    if not (lesson.method or lesson.rules):
        yield EditConflict(f"line {block.line} of the section", "is a heading without a text")
        return
    entry = Experience(
        lesson.zone, lesson.method, lesson.rules, category=lesson.category, author=PERSON, pinned=True, scope=scope
    )  # as ``ByHand.add`` makes one
    if entry.id not in library:
        yield Insert(entry, reason)


def _revision(block: Block, section: Section, library: Contents, reason: str) -> Iterator[PersonEdit | EditConflict]:
    """The revision of a lesson, unless it was imported before."""
    entry = _find(library, block.entry)
    if entry is None:
        yield EditConflict(block.entry, "was edited here, and is no longer in the library")
    elif (known := Lesson.of(entry)) == block.lesson:
        return
    elif known.digest != section.exported[block.entry]:
        yield EditConflict(block.entry, "was edited here, and changed in the library since: export anew, then edit")
    else:
        yield Revise(entry.id, reason, **_changes(known, block.lesson))


def _changes(old: Lesson, new: Lesson) -> Mapping[str, Any]:
    names = ("zone", "category", "method", "rules")
    return {name: value for name in names if (value := getattr(new, name)) != getattr(old, name)}


def _removals(blocks: list[Block], section: Section, library: Contents) -> Iterator[PersonEdit | EditConflict]:
    kept = {block.entry for block in blocks}
    for short, digest in section.exported.items():
        entry = _find(library, short)
        if short in kept or entry is None:
            continue
        if entry.pinned:
            yield EditConflict(short, "was deleted here, and is pinned in the library: unpin it first")
        elif Lesson.of(entry).digest != digest:
            yield EditConflict(short, "was deleted here, and changed in the library since: export anew, then delete")
        else:
            yield Remove(entry.id, f"deleted by hand in {section.name}")


def _find(library: Contents, short: str) -> Experience | None:
    """The only entry whose id begins with ``short``. If there are several, the entry with exactly this id, or None."""
    found = [entry for entry in library if entry.id.startswith(short)]
    return found[0] if len(found) == 1 else library.get(short)

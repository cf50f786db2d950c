"""Checks edits by a person: finds the entry by its id, and refuses edits that cannot be made.

A commit must apply in any state of the library, so that a journal can always be replayed. In a commit, an impossible
edit therefore does nothing. A person needs an error message, so a person's edits are checked before the commit.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.contents import Contents
from flex_dspy.libraries.experience import (
    REVISABLE,
    Approve,
    EntryEdit,
    Experience,
    Insert,
    PersonEdit,
    Propose,
    Reject,
    Remove,
    Revise,
)

# The run of a person's commits. Its step counts these commits; the step of a learning run counts examples.
EDITS = "edit"


def find_entry(library: Contents, wanted: str) -> Experience:
    """The entry with this id, or the only entry whose id begins with this text.

    Args:
        library: The library.
        wanted: An id, or its beginning.

    Raises:
        ConfigurationError: If there is none, or more than one; the message names near ones.
    """
    entry = library.get(wanted)
    return entry if entry is not None else _find({each.id: each for each in library}, wanted, "entry", "entries")


def find_waiting(library: Contents, wanted: str) -> Experience:
    """The waiting lesson with this id, or the only waiting lesson whose id begins with this text.

    Args:
        library: The library.
        wanted: An id, or its beginning.

    Raises:
        ConfigurationError: If there is none, or more than one; the message names near ones.
    """
    return _find({each.id: each for each in library.waiting}, wanted, "waiting lesson", "waiting lessons")


def _find(lessons: Mapping[str, Experience], wanted: str, one: str, several: str) -> Experience:
    if wanted in lessons:
        return lessons[wanted]
    near = [entry_id for entry_id in lessons if wanted and entry_id.startswith(wanted)]
    if len(near) == 1:
        return lessons[near[0]]
    if near:
        raise ConfigurationError(f"{len(near)} {several} begin with {wanted!r}: {_id_list(near)}")
    close = difflib.get_close_matches(wanted, lessons, n=3)
    hint = f"did you mean {_id_list(close)}?" if close else f"the library has {len(lessons)} others"
    raise ConfigurationError(f"there is no {one} {wanted!r}: {hint}")


def _id_list(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")


def check_edits(library: Contents, edits: Sequence[PersonEdit]) -> None:
    """Refuse edits that the library would ignore.

    Args:
        library: The library that the edits are for.
        edits: The edits, in order; each is checked separately.

    Raises:
        ConfigurationError: If an entry is missing, exists already, is pinned and cannot be removed, or would exceed
            its caps.
    """
    for edit in edits:
        if isinstance(edit, Insert | Propose):
            _check_new(library, edit.experience)
        elif isinstance(edit, Approve | Reject):
            _check_whole(edit.entry_id, find_waiting(library, edit.entry_id))
        else:
            _check_change(library, edit)


def _check_new(library: Contents, lesson: Experience) -> None:
    if not lesson.teaches:
        raise ConfigurationError("a lesson needs a method, a rule or a trajectory")
    if lesson.id in library or any(lesson.id == each.id for each in library.waiting):
        raise ConfigurationError(f"the library has this lesson already: {lesson.id}")
    if too_long := [name for name in REVISABLE if getattr(lesson.within_caps(), name) != getattr(lesson, name)]:
        raise ConfigurationError(
            f"the new entry {lesson.method[:60]!r}: its {too_long[0]} is longer than an entry may hold"
        )


def _check_whole(wanted: str, found: Experience) -> None:
    """Refuse the beginning of an id: a commit needs the full id, so that it applies in any state of the library."""
    if wanted != found.id:
        raise ConfigurationError(f"name the entry {wanted!r} by its whole id")


def _check_change(library: Contents, edit: EntryEdit) -> None:
    entry = find_entry(library, edit.entry_id)
    _check_whole(edit.entry_id, entry)
    if isinstance(edit, Remove) and entry.pinned and not edit.force:
        raise ConfigurationError(f"entry {entry.id} is pinned: unpin it first, or force its removal")
    if isinstance(edit, Revise):
        _check_revision(entry, edit)


def _check_revision(entry: Experience, edit: Revise) -> None:
    fields = edit.fields()
    if not fields:
        raise ConfigurationError(f"nothing of entry {entry.id} is revised")
    try:
        revised = replace(entry, **fields)
    except ValueError as error:
        raise ConfigurationError(f"entry {entry.id}: {error}") from error
    capped = revised.within_caps()
    for name in fields:
        if getattr(capped, name) != getattr(revised, name):
            raise ConfigurationError(f"the new {name} of entry {entry.id} is longer than an entry may hold")

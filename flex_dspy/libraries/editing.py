"""Edits by a person: finds the entry that is meant, and refuses edits that cannot be made.

A commit must apply in any state of the library, so that a journal can always be replayed: there, an edit that makes
no sense does nothing. A person wants to be told, so their edits are checked before they are committed.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.contents import Contents
from flex_dspy.libraries.experience import Experience, Insert, PersonEdit, Remove, Revise

# The run that a person's commits belong to. It counts them; a learning run counts its examples under its own name.
EDITS = "edit"


def find_entry(library: Contents, wanted: str) -> Experience:
    """The entry with an id, or the only one whose id begins so.

    Args:
        library: The library.
        wanted: An id, or its beginning.

    Raises:
        ConfigurationError: If there is none, or more than one; the message names near ones.
    """
    entry = library.get(wanted)
    if entry is not None:
        return entry
    ids = [entry.id for entry in library]
    near = [entry_id for entry_id in ids if wanted and entry_id.startswith(wanted)]
    if len(near) == 1:
        return library[near[0]]
    if near:
        raise ConfigurationError(f"{len(near)} entries begin with {wanted!r}: {_id_list(near)}")
    close = difflib.get_close_matches(wanted, ids, n=3)
    hint = f"did you mean {_id_list(close)}?" if close else f"the library has {len(ids)} others"
    raise ConfigurationError(f"there is no entry {wanted!r}: {hint}")


def _id_list(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")


def check_edits(library: Contents, edits: Sequence[PersonEdit]) -> None:
    """Refuse edits that the library would ignore.

    Args:
        library: What the edits are for.
        edits: In the order of their making; each is looked at on its own.

    Raises:
        ConfigurationError: If an entry is not there, is there already and to be inserted, is pinned and to be removed,
            or would outgrow its caps.
    """
    for edit in edits:
        if isinstance(edit, Insert):
            _check_insertion(library, edit.experience)
            continue
        if edit.entry_id not in library:
            find_entry(library, edit.entry_id)
            raise ConfigurationError(f"name the entry {edit.entry_id!r} by its whole id")
        entry = library[edit.entry_id]
        if isinstance(edit, Remove) and entry.pinned and not edit.force:
            raise ConfigurationError(f"entry {entry.id} is pinned: unpin it first, or force its removal")
        if isinstance(edit, Revise):
            _check_revision(entry, edit)


def _check_insertion(library: Contents, entry: Experience) -> None:
    if entry.id in library:
        raise ConfigurationError(f"the library has the entry {entry.id} already")
    if entry.is_overlong():
        raise ConfigurationError(f"the new entry {entry.method[:60]!r} is longer than an entry may be")


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

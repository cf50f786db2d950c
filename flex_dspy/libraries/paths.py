"""Paths and permissions of a library's files.

A library may have many names: a link, a path through a linked folder, a relative path. All of them lead to one file, so
there is one lock and one journal. A hard link is different, because it becomes a file of its own. A checkpoint replaces
the file of one name only, so the other name keeps the old content and has a journal of its own.
"""

from __future__ import annotations

import stat
from pathlib import Path

from flex_dspy.core.errors import LibraryError

PRIVATE = 0o600


def library_path(path: str | Path) -> Path:
    """The library file itself: absolute, with all links followed.

    Raises:
        LibraryError: If links lead in a circle, or the path is invalid.
    """
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise LibraryError(path, "the path", f"cannot be followed: {error}", "Check the links in it") from error


def beside(library: str | Path, kind: str) -> Path:
    """The path ``<name>.<kind>`` beside a library file, after links are followed.

    Args:
        library: The library file; it need not exist.
        kind: The end of the file's name, such as ``journal.jsonl``.
    """
    own = library_path(library)
    return own.with_name(f"{own.name.removesuffix('.json')}.{kind}")


def ranking_of(library: str | Path) -> Path:
    """Path of the ranking that was fitted to a library file, which may not exist."""
    return beside(library, "ranking.json")


def journal_of(library: str | Path) -> Path:
    """Path of the journal of a library file, which may not exist."""
    return beside(library, "journal.jsonl")


def mode_beside(library: str | Path) -> int | None:
    """The permissions for a file beside a library: those of the library, and its owner can write.

    Returns:
        The permissions; None if neither the library's file nor its journal exists, so that the umask decides.
    """
    for path in (library_path(library), journal_of(library)):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue
        return mode & 0o666 | PRIVATE
    return None

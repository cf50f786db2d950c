"""Reads a library from the path of a file, or from a folder of files."""

from __future__ import annotations

from pathlib import Path

from flex_dspy.core.errors import LibraryError
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import load
from flex_dspy.libraries.merging import merge
from flex_dspy.libraries.paths import journal_of
from flex_dspy.libraries.reading import LibraryReader

LIBRARY_FILE = "library.json"  # the library of a folder
_SUFFIX = ".json"


def read_path(path: Path) -> ExperienceLibrary:
    """The library in a file or a folder.

    Args:
        path: A file or a folder. A file of this project is read with the commits in its journal; of a file of the FLEX
            release, overlong entries are split. Of a folder, ``library.json`` is read; if there is none, all its
            ``*.json`` files except backups are merged.

    Raises:
        ConfigurationError: If files of one folder are of different tasks.
        LibraryError: If a file does not exist, or cannot be used.
    """
    return _read_folder(path) if path.is_dir() else _read_file(path)


def _read_file(path: Path) -> ExperienceLibrary:
    return LibraryReader(path).library if journal_of(path).exists() else load(path, split=True)


def _read_folder(folder: Path) -> ExperienceLibrary:
    own = folder / LIBRARY_FILE
    if own.exists() or journal_of(own).exists():
        return _read_file(own)
    paths = sorted(path for path in folder.glob(f"*{_SUFFIX}") if not path.name.endswith(f".bak{_SUFFIX}"))
    if not paths:
        raise LibraryError(folder, "the folder", f"has no {_SUFFIX} file", "Name a library file, or a folder of them")
    return merge(*map(_read_file, paths), names=[path.stem for path in paths]).library

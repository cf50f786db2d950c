"""Checks of the files that a command names, before anything is loaded, fetched or paid for. Nothing is made."""

from __future__ import annotations

import os
from pathlib import Path

from flex_dspy.core.errors import ConfigurationError, LibraryError
from flex_dspy.libraries.paths import journal_of

_HEAD_BYTES = 1 << 16  # that hold the mark of a library file


def check_folder(folder: Path, option: str = "--out") -> None:
    """Refuse a folder that cannot be made, or written to.

    Args:
        folder: The folder.
        option: The option that names it.

    Raises:
        ConfigurationError: If it is one.
    """
    nearest = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), Path())
    if not nearest.is_dir():
        raise ConfigurationError(f"{folder} cannot be a folder: {nearest} is a file. Choose another with {option}")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigurationError(f"nothing can be written to {nearest.absolute()}: choose another folder with {option}")


def check_file(file: Path) -> None:
    """Refuse a file that cannot be made, or written to.

    Raises:
        ConfigurationError: If it is one.
    """
    if file.is_dir():
        raise ConfigurationError(f"{file} is a folder: name a file with --out")
    check_folder(file.parent)


def check_library(name: str) -> None:
    """Refuse a library to read that is neither there nor named as one in MLflow.

    Raises:
        LibraryError: If it is one.
    """
    path = Path(name)
    if not (path.exists() or journal_of(path).exists() or _is_reference(name)):
        remedy = "Name a file, a folder of them, or NAME@alias or NAME/version in MLflow"
        raise LibraryError(path, "the file", "cannot be read: there is no such file", remedy)


def check_run(folder: Path | None, library: Path | None) -> None:
    """Refuse a folder of a run, or a library to learn into, that cannot be written.

    Args:
        folder: The run's folder; None for the default one.
        library: The library's file; None for the one in the folder.

    Raises:
        ConfigurationError: If it cannot be made, or written to.
        LibraryError: If the library is a file of another kind.
    """
    check_folder(folder or Path("exps"))
    if library is not None:
        check_target(library)


def check_target(library: Path) -> None:
    """Refuse a library to learn into, or to add to, that cannot be written.

    Args:
        library: The library's file.

    Raises:
        ConfigurationError: If it cannot be made, or written to.
        LibraryError: If it is a file of another kind.
    """
    if library.is_dir():
        raise ConfigurationError(f"--library {library} is a folder: name a file, such as {library / 'library.json'}")
    if library.exists():
        check_own(library)
    elif not library.suffix and _is_reference(str(library)):
        raise ConfigurationError(
            f"--library {library} is no file to learn into: say --start-from {library} to start from that library"
        )
    check_folder(library.parent, "--library")


def check_own(library: Path) -> None:
    """Refuse a file that is no library file of this project. Writing to it would replace its content.

    Raises:
        LibraryError: If it is one.
    """
    remedy = f"Import it first: flex-dspy library import {library} --out FILE"
    if library.is_file():
        with library.open("rb") as file:
            if b'"flex-dspy/' not in file.read(_HEAD_BYTES):
                raise LibraryError(library, "the file", "is no library file of this project", remedy)
    elif not journal_of(library).exists():
        raise LibraryError(library, "the file", "is no library file", remedy)


def _is_reference(name: str) -> bool:
    from flex_dspy.tracking.registry import is_reference

    return is_reference(name)

"""Where a command writes: looked at before anything is fetched or paid for. Nothing is made."""

from __future__ import annotations

import os
from pathlib import Path

from flex_dspy.core.errors import ConfigurationError


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made, or written to.

    Raises:
        ConfigurationError: If it is one.
    """
    nearest = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), Path())
    if not nearest.is_dir():
        raise ConfigurationError(f"{folder} cannot be a folder: {nearest} is a file. Choose another with --out")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigurationError(f"nothing can be written to {nearest.absolute()}: choose another folder with --out")


def check_file(file: Path) -> None:
    """Refuse a file that cannot be made, or written to.

    Raises:
        ConfigurationError: If it is one.
    """
    if file.is_dir():
        raise ConfigurationError(f"{file} is a folder: name a file with --out")
    check_folder(file.parent)

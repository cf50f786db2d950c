"""Seconds that survive a restart."""

from __future__ import annotations

import threading
from pathlib import Path

from flex_dspy.core.errors import RunError
from flex_dspy.libraries.library_file import write_atomically


class Clock:
    """Adds up the time that a model works, in a file.

    Args:
        path: The file; it need not exist.

    Raises:
        RunError: If the file holds no number.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self.seconds = float(path.read_text()) if path.exists() else 0.0
        except ValueError as error:
            raise RunError(f"{path} holds no number of seconds: remove it to go on") from error

    def add(self, seconds: float) -> None:
        """Count so many seconds more."""
        with self._lock:
            self.seconds = round(self.seconds + seconds, 3)
            write_atomically(self._path, f"{self.seconds}\n")

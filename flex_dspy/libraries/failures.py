"""The log of failed examples: one line for each in ``<library>.failures.jsonl``, until a later attempt succeeds.

A line is written before the step of its example is committed. It is removed after a successful attempt is committed.
If a process is killed between the two, the line is still there; ``reconcile`` then removes lines that are out of date.

Example:
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "dice.json"
    >>> FailureLog(path, "run-1").add([Failure("3f2a", "LMTimeoutError: no answer", step=7)])
    >>> FailureLog(path, "run-1").standing  # another process, or the same after a crash
    [Failure(example_id='3f2a', error='LMTimeoutError: no answer', step=7)]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from flex_dspy.core.errors import LibraryFormatError
from flex_dspy.libraries.library_file import write_atomically


@dataclass(frozen=True, slots=True)
class Failure:
    """An example that could not be learned from.

    Attributes:
        example_id: Identity of the problem.
        error: The error of its last attempt.
        step: Position of the example in its run, from 1; 0 if there is no run.
    """

    example_id: str
    error: str
    step: int = 0


@dataclass(frozen=True, slots=True)
class _Line(Failure):
    """A failure in the form of the file: with its run."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    run: str = ""


_LINE: TypeAdapter[_Line] = TypeAdapter(_Line)


class FailureLog:
    """The failures of one run that no later attempt has resolved.

    Args:
        library_path: The library's file; None keeps the log in memory.
        run: Identity of the run; lines of other runs are left alone.

    Attributes:
        standing: The failures, in the order of their steps.

    Raises:
        LibraryFormatError: If the file is damaged.
    """

    def __init__(self, library_path: Path | None, run: str) -> None:
        self.path = library_path.with_suffix(".failures.jsonl") if library_path else None
        self.run = run
        lines = self._read()
        self._others = [line for line in lines if line.run != run]
        self.standing = [Failure(line.example_id, line.error, line.step) for line in lines if line.run == run]

    def add(self, failures: Sequence[Failure]) -> None:
        """Add failures. A failure of a known step replaces the earlier one."""
        steps = {failure.step for failure in failures}
        self._replace([*(known for known in self.standing if known.step not in steps), *failures])

    def remove(self, step: int) -> None:
        """Remove the failure of a step after a later attempt succeeded."""
        self._replace([failure for failure in self.standing if failure.step != step])

    def reconcile(self, done: int, retried: int) -> None:
        """Remove failures that the library's commits contradict, for example after a crash.

        Args:
            done: The last committed step; later steps are attempted anyway.
            retried: The step whose retry was committed last; 0 for none.
        """
        true = [failure for failure in self.standing if failure.step <= done and failure.step != retried]
        if len(true) < len(self.standing):
            self._replace(true)

    def _replace(self, failures: Sequence[Failure]) -> None:
        self.standing[:] = sorted(failures, key=lambda failure: failure.step)
        if self.path is None:
            return
        lines: list[dict[str, Any]] = [asdict(line) for line in self._others]
        lines += [{"run": self.run, **asdict(failure)} for failure in self.standing]
        write_atomically(self.path, "".join(json.dumps(line) + "\n" for line in lines))

    def _read(self) -> list[_Line]:
        if self.path is None or not self.path.exists():
            return []
        lines = []
        for number, text in enumerate(self.path.read_bytes().splitlines(), start=1):
            try:
                lines.append(_LINE.validate_json(text))
            except ValidationError as error:
                remedy = "Remove the line: its example is then not attempted again"
                raise LibraryFormatError(self.path, f"line {number}", "is no failure", remedy) from error
        return lines

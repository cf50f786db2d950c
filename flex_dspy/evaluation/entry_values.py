"""Measured values of a library's entries, and the file that keeps them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from flex_dspy.core.errors import DataError, LibraryError
from flex_dspy.evaluation.contrasts import chance_below
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import write_atomically
from flex_dspy.libraries.paths import beside

# Share of the chance of error that is spent on the looks before the last one.
EARLY = 0.1


@dataclass(frozen=True, slots=True)
class EntryValue:
    """An entry's effect on the score of an example that it is shown on.

    Attributes:
        effect: Mean score with it less mean score without it; None where it was never shown in a trial.
        low: Lower end of the effect's interval; None where it is not known, as from a single example.
        high: Upper end.
        examples: How many examples showed it in trials.
        pairs: How many pairs of trials, one with it and one without, it was in.
        error: Standard error, about the middle of the interval; None where it is not known.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    effect: float | None = None
    low: float | None = None
    high: float | None = None
    examples: int = 0
    pairs: int = 0
    error: float | None = None

    def __post_init__(self) -> None:
        numbers = [n for n in (self.effect, self.low, self.high, self.error) if n is not None]
        if not all(map(math.isfinite, numbers)):
            raise ValueError("an entry value's numbers must be finite; None stands for an unknown one")

    @property
    def is_known(self) -> bool:
        """Whether there is an interval."""
        return self.error is not None

    def chance(self, value: float = 0.0) -> float:
        """The p-value of "the effect is at least ``value``", the looks on the way accounted for; 1 if not known."""
        if self.low is None or self.high is None or self.error is None:
            return 1.0
        if self.error == 0:
            return float((self.low + self.high) / 2 >= value)
        return min(1.0, chance_below((self.low + self.high) / 2, self.error, self.examples, value) / (1 - EARLY))

    def __str__(self) -> str:
        """``+0.12 (-0.03 to +0.27)``, or why there is no such thing."""
        if self.effect is None:
            return "never shown"
        if self.low is None or self.high is None:
            return f"{self.effect:+.3f} (one example)"
        return f"{self.effect:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


@dataclass(frozen=True, slots=True)
class Valuation:
    """Entry values as a file keeps them, with the facts of their measurement.

    Attributes:
        library: Content hash of the library.
        updated: For each estimated entry, when it was last changed: an estimate is of the entry as it was.
        estimates: By entry id; entries that were never shown are left out.
        confidence: That of the intervals.
        task: Name of the task.
        data: Where the examples came from.
        data_digest: Digest of the examples.
        calls: Most program calls that were allowed.
        seed: Seed of the coins.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    library: str
    updated: Mapping[str, int]
    estimates: Mapping[str, EntryValue]
    confidence: float = 0.95
    task: str = ""
    data: str = ""
    data_digest: str = ""
    calls: int = 0
    seed: int = 0
    format: Literal["flex-dspy-value/1"] = field(default="flex-dspy-value/1")

    def __post_init__(self) -> None:
        if self.updated.keys() != self.estimates.keys():
            raise ValueError("updated and estimates must have the same entries")

    @classmethod
    def of(cls, library: ExperienceLibrary, estimates: Mapping[str, EntryValue], **details: str | float) -> Valuation:
        """The estimates of a library's entries, with the other attributes."""
        known = {entry_id: estimate for entry_id, estimate in estimates.items() if estimate.pairs}
        updated = {entry_id: library[entry_id].updated_at for entry_id in known}
        return cls(library.hash, updated, known, **details)  # type: ignore[arg-type]

    def still_true(self, library: ExperienceLibrary) -> dict[str, EntryValue]:
        """The estimates of those entries that are in a library as they were."""
        return {
            entry_id: estimate
            for entry_id, estimate in self.estimates.items()
            if entry_id in library and library[entry_id].updated_at == self.updated[entry_id]
        }

    def write(self, path: Path, mode: int | None = None) -> None:
        """Write the file.

        Args:
            path: The file.
            mode: Permissions of a new file; None follows the umask.

        Raises:
            LibraryError: If it cannot be written.
        """
        try:
            write_atomically(path, _JSON.dump_json(self, indent=2) + b"\n", mode=mode)
        except OSError as error:
            problem = f"cannot be written: {error.strerror or error}"
            raise LibraryError(path, "the file", problem, "Choose another with --out") from error


_JSON: TypeAdapter[Valuation] = TypeAdapter(Valuation)


def value_file(library_path: str | Path) -> Path:
    """Where the estimates of a library file's entries are kept."""
    return beside(library_path, "value.json")


def read_valuation(path: Path) -> Valuation:
    """Read the file back.

    Raises:
        DataError: If there is no such file, or it holds something else.
    """
    try:
        return _JSON.validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; flex-dspy library value writes it") from error
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise DataError(f"{path} holds no estimates: {place}: {fault['msg']}") from error

"""Measured values of a library's entries, and the file that stores them."""

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

# Share of the error probability that is used by the looks before the last one.
EARLY = 0.1


@dataclass(frozen=True, slots=True)
class EntryValue:
    """Effect of an entry on the score of the examples that show it.

    Attributes:
        effect: Mean score with the entry minus mean score without it; None if no trial showed the entry.
        low: Lower end of the effect's interval; None if it is not known, for example with a single example.
        high: Upper end of the interval; None if it is not known.
        examples: Number of examples that showed the entry in trials.
        pairs: Number of pairs of trials, one with the entry and one without.
        error: Standard error of the middle of the interval; None if it is not known.
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
        """P-value of the hypothesis "the effect is at least ``value``", corrected for the looks; 1 if not known."""
        if self.low is None or self.high is None or self.error is None:
            return 1.0
        if self.error == 0:
            return float((self.low + self.high) / 2 >= value)
        return min(1.0, chance_below((self.low + self.high) / 2, self.error, self.examples, value) / (1 - EARLY))

    def __str__(self) -> str:
        """Text such as ``+0.12 (-0.03 to +0.27)``, or the reason why there is no interval."""
        if self.effect is None:
            return "never shown"
        if self.low is None or self.high is None:
            return f"{self.effect:+.3f} (one example)"
        return f"{self.effect:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


@dataclass(frozen=True, slots=True)
class Valuation:
    """Entry values as stored in a file, with facts about their measurement.

    Attributes:
        library: Content hash of the library.
        updated: Time of the last change of each estimated entry. A later change makes the estimate invalid.
        estimates: Estimates by entry id. Entries that were never shown are left out.
        confidence: Confidence level of the intervals.
        task: Name of the task.
        data: Where the examples came from.
        data_digest: Digest of the examples.
        calls: Limit of program calls.
        seed: Seed of the random coins.
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
        """Valuation made from the estimates of a library's entries and the other attributes."""
        known = {entry_id: estimate for entry_id, estimate in estimates.items() if estimate.pairs}
        updated = {entry_id: library[entry_id].updated_at for entry_id in known}
        return cls(library.hash, updated, known, **details)  # type: ignore[arg-type]

    def still_true(self, library: ExperienceLibrary) -> dict[str, EntryValue]:
        """Estimates of the entries that have not changed in the library since they were measured."""
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
            LibraryError: If the file cannot be written.
        """
        try:
            write_atomically(path, _JSON.dump_json(self, indent=2) + b"\n", mode=mode)
        except OSError as error:
            problem = f"cannot be written: {error.strerror or error}"
            raise LibraryError(path, "the file", problem, "Choose another with --out") from error


_JSON: TypeAdapter[Valuation] = TypeAdapter(Valuation)


def value_file(library_path: str | Path) -> Path:
    """Path of the file that stores the estimates of a library's entries."""
    return beside(library_path, "value.json")


def read_valuation(path: Path) -> Valuation:
    """Read a file that ``Valuation.write`` wrote.

    Raises:
        DataError: If the file does not exist or does not hold a valuation.
    """
    try:
        return _JSON.validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; flex-dspy library value writes it") from error
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise DataError(f"{path} holds no estimates: {place}: {fault['msg']}") from error

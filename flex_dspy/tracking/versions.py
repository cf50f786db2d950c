"""What was published during a run: one line a version, beside the library's file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from flex_dspy.core import representations
from flex_dspy.core.errors import LibraryError, LibraryFormatError
from flex_dspy.core.lines import read_lines
from flex_dspy.core.side_records import SideRecord
from flex_dspy.evaluation.answer_errors import errors_text
from flex_dspy.evaluation.intervals import score_text
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import write_atomically
from flex_dspy.libraries.paths import beside, mode_beside
from flex_dspy.tracking.plots import CurvePoint

if TYPE_CHECKING:
    import pandas as pd

HELD_OUT = "held_out"  # the measure that is reported beside the metric, where a task has one


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """A published version, without its content.

    Attributes:
        run: Identity of the learning run.
        step: Number of examples learned from.
        hash: Content hash of the library.
        parent: Hash of the version before.
        sizes: Number of entries by zone.
        precedents: Number of solved cases.
        metrics: What was measured of it; empty where nothing was.
    """

    run: str
    step: int
    hash: str
    parent: str | None
    sizes: Mapping[str, int]
    precedents: int
    metrics: Mapping[str, float]

    @property
    def entries(self) -> int:
        """Number of entries."""
        return sum(self.sizes.values())

    @property
    def errors(self) -> int:
        """Number of validation answers that are errors."""
        return round(self.metrics.get("errors", 0))

    def curve_point(self) -> CurvePoint:
        """The version as a point of a learning curve.

        Raises:
            KeyError: If its accuracy was not measured.
        """
        return CurvePoint(
            examples=self.step,
            accuracy=self.metrics["accuracy"],
            low=self.metrics["accuracy_low"],
            high=self.metrics["accuracy_high"],
            entries=self.entries,
            n=round(self.metrics["n"]),
            errors=self.errors,
        )

    def _repr_html_(self) -> str:
        return Versions([self])._repr_html_()

    def text(self) -> str:
        """One line for a terminal."""
        zones = ", ".join(f"{count} {zone}" for zone, count in self.sizes.items() if count) or "empty library"
        line = f"version {self.hash[:12]}  {self.step:>6} examples  {zones}"
        if "accuracy" not in self.metrics:
            return line
        score = [self.metrics[name] for name in ("accuracy", "accuracy_low", "accuracy_high")]
        mean, low, high = (score_text(number, *score) for number in score)
        line += f"  accuracy {mean} [{low}, {high}] on {self.metrics['n']:.0f}{errors_text(self.metrics)}"
        return f"{line}, held out {self.metrics[HELD_OUT]:.3f}" if HELD_OUT in self.metrics else line


class Versions(representations.Representable, list[VersionRecord]):
    """Versions in order; in a notebook a table, a row each."""

    def __repr__(self) -> str:
        return "\n".join(record.text() for record in self) or "no versions"

    def to_pandas(self) -> pd.DataFrame:
        """One row a version. See ``flex_dspy.display.frames.versions_frame``."""
        return representations.frame(self)


class VersionLog:
    """The versions of one run, kept in ``<library>.versions.jsonl``.

    It is a record beside the library: where it cannot be written in the middle of a run, a warning says so once, and
    the next version tries to write all of them. A resumed run measures a version again that is missing.

    Args:
        library_path: The library's file; None keeps the log in memory.
        run: Identity of the run; lines of other runs are left alone.

    Raises:
        LibraryFormatError: If the file is damaged.
        LibraryError: If it cannot be read.
    """

    def __init__(self, library_path: Path | None, run: str) -> None:
        self.path = beside(library_path, "versions.jsonl") if library_path else None
        self.run = run
        self._library = library_path
        self._record = SideRecord("the log of versions")
        self._all = self._read()
        self.records = Versions(record for record in self._all if record.run == run)

    def _read(self) -> list[VersionRecord]:
        if self.path is None or not self.path.exists():
            return []
        try:
            with self.path.open("rb") as file:
                return [self._parsed(number, line) for number, line in read_lines(file, self.path)]
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
            raise LibraryError(self.path, "the versions", problem, "Move it away to go on without it") from error

    def _parsed(self, number: int, line: bytes) -> VersionRecord:
        try:
            return VersionRecord(**json.loads(line))
        except (ValueError, TypeError) as error:
            remedy = "Remove the line: its version is then measured again if it is the newest."
            raise LibraryFormatError(self.path or "", f"line {number}", f"no version: {error}", remedy) from error

    def refresh(self) -> None:
        """Take in the lines that other processes wrote, so that the next version leaves them there."""
        with self._record.attempt():
            there = self._read()
            self._all = there + [record for record in self._all if record not in there]

    @property
    def of_all_runs(self) -> Versions:
        """The versions of all runs that the file lists."""
        return Versions(self._all)

    def get(self, step: int) -> VersionRecord | None:
        """The newest version published after so many examples, if there is one."""
        return next((record for record in reversed(self.records) if record.step == step), None)

    def newest(self) -> list[VersionRecord]:
        """The newest version of each step."""
        return list({record.step: record for record in self.records}.values())

    def add(self, step: int, library: ExperienceLibrary, metrics: Mapping[str, float]) -> VersionRecord:
        """Note a version."""
        record = VersionRecord(
            run=self.run,
            step=step,
            hash=library.hash,
            parent=library.parent,
            sizes=library.sizes(),
            precedents=library.precedent_count,
            metrics=dict(metrics),
        )
        self.records.append(record)
        self._all.append(record)
        self._write()
        return record

    def measure_again(self, record: VersionRecord, metrics: Mapping[str, float]) -> VersionRecord:
        """Replace what was measured of a version."""
        measured = replace(record, metrics=dict(metrics))
        for records in (self.records, self._all):
            records[records.index(record)] = measured
        self._write()
        return measured

    def _write(self) -> None:
        if self.path is None or self._library is None:
            return
        text = "".join(json.dumps(asdict(line)) + "\n" for line in self._all)
        with self._record.attempt():
            write_atomically(self.path, text, mode=mode_beside(self._library))

    # -- libraries of versions that are to be measured again -----------------------------------------------

    def keep(self, library: ExperienceLibrary) -> None:
        """Keep the library of a version that was measured with errors, as ``<library>.version-<hash>.kept``."""
        if (path := self._kept_path(library.hash)) is not None:
            library.save(path)

    def kept(self, library_hash: str) -> ExperienceLibrary | None:
        """The library that was kept of a version, if it was."""
        path = self._kept_path(library_hash)
        return ExperienceLibrary.load(path) if path is not None and path.exists() else None

    def discard(self, library_hash: str) -> None:
        """Remove what was kept of a version: it is measured without errors now."""
        if (path := self._kept_path(library_hash)) is not None:
            path.unlink(missing_ok=True)

    def _kept_path(self, library_hash: str) -> Path | None:
        return self.path and self.path.with_name(
            f"{self.path.name.removesuffix('.versions.jsonl')}.version-{library_hash[:12]}.kept"
        )

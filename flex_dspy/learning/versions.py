"""The log of versions beside the library's file, one line a version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from flex_dspy.core.errors import LibraryError, LibraryFormatError
from flex_dspy.core.lines import read_lines
from flex_dspy.core.side_records import SideRecord
from flex_dspy.learning.version import VersionRecord, Versions
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import write_atomically
from flex_dspy.libraries.paths import beside, mode_beside


class VersionLog:
    """The versions of one run, kept in ``<library>.versions.jsonl``.

    If the log cannot be written during a run, one warning says so, and the next version tries to write all lines again.
    A resumed run measures a missing version again.

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
                return [self._parse(number, line) for number, line in read_lines(file, self.path)]
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
            raise LibraryError(self.path, "the versions", problem, "Move it away to go on without it") from error

    def _parse(self, number: int, line: bytes) -> VersionRecord:
        try:
            return VersionRecord(**json.loads(line))
        except (ValueError, TypeError) as error:
            remedy = "Remove the line: its version is then measured again if it is the newest."
            raise LibraryFormatError(self.path or "", f"line {number}", f"no version: {error}", remedy) from error

    def refresh(self) -> None:
        """Read the lines that other processes wrote, so that the next write keeps them."""
        with self._record.attempt():
            there = self._read()
            self._all = there + [record for record in self._all if record not in there]

    @property
    def of_all_runs(self) -> Versions:
        """The versions of all runs that the file lists."""
        return Versions(self._all)

    def get(self, step: int) -> VersionRecord | None:
        """The newest version that was published at a step; None if there is none."""
        return next((record for record in reversed(self.records) if record.step == step), None)

    def newest(self) -> list[VersionRecord]:
        """The newest version of each step."""
        return list({record.step: record for record in self.records}.values())

    def add(self, step: int, library: ExperienceLibrary, metrics: Mapping[str, float]) -> VersionRecord:
        """Add a version to the log.

        Args:
            step: Number of examples learned from.
            library: The version's library.
            metrics: The version's measurements.
        """
        return self.append(VersionRecord.of(self.run, step, library, metrics))

    def append(self, record: VersionRecord) -> VersionRecord:
        """Add a version's record to the log."""
        self.records.append(record)
        self._all.append(record)
        self._write()
        return record

    def measure_again(self, record: VersionRecord, metrics: Mapping[str, float]) -> VersionRecord:
        """Replace the measurements of a version."""
        measured = replace(record, metrics=dict(metrics))
        for records in (self.records, self._all):
            records[records.index(record)] = measured
        self._write()
        return measured

    @property
    def newest_hash(self) -> str:
        """Hash of the run's last version; "" if there is none."""
        return self.records[-1].hash if self.records else ""

    def _write(self) -> None:
        if self.path is None or self._library is None:
            return
        text = "".join(json.dumps(asdict(line)) + "\n" for line in self._all)
        with self._record.attempt():
            write_atomically(self.path, text, mode=mode_beside(self._library))

    # -- libraries of versions that will be measured again -------------------------------------------------

    def keep(self, library: ExperienceLibrary) -> None:
        """Keep the library of a version that was measured with errors, as ``<library>.version-<hash>.kept``."""
        if (path := self._path_of_kept(library.hash)) is not None:
            library.save(path)

    def load_kept(self, library_hash: str) -> ExperienceLibrary | None:
        """The kept library of a version; None if it was not kept."""
        path = self._path_of_kept(library_hash)
        return ExperienceLibrary.load(path) if path is not None and path.exists() else None

    def discard(self, library_hash: str) -> None:
        """Remove the kept library of a version, after the version was measured without errors."""
        if (path := self._path_of_kept(library_hash)) is not None:
            path.unlink(missing_ok=True)

    def _path_of_kept(self, library_hash: str) -> Path | None:
        return self.path and self.path.with_name(
            f"{self.path.name.removesuffix('.versions.jsonl')}.version-{library_hash[:12]}.kept"
        )

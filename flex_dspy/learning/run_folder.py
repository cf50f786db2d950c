"""The folder of one learning run: its note, its library, its cost, and the configuration that repeats it.

    run.json                 the run's id, the options it was started with, its data by name and digest
    run.toml                 the options alone: of the command line for --config, of Python for LearningSettings
    library.json             the library, with its journal and its records beside it
    spending.jsonl           every call that was paid for
    mlflow_run.txt           the id of the run in MLflow, where it is tracked
    unlogged/                versions that MLflow has not taken

Example:
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> folder = RunFolder(Path(mkdtemp()) / "dice-1")
    >>> store = folder.open("3f2a", task="dice")
    >>> folder.write_note("3f2a", {"seed": 1, "window": 32})
    >>> folder.summary().run
    '3f2a'
    >>> [each.folder == folder.path for each in list_runs(folder.path.parent)]
    [True]
    >>> folder.delete()
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from flex_dspy.core.errors import ConfigurationError, FlexError, RunError
from flex_dspy.core.secrets import redact_values
from flex_dspy.learning.toml import toml_text
from flex_dspy.learning.version import VersionRecord, Versions
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import write_atomically
from flex_dspy.libraries.locking import is_learned_into
from flex_dspy.libraries.paths import PRIVATE, beside
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.models.spending import Ledger

RUNS = Path("exps")  # where runs lie unless another folder is named


@dataclass(frozen=True, slots=True)
class RunNote:
    """The content of ``run.json``.

    Attributes:
        run: Identity of the run.
        command: The options it was started with, without secrets.
        data: Its sets of examples (``training``, ``validation``), each with ``name``, ``digest``, ``source``, ``size``.
    """

    run: str
    command: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run in a list of runs.

    Attributes:
        folder: Where it lies.
        run: Its identity.
        task: The task of its library; "" where none is known.
        changed: When its library was last written.
        versions: How many versions it published.
        newest: The newest version; None where there is none.
        failures: How many examples gave nothing.
        problem: The error of a file that cannot be read; "" if there is none.
    """

    folder: Path
    run: str
    task: str = ""
    changed: datetime | None = None
    versions: int = 0
    newest: VersionRecord | None = None
    failures: int = 0
    problem: str = ""


class RunFolder:
    """One run's folder. Nothing is read or written before a method is called.

    Args:
        path: The folder; it need not exist.
        library: The library's file, where that lies elsewhere; None for ``library.json`` in the folder.

    Attributes:
        moved_to: Where ``open(fresh=True)`` put the old content of the folder; None if nothing was moved.
    """

    def __init__(self, path: str | Path, library: str | Path | None = None) -> None:
        self.path = Path(path)
        self.library = self.path / "library.json" if library is None else Path(library)
        self.moved_to: Path | None = None

    @classmethod
    def of_run(cls, path: str | Path) -> RunFolder:
        """The folder of a run that was begun, with the library that it learned into.

        Args:
            path: The folder.

        Raises:
            RunError: If there is no run in it.
        """
        return cls(path, cls(path).note().command.get("library"))

    @property
    def _is_library_elsewhere(self) -> bool:
        return self.library.parent.resolve() != self.path.resolve()

    # -- its files -----------------------------------------------------------------------------------------

    @property
    def note_file(self) -> Path:
        """The note on the run."""
        return self.path / "run.json"

    @property
    def configuration(self) -> Path:
        """The configuration file that repeats the run."""
        return self.path / "run.toml"

    @property
    def spending(self) -> Path:
        """The record of spending."""
        return self.path / "spending.jsonl"

    @property
    def figure(self) -> Path:
        """The learning curve."""
        return beside(self.library, "png")

    @property
    def tracking_run(self) -> Path:
        """The id of the run in MLflow."""
        return self.path / "mlflow_run.txt"

    @property
    def unlogged(self) -> Path:
        """The versions that MLflow has not taken."""
        return self.path / "unlogged"

    # -- starting and resuming -----------------------------------------------------------------------------

    def open(
        self,
        run: str,
        *,
        task: str = "",
        start_from: ExperienceLibrary | None = None,
        resume: bool = False,
        fresh: bool = False,
    ) -> LibraryStore:
        """Continue the run in the folder, or begin one.

        Args:
            run: Identity of the run, from ``ForwardLearning.run_id``.
            task: Name of the task, for a library that has none yet.
            start_from: The library that a new run begins with. A run that is resumed has it already.
            resume: Refuse to begin: there must be a run to continue.
            fresh: Move the old content aside first, to ``<folder>.<n>.bak``.

        Returns:
            The run's store, to be learned into.

        Raises:
            ConfigurationError: If a new run should start from a library, and learn into one that exists.
            RunError: If the folder holds another run, or none although one is to be resumed, or cannot be made.
            LibraryError: If the library's file cannot be used.
        """
        if start_from is not None and not fresh:
            self._check_start(start_from)
        self._check(run, resume=resume, fresh=fresh)
        if fresh:
            self._move_aside()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.path} cannot be a run's folder: {error}") from error
        store = (LibraryStore.fresh if fresh and self._is_library_elsewhere else LibraryStore)(self.library, task=task)
        if start_from is not None and store.library.seen == 0:
            start_from.save(self.library)
            store = LibraryStore(self.library, task=task)
        return store

    def _check_start(self, start_from: ExperienceLibrary) -> None:
        """Refuse another start for a library that exists before its run has begun.

        The run's own folder may hold the start itself, or an empty library: a run that was killed before its note was
        written leaves them.

        Raises:
            ConfigurationError: If it does.
        """
        if self.note_file.exists() or not self.library.exists():
            return
        found = None if self._is_library_elsewhere else ExperienceLibrary.load(self.library)
        if found is None or (found.hash != start_from.hash and (len(found) or found.seen)):
            raise ConfigurationError(
                f"{self.library} is there already, so learning starts from it: leave --start-from out, or name another "
                "file with --library"
            )

    def _check(self, run: str, *, resume: bool, fresh: bool) -> None:
        """Refuse a folder that holds another run.

        Raises:
            RunError: If it does, or holds none although one is to be resumed.
        """
        known = self.note().run if self.note_file.exists() else None
        if resume and known is None:
            raise RunError(f"there is no run to resume in {self.path}: leave --resume out to start one")
        if known not in (None, run) and not fresh:
            raise RunError(
                f"{self.path} holds another run ({known}, this one would be {run}: other data, seed, models or "
                "settings). Choose another --out, or move it aside with --fresh"
            )

    def _move_aside(self) -> None:
        if self.path.exists():
            numbered = (self.path.with_name(f"{self.path.name}.{number}.bak") for number in count(1))
            self.moved_to = next(folder for folder in numbered if not folder.exists())
            self.path.rename(self.moved_to)

    def write_note(
        self, run: str, command: Mapping[str, Any], data: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Write the note on the run, without secrets, and the configuration file that repeats it.

        Both can be read by their owner alone: options name servers, accounts and folders.

        Args:
            run: Identity of the run.
            command: The options, by name; None values are left out of the configuration file.
            data: Its sets of examples, as in ``RunNote``.
        """
        elsewhere = {"library": str(self.library.absolute())} if self._is_library_elsewhere else {}
        note = redact_values({"run": run, "command": {**elsewhere, **command}, "data": data or {}})
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.note_file, json.dumps(note, indent=2, default=str) + "\n", mode=PRIVATE)
        write_atomically(self.configuration, toml_text(note["command"]), mode=PRIVATE)
        self.note_file.chmod(PRIVATE)  # where an earlier release left it open to others

    def ledger(self, planned: Ledger | None = None) -> Ledger:
        """The run's ledger: it goes on from what the run has spent already.

        Args:
            planned: Has the budgets and the prices; None has none.
        """
        if planned is None:
            return Ledger(self.spending)
        usd, tokens = planned.budget_usd, planned.budget_tokens
        return Ledger(self.spending, budget_usd=usd, budget_tokens=tokens, prices=planned.prices)

    # -- looking, and deleting -----------------------------------------------------------------------------

    def note(self) -> RunNote:
        """Read the note on the run.

        Raises:
            RunError: If ``run.json`` is not there, or cannot be read.
        """
        try:
            found = json.loads(self.note_file.read_text(encoding="utf-8"))
            return RunNote(found["run"], found.get("command") or {}, found.get("data") or {})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{self.note_file} does not describe a run: {error}") from error

    def versions(self) -> Versions:
        """The versions that were published, of all runs that learned into its library.

        Raises:
            LibraryError: If their log cannot be read.
        """
        return VersionLog(self.library, "").of_all_runs

    def summary(self) -> RunSummary:
        """The run as a line of a list. A file that cannot be read is its ``problem``, and no error."""
        try:
            note = self.note()
        except RunError as error:
            return RunSummary(self.path, "", problem=str(error))
        task = str(note.command.get("task") or "")
        try:
            versions, failures = self.versions(), self._failure_count()
        except (FlexError, OSError) as error:
            return RunSummary(self.path, note.run, task, self._last_change(), problem=str(error))
        newest = versions[-1] if versions else None
        return RunSummary(self.path, note.run, task, self._last_change(), len(versions), newest, failures)

    def _failure_count(self) -> int:
        file = self.library.with_suffix(".failures.jsonl")
        return len(file.read_bytes().splitlines()) if file.exists() else 0

    def _last_change(self) -> datetime | None:
        """When the library, or its journal, was last written."""
        files = (self.library, beside(self.library, "journal.jsonl"))
        times = [file.stat().st_mtime for file in files if file.exists()]
        return datetime.fromtimestamp(max(times)).astimezone() if times else None

    def delete(self) -> None:
        """Delete the folder with all that is in it. A library that lies elsewhere stays, and so does MLflow's run.

        Raises:
            RunError: If it is no run's folder, holds anything that is not of the run, or cannot be deleted, or if the
                run is at work.
        """
        self.note()
        if is_learned_into(self.library):
            raise RunError(f"{self.path}: the run is at work. End it first, or wait until it has finished")
        if foreign := self._foreign_names():
            raise RunError(
                f"{self.path} holds more than the run: {', '.join(foreign[:5])}. Move that elsewhere, or "
                "delete the folder yourself"
            )
        try:
            shutil.rmtree(self.path)
        except OSError as error:
            raise RunError(f"{self.path} cannot be deleted: {error}") from error

    def _foreign_names(self) -> list[str]:
        """Names in the folder that no run writes; ``--out`` may have named a folder that was in use."""
        own = {self.note_file, self.configuration, self.spending, self.tracking_run, self.unlogged}
        stem = "library" if self._is_library_elsewhere else self.library.name.removesuffix(".json")
        starts = (f"{stem}.", f".{stem}.", ".run.")  # a dot: being written when the run was killed
        return sorted(each.name for each in self.path.iterdir() if each not in own and not each.name.startswith(starts))


def list_runs(root: str | Path = RUNS) -> list[RunSummary]:
    """The runs in a folder, the one that was changed last at the end.

    Args:
        root: The folder that holds the runs' folders.
    """
    found = [_summary(note.parent) for note in Path(root).glob("*/run.json")]
    return sorted(found, key=lambda run: (run.changed.timestamp() if run.changed else 0.0, str(run.folder)))


def _summary(path: Path) -> RunSummary:
    try:
        return RunFolder.of_run(path).summary()
    except RunError as error:
        return RunSummary(path, "", problem=str(error))

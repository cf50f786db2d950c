"""The folder of one learning run: its note, library, spending and configuration.

    run.json                 the run's id, its options, and its data by name and digest
    run.toml                 only the options, for --config or for LearningSettings
    library.json             the library; its journal and records lie beside it
    spending.jsonl           every paid call
    mlflow_run.txt           the id of the run in MLflow, if it is tracked
    unlogged/                versions that could not be logged in MLflow yet

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

RUNS = Path("exps")  # the default folder of runs


@dataclass(frozen=True, slots=True)
class RunNote:
    """The content of ``run.json``.

    Attributes:
        run: Identity of the run.
        command: The options of the run, without secrets.
        data: The run's sets of examples (``training``, ``validation``), each with ``name``, ``digest``, ``source``,
            ``size``.
    """

    run: str
    command: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run in a list of runs.

    Attributes:
        folder: The run's folder.
        run: Identity of the run.
        task: The task of its library; "" if it is not known.
        changed: When its library was last written.
        versions: Number of published versions.
        newest: The newest version; None if there is none.
        failures: Number of examples that failed.
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
    """The folder of one run. The constructor reads and writes no file.

    Args:
        path: The folder. It is created when needed.
        library: The library's file; None stands for ``library.json`` in the folder.

    Attributes:
        moved_to: Where ``open(fresh=True)`` put the old content of the folder; None if nothing was moved.
    """

    def __init__(self, path: str | Path, library: str | Path | None = None) -> None:
        self.path = Path(path)
        self.library = self.path / "library.json" if library is None else Path(library)
        self.moved_to: Path | None = None

    @classmethod
    def of_run(cls, path: str | Path) -> RunFolder:
        """Return the folder of an existing run, with the library that this run learned into.

        Args:
            path: The folder.

        Raises:
            RunError: If the folder holds no run.
        """
        return cls(path, cls(path).note().command.get("library"))

    @property
    def _is_library_elsewhere(self) -> bool:
        return self.library.parent.resolve() != self.path.resolve()

    # -- its files -----------------------------------------------------------------------------------------

    @property
    def note_file(self) -> Path:
        """The file of the note on the run."""
        return self.path / "run.json"

    @property
    def configuration(self) -> Path:
        """The configuration file that repeats the run."""
        return self.path / "run.toml"

    @property
    def spending(self) -> Path:
        """The file that records the spending."""
        return self.path / "spending.jsonl"

    @property
    def figure(self) -> Path:
        """The file of the learning curve's figure."""
        return beside(self.library, "png")

    @property
    def tracking_run(self) -> Path:
        """The file with the id of the run in MLflow."""
        return self.path / "mlflow_run.txt"

    @property
    def unlogged(self) -> Path:
        """The folder of the versions that could not be logged in MLflow yet."""
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
            resume: Only continue. A folder without a run is an error.
            fresh: First move the old content to ``<folder>.<n>.bak``.

        Returns:
            The store that the run learns into.

        Raises:
            ConfigurationError: If ``start_from`` is given, and the library's file already exists for a new run.
            RunError: If the folder holds another run, or cannot be made, or holds no run although ``resume`` is set.
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
        """Refuse a start library if the library's file exists before its run has begun.

        The run's own folder may hold the start library itself, or an empty library. A run that was killed before it
        wrote its note leaves such a file.

        Raises:
            ConfigurationError: If the file holds another library.
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
            RunError: If the folder holds another run, or no run although ``resume`` is set.
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

        Only the owner can read both files, because options name servers, accounts and folders.

        Args:
            run: Identity of the run.
            command: The options, by name; None values are left out of the configuration file.
            data: The run's sets of examples, as in ``RunNote``.
        """
        elsewhere = {"library": str(self.library.absolute())} if self._is_library_elsewhere else {}
        note = redact_values({"run": run, "command": {**elsewhere, **command}, "data": data or {}})
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.note_file, json.dumps(note, indent=2, default=str) + "\n", mode=PRIVATE)
        write_atomically(self.configuration, toml_text(note["command"]), mode=PRIVATE)
        self.note_file.chmod(PRIVATE)  # an earlier release may have made it readable for others

    def ledger(self, planned: Ledger | None = None) -> Ledger:
        """Return the run's ledger, which starts with what the run has spent already.

        Args:
            planned: A ledger with the budgets and prices to use; None sets no budgets and no prices.
        """
        if planned is None:
            return Ledger(self.spending)
        usd, tokens = planned.budget_usd, planned.budget_tokens
        return Ledger(self.spending, budget_usd=usd, budget_tokens=tokens, prices=planned.prices)

    # -- looking, and deleting -----------------------------------------------------------------------------

    def note(self) -> RunNote:
        """Read the note on the run.

        Raises:
            RunError: If ``run.json`` is missing or cannot be read.
        """
        try:
            found = json.loads(self.note_file.read_text(encoding="utf-8"))
            return RunNote(found["run"], found.get("command") or {}, found.get("data") or {})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{self.note_file} does not describe a run: {error}") from error

    def versions(self) -> Versions:
        """The published versions of all runs that learned into the library.

        Raises:
            LibraryError: If their log cannot be read.
        """
        return VersionLog(self.library, "").of_all_runs

    def summary(self) -> RunSummary:
        """The run as one line of a list. If a file cannot be read, the error's text is in ``problem``."""
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
        """The time when the library or its journal was last written."""
        files = (self.library, beside(self.library, "journal.jsonl"))
        times = [file.stat().st_mtime for file in files if file.exists()]
        return datetime.fromtimestamp(max(times)).astimezone() if times else None

    def delete(self) -> None:
        """Delete the folder and all its content. A library outside the folder stays, and so does the run in MLflow.

        Raises:
            RunError: If the folder holds no run, or holds files that the run did not write, or cannot be deleted, or if
                the run is still learning.
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
        """Names in the folder that no run writes. They exist if ``--out`` named a folder with other files."""
        own = {self.note_file, self.configuration, self.spending, self.tracking_run, self.unlogged}
        stem = "library" if self._is_library_elsewhere else self.library.name.removesuffix(".json")
        starts = (f"{stem}.", f".{stem}.", ".run.")  # a leading dot marks a temporary file of a killed run
        return sorted(each.name for each in self.path.iterdir() if each not in own and not each.name.startswith(starts))


def list_runs(root: str | Path = RUNS) -> list[RunSummary]:
    """The runs in a folder, sorted by the time of their last change, the newest last.

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

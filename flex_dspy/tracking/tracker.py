"""Logs a learning run and the versions of its library to MLflow: content, data and accuracies.

One learning run is one MLflow run. Each published snapshot is a LoggedModel with its ``library.json``, pages about it,
and metrics linked to the validation set. It is also one version of a registered model, so that ``NAME@best`` or
``NAME/3`` can be used anywhere in place of a file name::

    tracker = MLflowTracker("retrosynthesis", registered_name="chemist")
    tracker.start({"task": "uspto50k", "lm": "offline/chemist"})
    tracker.log_version(Version(library, step=50, metrics={"accuracy": 0.31, "n": 100.0}))
    tracker.finish()
    load_library("chemist@best")

Only MLflow's client is used: no global active run or tracking URI is set, so that a notebook that uses MLflow itself is
not affected. The import of MLflow takes seconds, so it is imported inside functions.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flex_dspy.core.errors import ConfigurationError, RunError
from flex_dspy.evaluation.answer_errors import MAX_ERRORS
from flex_dspy.learning.version import Version
from flex_dspy.libraries.library_file import write_atomically
from flex_dspy.tracking.datasets import DatasetInfo
from flex_dspy.tracking.guide import guide
from flex_dspy.tracking.mlflow_store import (
    brief,
    check_answers,
    check_sqlite,
    connect,
    open_experiment,
    report_errors,
    resolve_uri,
)
from flex_dspy.tracking.names import run_name
from flex_dspy.tracking.parameters import MAX_NAME, printable_params
from flex_dspy.tracking.promotion import Promote
from flex_dspy.tracking.registration import Rule
from flex_dspy.tracking.run_curves import log_curves
from flex_dspy.tracking.unlogged import RunNotes, Unlogged
from flex_dspy.tracking.version import code_version
from flex_dspy.tracking.version_table import read_versions
from flex_dspy.tracking.version_writer import VersionWriter

logger = logging.getLogger(__name__)

# MLflow's limit for the number of parameters in a call.
_BATCH = 100

_REGISTERED_NAME = re.compile(r"\w[\w .-]*")


class MLflowTracker:
    """Reports a learning run to MLflow.

    If the store cannot be used when the run starts, an error is raised. If it fails later, learning continues.
    A warning then names the versions that were not logged, and they are tried again, in order, with the next version
    and at the end. The first failure takes as long as MLflow's own limits allow, each later failure one second (see
    ``check_answers``). Versions that are still missing at the end are kept on disk, and can be logged later.

    Args:
        experiment: Name of the MLflow experiment; it is made if it does not exist.
        tracking_uri: The tracking store; None for MLflow's own choice, which is ``MLFLOW_TRACKING_URI`` or
            ``sqlite:///mlflow.db``.
        registered_name: Name of the registered model whose versions are this library's.
        run_file: File for the run's id, so that a killed run can be continued. None for a new run each time.
        data: The data sets of the run, as ``training`` and ``validation``. MLflow gets their names, digests and sizes
            only; see also ``log_examples``.
        unlogged: A folder for versions that the store has not taken yet. None keeps them in memory, for as long as the
            tracker lives.
        max_errors: Largest share of errors in [0, 1] among validation answers with which a version can be ``best``.
        promote: When ``best`` moves; see ``flex_dspy.tracking.promotion``.
        run_name: Name of the run; by default it says task, model, way, examples, seed and run id.
        log_examples: Whether MLflow gets problems, references and answers of validation examples: in each version's
            ``examples.csv``, as an evaluation data set, and as the model's input example. Without them it gets ids and
            scores. The library itself is logged in any case, and it holds training examples as precedents.
        scopes: The scopes that readers of the store may see in addition to the shared entries. The file and the page of
            a version hold nothing of other scopes. Answers to validation examples are logged unchanged.

    Raises:
        ConfigurationError: If ``registered_name`` cannot be part of a reference such as ``NAME@best``.
    """

    def __init__(
        self,
        experiment: str,
        *,
        tracking_uri: str | None = None,
        registered_name: str,
        run_file: Path | None = None,
        data: Mapping[str, DatasetInfo] | None = None,
        unlogged: Path | None = None,
        max_errors: float = MAX_ERRORS,
        promote: Promote = "best",
        run_name: str = "",
        log_examples: bool = True,
        scopes: Sequence[str] = (),
    ) -> None:
        if not _REGISTERED_NAME.fullmatch(registered_name):
            raise ConfigurationError(
                f"{registered_name!r} cannot name a registered model. "
                "Use letters, digits, spaces, dots, hyphens and underscores."
            )
        self.experiment = experiment
        self.tracking_uri = tracking_uri
        self.registered_name = registered_name
        self.run_file = run_file
        self.data = dict(data or {})
        self.max_errors = max_errors
        self.promote = promote
        self.run_name = run_name
        self.log_examples = log_examples
        self.scopes = tuple(scopes)
        self.run_id = ""
        self._client: Any = None
        self._experiment_id = ""
        self._writer: VersionWriter | None = None
        self._pending: list[Version] = []
        self._unlogged = Unlogged(unlogged) if unlogged else None
        self._has_failed = False
        self._last_view: str | None = None

    @property
    def missing(self) -> list[int]:
        """The steps of the versions that the store has not taken."""
        return [version.step for version in self._pending]

    # -- the run -------------------------------------------------------------------------------------------

    def start(self, params: Mapping[str, Any]) -> None:
        """Begin the run, or continue the one named in ``run_file``.

        Args:
            params: The parameters of the run; they may be nested. Anything that looks like a key or a
                password, by name or by value, is left out. ``instructions``, by role, become registered prompts.

        Raises:
            ConfigurationError: If the tracking store cannot be used.
        """
        instructions = params.get("instructions") or {}
        params = {name: value for name, value in params.items() if name != "instructions"}
        uri = resolve_uri(self.tracking_uri)
        advice = "Start its server, correct MLFLOW_TRACKING_URI, or learn without tracking."
        with report_errors("use the tracking store", uri, advice):
            check_sqlite(uri)
            self._client = connect(uri)
            self._experiment_id = open_experiment(self._client, uri, self.experiment, guide(self.registered_name))
            known = self._find_run()
            self.run_id = known or self._new_run(params)
            printable = printable_params(params)
            notes = RunNotes(self.experiment, self.registered_name, printable, self.data, dict(instructions))
            self._writer = VersionWriter(self._client, uri, self._experiment_id, self.run_id, notes, self._rule())
            if not known:
                self._writer.begin()
            self._log_params(notes.params)
            self._pending = self._unlogged.versions() if self._unlogged else []
            if self.data:
                self._client.log_inputs(self.run_id, [info.input(context) for context, info in self.data.items()])

    def _rule(self) -> Rule:
        return Rule(self.promote, self.max_errors)

    def _find_run(self) -> str | None:
        """Reopen the run in ``run_file``; None if this store does not have it in this experiment."""
        from mlflow.exceptions import MlflowException

        if self.run_file is None or not self.run_file.exists():
            return None
        try:
            info = self._client.get_run(self.run_file.read_text(encoding="utf-8").strip()).info
        except MlflowException as error:
            if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                return None
            raise
        if info.experiment_id != self._experiment_id or info.lifecycle_stage != "active":
            return None
        self._client.update_run(info.run_id, status="RUNNING")
        return str(info.run_id)

    def _new_run(self, params: Mapping[str, Any]) -> str:
        tags = {"flex_dspy.version": code_version(), "flex_dspy.task": str(params.get("task", ""))}
        run = self._client.create_run(
            self._experiment_id, run_name=self.run_name or run_name(params) or self.registered_name, tags=tags
        )
        if self.run_file is not None:
            self.run_file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.run_file, run.info.run_id)
        return str(run.info.run_id)

    def _log_params(self, given: Mapping[str, str]) -> None:
        """Log the parameters. MLflow does not allow changes, so parameters that a continued run changes go to a tag."""
        from mlflow.entities import Param, RunTag

        known = self._client.get_run(self.run_id).data.params
        fresh = [Param(key, value) for key, value in given.items() if key not in known]
        for first in range(0, len(fresh), _BATCH):
            self._client.log_batch(self.run_id, params=fresh[first : first + _BATCH])
        changed = {key: value for key, value in given.items() if known.get(key, value) != value}
        tags = [RunTag(f"resumed.{key}"[:MAX_NAME], value) for key, value in changed.items()]
        for first in range(0, len(tags), _BATCH):
            self._client.log_batch(self.run_id, tags=tags[first : first + _BATCH])

    def finish(self, artifacts: Sequence[Path] = ()) -> None:
        """Log the versions that are missing, then the files and folders given, and end the run.

        Args:
            artifacts: Files and folders to keep with the run, such as the learning curve.
        """
        if self._client is None:
            return
        self._flush()
        for path in artifacts:
            log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
            self._attempt(str(path), log, self.run_id, str(path))
        if not self._pending:  # a store that has failed is not asked again
            self._attempt("the figure of all runs", self._log_curves)
        self._attempt("the end of the run", self._client.set_terminated, self.run_id)

    def _log_curves(self) -> None:
        """Log the learning curves of this run and the others of its task and experiment as a chart, if it has one."""
        if len(self._open_writer().content().points) < 2:  # reading all versions of the experiment takes long
            return
        client, experiments = self._client, {self._experiment_id: self.experiment}
        log_curves(client, self.run_id, read_versions(client, experiments))

    # -- versions ------------------------------------------------------------------------------------------

    def log_version(self, version: Version) -> None:
        """Log a version. A version that the run already has is logged again only if it ``is_again``.

        For failures of the store, see the class.

        Args:
            version: The version.

        Raises:
            RunError: If the run was not started.
        """
        self._open_writer()
        version = self._visible(version)
        validation = self.data.get("validation")
        if validation is not None and version.dataset_digest:
            version = replace(version, dataset=validation.name)
        if not self.log_examples:
            version = replace(version, records=[record.without_content() for record in version.records])
        self._pending = [kept for kept in self._pending if kept.key != version.key]
        self._pending.append(version)
        self._flush()

    def _visible(self, version: Version) -> Version:
        """The version with the visible scopes only. Its parent is the view of the version before."""
        view = version.library.scoped(*self.scopes)
        if view is version.library:
            return version
        view = view.as_version(self._last_view if self._last_view != view.hash else None)
        self._last_view = view.hash
        return replace(version, library=view)

    def holds(self, library_hash: str, step: int) -> bool:
        """Whether the store has taken a version of this run.

        Args:
            library_hash: The library's hash.
            step: The version's step.
        """
        logged = self._open_writer().content()
        model = logged.models.get((library_hash, str(step)))
        return model is not None and model.model_id in logged.registered

    def _open_writer(self) -> VersionWriter:
        """The writer of the run.

        Raises:
            RunError: If the run was not started.
        """
        if self._writer is None:
            raise RunError("the tracker has no run: call start() before log_version()")
        return self._writer

    def _record(self, version: Version) -> None:
        self._open_writer().write(version)

    def _flush(self) -> None:
        """Log the pending versions, oldest first, until the first failure, so that numbers follow the run's order."""
        while self._pending:
            steps = ", ".join(str(version.step) for version in self._pending)
            if not self._attempt(f"the version(s) at step {steps}", self._record, self._pending[0]):
                self._open_writer().forget()
                self._keep()
                return
            if self._unlogged:
                self._unlogged.drop(self._pending[0])
            del self._pending[0]

    def _keep(self) -> None:
        if self._unlogged:
            for version in self._pending:
                self._unlogged.keep(version, self._open_writer().notes)

    def _attempt(self, what: str, action: Any, *args: Any) -> bool:
        uri = resolve_uri(self.tracking_uri)
        try:
            check_answers(uri, has_failed=self._has_failed)
            action(*args)
        except Exception as error:  # A store that fails must not end the learning.
            self._has_failed = True
            logger.warning("MLflow did not take %s; nothing learned is lost. %s", what, brief(error, uri))
            return False
        self._has_failed = False
        return True

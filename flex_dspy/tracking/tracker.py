"""Versions of a library in MLflow: what was learned, from what, and how well it does.

One learning run is one MLflow run. Each published snapshot is a LoggedModel with its ``library.json`` and the pages
about it, its metrics tied to the validation set, and one version of a registered model, so that ``NAME@best`` or
``NAME/3`` names a library anywhere that a file name does::

    tracker = MLflowTracker("retrosynthesis", registered_name="chemist")
    tracker.start({"task": "uspto50k", "lm": "offline/chemist"})
    tracker.log_version(Version(library, step=50, metrics={"accuracy": 0.31, "n": 100.0}))
    tracker.finish()
    load_library("chemist@best")

MLflow is spoken to through its client only: no global active run or tracking URI is set, so a notebook that
uses MLflow itself is left as it is. Importing it takes seconds, hence the imports inside functions.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from flex_dspy.core.errors import ConfigurationError, RunError
from flex_dspy.core.secrets import redact_url
from flex_dspy.evaluation.answer_errors import MAX_ERRORS
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import write_atomically
from flex_dspy.tracking.datasets import DatasetInfo
from flex_dspy.tracking.logged import Logged, read_logged
from flex_dspy.tracking.mlflow_store import brief, check_answers, check_sqlite, connect, open_experiment, resolve_uri
from flex_dspy.tracking.model_page import write_page
from flex_dspy.tracking.parameters import MAX_NAME, allowed_name, printable_params
from flex_dspy.tracking.registration import BEST, MODEL_TYPE, NEWEST, choose_best, register, set_aliases, update
from flex_dspy.tracking.unlogged import RunNotes, Unlogged
from flex_dspy.tracking.version import Version, accuracy_text, code_version, columns, describe

__all__ = ["BEST", "BY_SIZE", "MODEL_TYPE", "NEWEST", "MLflowTracker", "Tracker", "Version", "describe"]

logger = logging.getLogger(__name__)

MEASURED_AGAIN = "accuracy measured again"
BY_SIZE = "by library size"  # metrics of a run whose step is the number of entries

# MLflow's limit of parameters a call.
_BATCH = 100

_REGISTERED_NAME = re.compile(r"\w[\w .-]*")


class Tracker(Protocol):
    """Where a learning run reports its versions."""

    def start(self, params: Mapping[str, Any]) -> None:
        """Begin the run, or continue it."""

    def log_version(self, version: Version) -> None:
        """Record one version; one that ``is_again`` replaces what was measured of it with errors."""

    def finish(self, artifacts: Sequence[Path] = ()) -> None:
        """End the run."""


class MLflowTracker:
    """Reports a learning run to MLflow.

    A store that cannot be used when the run starts is an error at once. One that fails later costs no
    learning: a warning names the versions that it did not take, and they are tried again, in order, with the
    next version and at the end. A first failure takes as long as MLflow's own bounds allow, each later one a
    second (see ``check_answers``). Versions that are still missing then are kept on disk, to be logged later.

    Args:
        experiment: Name of the MLflow experiment; made where it does not exist.
        tracking_uri: The tracking store; None for MLflow's own choice, which is ``MLFLOW_TRACKING_URI`` or
            ``sqlite:///mlflow.db``.
        registered_name: Name of the registered model whose versions are this library's.
        run_file: Where the run's id is kept, so that a killed run is continued. None for a new run each time.
        data: What the run learns from and is measured on, as ``training`` and ``validation``, to be named in
            MLflow. Names, digests and sizes only: no example is logged here.
        unlogged: A folder that keeps the versions that the store has not taken, until it has. None keeps them in
            memory, for as long as the tracker lives.
        max_errors: Share of validation answers that are errors from which on a version cannot be ``best``.

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
        self.run_id = ""
        self._client: Any = None
        self._experiment_id = ""
        self._params: dict[str, str] = {}
        self._logged: Logged | None = None
        self._last: ExperienceLibrary | None = None
        self._pending: list[Version] = []
        self._unlogged = Unlogged(unlogged) if unlogged else None
        self._has_failed = False

    @property
    def missing(self) -> list[int]:
        """The steps of the versions that the store has not taken."""
        return [version.step for version in self._pending]

    # -- the run -------------------------------------------------------------------------------------------

    def start(self, params: Mapping[str, Any]) -> None:
        """Begin the run, or continue the one named in ``run_file``.

        Args:
            params: What the run was started with, nested as it may be. Whatever looks like a key or a
                password, by name or by value, is left out.

        Raises:
            ConfigurationError: If the tracking store cannot be used.
        """
        uri = resolve_uri(self.tracking_uri)
        try:
            check_sqlite(uri)
            self._client = connect(uri)
            self._experiment_id = open_experiment(self._client, uri, self.experiment)
            known = self._known_run()
            self.run_id = known or self._new_run(params)
            self._logged = None if known else Logged()
            self._params = printable_params(params)
            self._log_params()
            self._pending = self._unlogged.versions() if self._unlogged else []
            if self.data:
                self._client.log_inputs(self.run_id, [info.input(context) for context, info in self.data.items()])
        except Exception as error:  # Each kind of store fails with errors of its own driver.
            raise ConfigurationError(
                f"MLflow cannot use the tracking store {redact_url(uri)}: {brief(error, uri)}. "
                "Start its server, correct MLFLOW_TRACKING_URI, or learn without tracking."
            ) from error

    def _known_run(self) -> str | None:
        """The run in ``run_file``, open again, if this store has it in this experiment."""
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
        run = self._client.create_run(self._experiment_id, run_name=self.registered_name, tags=tags)
        if self.run_file is not None:
            self.run_file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.run_file, run.info.run_id)
        return str(run.info.run_id)

    def _log_params(self) -> None:
        """Log the parameters. MLflow lets none be changed, so what a continued run changes goes to a tag."""
        from mlflow.entities import Param, RunTag

        known = self._client.get_run(self.run_id).data.params
        given = self._params
        fresh = [Param(key, value) for key, value in given.items() if key not in known]
        for first in range(0, len(fresh), _BATCH):
            self._client.log_batch(self.run_id, params=fresh[first : first + _BATCH])
        changed = {key: value for key, value in given.items() if known.get(key, value) != value}
        tags = [RunTag(f"resumed.{key}"[:MAX_NAME], value) for key, value in changed.items()]
        for first in range(0, len(tags), _BATCH):
            self._client.log_batch(self.run_id, tags=tags[first : first + _BATCH])

    def finish(self, artifacts: Sequence[Path] = ()) -> None:
        """Log what is still missing, then the files and folders given, and end the run.

        Args:
            artifacts: Files and folders to keep with the run, such as the learning curve.
        """
        if self._client is None:
            return
        self._flush()
        for path in artifacts:
            log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
            self._attempt(str(path), log, self.run_id, str(path))
        self._attempt("the end of the run", self._client.set_terminated, self.run_id)

    # -- versions ------------------------------------------------------------------------------------------

    def log_version(self, version: Version) -> None:
        """Log a version, unless this run has it already: then only what was measured again. See the class on failures.

        Args:
            version: The snapshot and what was measured of it.

        Raises:
            RunError: If the run was not started.
        """
        if self._client is None:
            raise RunError("the tracker has no run: call start() before log_version()")
        validation = self.data.get("validation")
        if validation is not None and version.dataset_digest:
            version = replace(version, dataset=validation.name)
        self._pending = [kept for kept in self._pending if kept.key != version.key]
        self._pending.append(version)
        self._flush()

    def holds(self, library_hash: str, step: int) -> bool:
        """Whether the store has taken a version of this run.

        Args:
            library_hash: The library's hash.
            step: The version's step.
        """
        model = self._known().models.get((library_hash, str(step)))
        return model is not None and model.model_id in self._known().registered

    def _known(self) -> Logged:
        """What the run holds in the store."""
        if self._logged is None:
            self._logged = Logged.read(self._client, self._experiment_id, self.run_id, self.registered_name)
        return self._logged

    def _flush(self) -> None:
        """Log what is pending, oldest first, up to the first failure: numbers must follow the run's order."""
        while self._pending:
            steps = ", ".join(str(version.step) for version in self._pending)
            if not self._attempt(f"the version(s) at step {steps}", self._record, self._pending[0]):
                self._logged = None  # what was done before the failure is asked of the store
                self._keep()
                return
            if self._unlogged:
                self._unlogged.drop(self._pending[0])
            del self._pending[0]

    def _keep(self) -> None:
        if self._unlogged:
            notes = RunNotes(self.experiment, self.registered_name, self._params, self.data)
            for version in self._pending:
                self._unlogged.keep(version, notes)

    def _attempt(self, what: str, action: Any, *args: Any) -> bool:
        uri = resolve_uri(self.tracking_uri)
        try:
            check_answers(uri, has_failed=self._has_failed)
            action(*args)
        except Exception as error:  # Whatever befalls the store, what was learned must not be lost with it.
            self._has_failed = True
            logger.warning("MLflow did not take %s; nothing learned is lost. %s", what, brief(error, uri))
            return False
        self._has_failed = False
        return True

    def _record(self, version: Version) -> None:
        """Log one version. Each step looks first at what an earlier, interrupted try has left."""
        from mlflow.entities import LoggedModelStatus

        logged = self._known()
        model = logged.models.get(version.key) or self._create_model(version, logged)
        logged.models[version.key] = model
        if model.status != LoggedModelStatus.READY:
            model = logged.models[version.key] = self._fill_model(model.model_id, version, logged)
        registered = logged.registered.get(model.model_id)
        if registered is None:
            run_id = self._version_run(model, version, logged)
            registered = register(self._client, self.registered_name, model, run_id, version)
            logged.registered[model.model_id] = registered
        self._link(model, registered)
        if version.is_again:
            registered = logged.registered[model.model_id] = self._update(model, registered, version, logged)
        set_aliases(self._client, registered, self.max_errors)
        logged.note(version.step, version.numbers())
        self._last = version.library

    def _update(self, model: Any, registered: Any, version: Version, logged: Logged) -> Any:
        """Replace what MLflow says of a version that is measured again: page, numbers, description, tags, ``best``.

        The parameters of a model cannot be changed: a further column says what was measured again without errors.
        """
        self._fill_model(model.model_id, version, logged)
        if not version.metrics.get("errors") and MEASURED_AGAIN not in model.params:
            model.params[MEASURED_AGAIN] = accuracy_text(version.metrics)
            self._client.log_model_params(model.model_id, {MEASURED_AGAIN: model.params[MEASURED_AGAIN]})
        self._version_run(model, version, logged)
        registered = update(self._client, registered, version)
        choose_best(self._client, registered, self.max_errors)
        return registered

    def _create_model(self, version: Version, logged: Logged) -> Any:
        return self._client.create_logged_model(
            self._experiment_id,
            name=f"{self.registered_name.replace('.', '-')}-{version.step}",
            source_run_id=self.run_id,
            params=columns(version, self._params, logged.number_of(version.library.parent)),
            model_type=MODEL_TYPE,
        )

    def _version_run(self, model: Any, version: Version, logged: Logged) -> str:
        """A run of the version's own, below the learning run.

        MLflow compares registered versions by their runs: two of one run would read as identical.
        """
        from mlflow.entities import Metric, Param

        run_id = logged.runs.get(model.model_id)
        if run_id is None:
            tags = {
                "mlflow.parentRunId": self.run_id,
                "flex_dspy.kind": "version",
                "flex_dspy.model_id": model.model_id,
            }
            run = self._client.create_run(self._experiment_id, run_name=model.name, tags=tags)
            run_id = logged.runs[model.model_id] = run.info.run_id
        now = int(time.time() * 1000)
        self._client.log_batch(
            run_id,
            metrics=[Metric(allowed_name(key), value, now, version.step) for key, value in version.numbers().items()],
            params=[Param(key, value) for key, value in model.params.items() if key != "version"],
        )
        self._client.set_terminated(run_id)
        return run_id

    def _link(self, model: Any, registered: Any) -> None:
        """Say the registered version's number on the model's page: as a link, and as a column of the models list."""
        if "version" not in model.params:
            self._client.log_model_params(model.model_id, {"version": str(registered.version)})
            model.params["version"] = str(registered.version)
        # Only a tracking server sets this by itself.
        link = json.dumps([{"name": registered.name, "version": registered.version}])
        self._client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": link})

    def _fill_model(self, model_id: str, version: Version, logged: Logged) -> Any:
        """Upload the version's page and its metrics, and last say that the model is ready."""
        from mlflow.entities import LoggedModelOutput

        with tempfile.TemporaryDirectory() as folder:
            write_page(Path(folder), version, self._parent(version), logged.curve(version), self._title(version))
            self._client.log_model_artifacts(model_id, folder)
        dataset = self._log_dataset(version, logged)
        self._client.log_batch(self.run_id, metrics=self._metrics(model_id, version, dataset))
        if model_id not in logged.outputs:  # MLflow fails on a second time
            self._client.log_outputs(self.run_id, [LoggedModelOutput(model_id, version.step)])
            logged.outputs.add(model_id)
        tags = {"mlflow.note.content": describe(version), "errors": f"{version.metrics.get('errors', 0):.0f}"}
        self._client.set_logged_model_tags(model_id, tags)
        return self._client.finalize_logged_model(model_id, "READY")

    def _title(self, version: Version) -> str:
        task = version.library.task or self.registered_name
        return f"{task}: {self._params['actor']}" if self._params.get("actor") else task

    def _parent(self, version: Version) -> ExperienceLibrary | None:
        """The library that a version was made from: the one before, or read back where the run was continued."""
        wanted = version.library.parent
        if wanted is None or (self._last is not None and self._last.hash == wanted):
            return self._last if wanted else None
        try:
            return read_logged(self._client, self._experiment_id, wanted, resolve_uri(self.tracking_uri))
        except Exception as error:  # the page then has no difference
            logger.debug("the parent of %s cannot be read: %s", version.library.hash, type(error).__name__)
            return None

    def _log_dataset(self, version: Version, logged: Logged) -> tuple[str, str] | tuple[None, None]:
        """Make the validation set an input of the run, once; its name and digest as MLflow knows them."""
        if not version.dataset:
            return None, None
        size = round(version.metrics.get("n", 0))
        source = self.data["validation"].source if "validation" in self.data else version.dataset
        given = DatasetInfo(version.dataset, version.dataset_digest, source, size).input("validation")
        name, digest = given.dataset.name, given.dataset.digest
        if (name, digest) not in logged.inputs:
            self._client.log_inputs(self.run_id, [given])
            logged.inputs.add((name, digest))
        return name, digest

    def _metrics(self, model_id: str, version: Version, dataset: tuple[str | None, str | None]) -> list[Any]:
        """The version's metrics, which MLflow files under the model and the run alike.

        And on the run alone its accuracy by the size of the library, for a chart over that instead of the step.
        """
        from mlflow.entities import Metric

        numbers, now = version.numbers(), int(time.time() * 1000)
        by_step = [
            Metric(allowed_name(key), value, now, version.step, model_id, *dataset, self.run_id)
            for key, value in numbers.items()
        ]
        by_size = [
            Metric(f"{BY_SIZE}/{key}", numbers[key], now, len(version.library))
            for key in ("accuracy", "accuracy_low", "accuracy_high")
            if key in numbers
        ]
        return by_step + by_size

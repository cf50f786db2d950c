"""Versions of a library in MLflow: what was learned, from what, and how well it does.

One learning run is one MLflow run. Each published snapshot is a LoggedModel with its ``library.json``, its
metrics tied to the validation set, and one version of a registered model, so that ``NAME@best`` or ``NAME/3``
names a library anywhere that a file name does::

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
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from flex_dspy.errors import ConfigurationError, RunError
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.library_file import write_atomically
from flex_dspy.versioning.mlflow_store import artifacts_beside, brief, check_sqlite, connect, resolve_uri, without_login
from flex_dspy.versioning.parameters import MAX_NAME, allowed_name, printable_params
from flex_dspy.versioning.registry import LIBRARY_FILE

logger = logging.getLogger(__name__)

MODEL_TYPE = "flex-library"
NEWEST, BEST = "newest", "best"

# MLflow's limits: 6,000 characters a parameter, 250 a name, 36 a data set's digest, 100 parameters a call.
_MAX_DIGEST = 36
_BATCH = 100

_REGISTERED_NAME = re.compile(r"\w[\w .-]*")


@dataclass(frozen=True, slots=True)
class Version:
    """One published snapshot of a library, with what was measured of it.

    Attributes:
        library: The snapshot; its ``parent`` is the hash of the version that it was made from.
        step: Number of examples learned from.
        metrics: What was measured: ``accuracy`` as a fraction, ``accuracy_low`` and ``accuracy_high`` for its
            95% interval, ``baseline_accuracy`` without a library, ``n`` for the size of the validation set.
        dataset: Name or source of the validation set.
        dataset_digest: Digest of its content; accuracies are compared only where both agree.
    """

    library: ExperienceLibrary
    step: int
    metrics: Mapping[str, float]
    dataset: str = ""
    dataset_digest: str = ""


class Tracker(Protocol):
    """Where a learning run reports its versions."""

    def start(self, params: Mapping[str, Any]) -> None:
        """Begin the run, or continue it."""

    def log_version(self, version: Version) -> None:
        """Record one version."""

    def finish(self, artifacts: Sequence[Path] = ()) -> None:
        """End the run."""


class MLflowTracker:
    """Reports a learning run to MLflow.

    A store that cannot be used when the run starts is an error at once. One that fails later costs no
    learning: a warning names the versions that it did not take, and they are tried again, in order, with the
    next version and at the end.

    Args:
        experiment: Name of the MLflow experiment; made where it does not exist.
        tracking_uri: The tracking store; None for MLflow's own choice, which is ``MLFLOW_TRACKING_URI`` or
            ``sqlite:///mlflow.db``.
        registered_name: Name of the registered model whose versions are this library's.
        run_file: Where the run's id is kept, so that a killed run is continued. None for a new run each time.

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
        self.run_id = ""
        self._client: Any = None
        self._experiment_id = ""
        self._pending: list[Version] = []

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
            self._experiment_id = self._open_experiment(uri)
            self.run_id = self._known_run() or self._new_run(params)
            self._log_params(params)
        except Exception as error:  # Each kind of store fails with errors of its own driver.
            raise ConfigurationError(
                f"MLflow cannot use the tracking store {without_login(uri)}: {brief(error, uri)}. "
                "Start its server, correct MLFLOW_TRACKING_URI, or learn without tracking."
            ) from error

    def _open_experiment(self, uri: str) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        if found is not None:
            return str(found.experiment_id)
        location = artifacts_beside(uri, self.experiment)
        return str(self._client.create_experiment(self.experiment, artifact_location=location))

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
        tags = {"flex_dspy.version": _package_version(), "flex_dspy.task": str(params.get("task", ""))}
        run = self._client.create_run(self._experiment_id, run_name=self.registered_name, tags=tags)
        if self.run_file is not None:
            self.run_file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.run_file, run.info.run_id)
        return str(run.info.run_id)

    def _log_params(self, params: Mapping[str, Any]) -> None:
        """Log the parameters. MLflow lets none be changed, so what a continued run changes goes to a tag."""
        from mlflow.entities import Param, RunTag

        known = self._client.get_run(self.run_id).data.params
        given = printable_params(params)
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
        """Log a version, unless this run has it already. A failing store raises nothing: see the class.

        Args:
            version: The snapshot and what was measured of it.

        Raises:
            RunError: If the run was not started.
        """
        if self._client is None:
            raise RunError("the tracker has no run: call start() before log_version()")
        self._pending.append(version)
        self._flush()

    def _flush(self) -> None:
        """Log what is pending, oldest first, up to the first failure: numbers must follow the run's order."""
        while self._pending:
            steps = ", ".join(str(version.step) for version in self._pending)
            if not self._attempt(f"the version(s) at step {steps}", self._record, self._pending[0]):
                return
            del self._pending[0]

    def _attempt(self, what: str, action: Any, *args: Any) -> bool:
        try:
            action(*args)
        except Exception as error:  # Whatever befalls the store, what was learned must not be lost with it.
            uri = resolve_uri(self.tracking_uri)
            logger.warning("MLflow did not take %s; nothing learned is lost. %s", what, brief(error, uri))
            return False
        return True

    def _record(self, version: Version) -> None:
        """Log one version. Each step looks first at what an earlier, interrupted try has left."""
        from mlflow.entities import LoggedModelStatus

        model = self._find_model(version) or self._client.create_logged_model(
            self._experiment_id,
            name=f"{self.registered_name.replace('.', '-')}-{version.step}",
            source_run_id=self.run_id,
            params=_identity(version),
            model_type=MODEL_TYPE,
        )
        if model.status != LoggedModelStatus.READY:
            self._fill_model(model.model_id, version)
        registered = self._find_registered(model.model_id) or self._register(model, version)
        # The link between the two pages in MLflow's web view; only a tracking server sets it by itself.
        link = json.dumps([{"name": registered.name, "version": registered.version}])
        self._client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": link})
        self._set_aliases(registered)

    def _find_model(self, version: Version) -> Any | None:
        identity = _identity(version)
        found = self._client.search_logged_models(
            [self._experiment_id],
            filter_string=f"source_run_id = '{self.run_id}' AND params.hash = '{identity['hash']}' "
            f"AND params.step = '{identity['step']}'",
        )
        return found[0] if found else None

    def _fill_model(self, model_id: str, version: Version) -> None:
        """Upload the library and its metrics, and last say that the model is ready."""
        from mlflow.entities import LoggedModelOutput

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, LIBRARY_FILE)
            path.write_text(version.library.to_json(), encoding="utf-8")
            self._client.log_model_artifact(model_id, str(path))
        dataset = self._log_dataset(version)
        self._client.log_batch(self.run_id, metrics=self._metrics(model_id, version, dataset))
        outputs = self._client.get_run(self.run_id).outputs.model_outputs
        if model_id not in {output.model_id for output in outputs}:  # MLflow fails on a second time
            self._client.log_outputs(self.run_id, [LoggedModelOutput(model_id, version.step)])
        self._client.finalize_logged_model(model_id, "READY")

    def _log_dataset(self, version: Version) -> tuple[str, str] | tuple[None, None]:
        """Make the validation set an input of the run; its name and digest as MLflow knows them."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        if not version.dataset:
            return None, None
        digest = (version.dataset_digest or "unknown")[:_MAX_DIGEST]
        source = json.dumps({"tags": {"name": version.dataset}})
        dataset = Dataset(version.dataset[:MAX_NAME], digest, "code", source)
        context = [InputTag("mlflow.data.context", "validation")]
        self._client.log_inputs(self.run_id, [DatasetInput(dataset, context)])
        return dataset.name, digest

    def _metrics(self, model_id: str, version: Version, dataset: tuple[str | None, str | None]) -> list[Any]:
        """The version's metrics, which MLflow files under the model and the run alike."""
        from mlflow.entities import Metric

        library, now = version.library, int(time.time() * 1000)
        values = {
            **version.metrics,
            "library_size": len(library),
            **library.sizes(),
            "precedents": library.precedent_count,
        }
        return [
            Metric(allowed_name(key), float(value), now, version.step, model_id, *dataset, self.run_id)
            for key, value in values.items()
        ]

    # -- the registry --------------------------------------------------------------------------------------

    def _find_registered(self, model_id: str) -> Any | None:
        name = self.registered_name
        found = self._client.search_model_versions(f"name = '{name}' AND tags.model_id = '{model_id}'")
        return found[0] if found else None

    def _register(self, model: Any, version: Version) -> Any:
        """Make the registered version of a logged model."""
        self._make_registered_model(self.registered_name)
        return self._client.create_model_version(
            self.registered_name,
            # Not ``model_uri``: MLflow looks that up in the process's own store, which need not be this one.
            source=model.artifact_location,
            run_id=self.run_id,
            tags={**_registry_tags(version), "model_id": model.model_id},
            description=describe(version),
            model_id=model.model_id,
            await_creation_for=30,
        )

    def _make_registered_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name, tags={"flex_dspy.type": MODEL_TYPE})
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _set_aliases(self, registered: Any) -> None:
        """Point ``newest`` and ``best`` at the version where it deserves them.

        Only a higher number can take an alias over, so that doing this again for an old version changes
        nothing.
        """
        name, number = self.registered_name, int(registered.version)
        aliases = self._client.get_registered_model(name).aliases
        if number > int(aliases.get(NEWEST, 0)):
            self._client.set_registered_model_alias(name, NEWEST, str(number))
        holder = int(aliases.get(BEST, 0))
        if number > holder and self._is_better(registered.tags, holder):
            self._client.set_registered_model_alias(name, BEST, str(number))

    def _is_better(self, tags: Mapping[str, str], holder: int) -> bool:
        """Whether a version beats the holder of ``best``; in a tie the earlier, smaller library stays.

        Accuracies on different validation sets say nothing about each other: a new set begins a new contest.
        """
        if "accuracy" not in tags or not holder:
            return "accuracy" in tags
        held = self._client.get_model_version(self.registered_name, str(holder)).tags
        if any(tags.get(key) != held.get(key) for key in ("dataset", "dataset_digest")):
            return True
        return float(tags["accuracy"]) > float(held.get("accuracy", "-inf"))


def describe(version: Version) -> str:
    """One line about a version: size, accuracy with interval and sample size, parent."""
    measured, library = version.metrics, version.library
    entries = "entry" if len(library) == 1 else "entries"
    parts = [f"{len(library):,} {entries} from {version.step:,} examples"]
    if "accuracy" in measured:
        accuracy = f"accuracy {measured['accuracy']:.1%}"
        if "accuracy_low" in measured and "accuracy_high" in measured:
            accuracy += f" [{measured['accuracy_low']:.1%}, {measured['accuracy_high']:.1%}]"
        parts.append(accuracy + (f" on {measured['n']:,.0f} problems" if "n" in measured else ""))
    if "baseline_accuracy" in measured:
        parts.append(f"{measured['baseline_accuracy']:.1%} without a library")
    parts.append(f"parent {library.parent[:12]}" if library.parent else "no parent")
    return "; ".join(parts)


def _identity(version: Version) -> dict[str, str]:
    library = version.library
    return {
        "hash": library.hash,
        "parent": library.parent or "none",
        "task": library.task or "none",
        "step": str(version.step),
    }


def _registry_tags(version: Version) -> dict[str, str]:
    """What ``best`` is decided by, and what the version is."""
    tags = {"dataset": version.dataset, "dataset_digest": version.dataset_digest}
    if "accuracy" in version.metrics:
        tags["accuracy"] = str(float(version.metrics["accuracy"]))
    return _identity(version) | tags


def _package_version() -> str:
    try:
        return metadata.version("flex-dspy")
    except metadata.PackageNotFoundError:
        return "not installed"

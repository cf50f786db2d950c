"""Writes one version of a run to MLflow: model, page, numbers, registration, aliases."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

from flex_dspy.learning.version import Version
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tracking.datasets import DatasetInfo
from flex_dspy.tracking.evaluation_sets import register_set
from flex_dspy.tracking.example_scores import read_scores, scores_of
from flex_dspy.tracking.loadable import write_model
from flex_dspy.tracking.logged import Logged, read_logged
from flex_dspy.tracking.model_page import write_page
from flex_dspy.tracking.names import model_name
from flex_dspy.tracking.parameters import mlflow_name
from flex_dspy.tracking.promotion import Scores
from flex_dspy.tracking.prompts import LINKED_PROMPTS, register_prompts
from flex_dspy.tracking.registration import (
    MODEL_TYPE,
    Rule,
    choose_best,
    find_empty,
    make_registered_model,
    register,
    set_aliases,
    update,
)
from flex_dspy.tracking.unlogged import RunNotes
from flex_dspy.tracking.version import SCORE, accuracy_text, columns, describe, metric_name, rounded

logger = logging.getLogger(__name__)

MEASURED_AGAIN = "accuracy measured again"
BY_SIZE = "by library size"  # metrics of a run whose step is the number of entries
BY_TOKENS = "by tokens"  # metrics of a run whose step is the number of tokens that learning took


class VersionWriter:
    """Writes versions of one run. Each step first checks whether an earlier, interrupted attempt has already done it.

    Args:
        client: The store's client.
        uri: The store's address.
        experiment_id: MLflow's id of the experiment.
        run_id: MLflow's id of the run.
        notes: The run's names, parameters and data sets.
        rule: When ``best`` moves.
    """

    def __init__(self, client: Any, uri: str, experiment_id: str, run_id: str, notes: RunNotes, rule: Rule) -> None:
        self.client = client
        self.uri = uri
        self.experiment_id = experiment_id
        self.run_id = run_id
        self.notes = notes
        self.rule = rule
        self._scores: dict[str, Scores] = {}
        self._logged: Logged | None = None
        self._last: ExperienceLibrary | None = None
        self._prompts: str | None = None
        self._sets: set[tuple[str, str]] = set()
        self._has_name = False

    def begin(self) -> None:
        """Mark the run as new, so that the store is not asked for its content."""
        self._logged = Logged()

    def forget(self) -> None:
        """Drop the cached content of the run, for example after a failure; it is then read from the store again."""
        self._logged = None
        self._has_name = False

    def content(self) -> Logged:
        """The content of the run in the store."""
        if self._logged is None:
            self._logged = Logged.read(self.client, self.experiment_id, self.run_id, self.notes.registered_name)
        return self._logged

    def write(self, version: Version) -> None:
        """Log one version.

        Args:
            version: The version; if it ``is_again``, its measurements are replaced.
        """
        from mlflow.entities import LoggedModelStatus

        logged = self.content()
        if version.records:
            self._scores[version.library.hash] = scores_of(version.records)
        if version.key not in logged.models and not len(version.library):
            self._take_empty(version, logged)
        model = logged.models.get(version.key) or self._create_model(version, logged)
        logged.models[version.key] = model
        if model.status != LoggedModelStatus.READY:
            model = logged.models[version.key] = self._fill_model(model.model_id, version, logged)
        registered = logged.registered.get(model.model_id)
        if registered is None:
            run_id = self._version_run(model, version, logged)
            self._make_name()
            registered = register(self.client, self.notes.registered_name, model, run_id, version)
            logged.registered[model.model_id] = registered
        self._link(model, registered)
        if version.is_again:
            registered = logged.registered[model.model_id] = self._update(model, registered, version, logged)
        set_aliases(self.client, registered, self.rule, self._read_scores)
        logged.note(version.step, version.numbers())
        self._last = version.library

    def _make_name(self) -> None:
        """Make the registered name, once for each run."""
        if not self._has_name:
            make_registered_model(self.client, self.notes.registered_name)
            self._has_name = True

    def _take_empty(self, version: Version, logged: Logged) -> None:
        """Take the empty library that another run registered with the same model, if there is one.

        All runs of a task and a model begin with this library. Its measurements are logged in this run too, and no
        further version is made.
        """
        registered = find_empty(self.client, self.notes, version)
        if registered is None:
            return
        model = self.client.get_logged_model(registered.tags["model_id"])
        logged.models[version.key], logged.registered[model.model_id] = model, registered
        logged.runs[model.model_id] = registered.run_id
        self._link_empty(model, version, logged)

    def _link_empty(self, model: Any, version: Version, logged: Logged) -> None:
        from mlflow.entities import LoggedModelOutput, Metric

        dataset = self._log_dataset(version, logged)
        on = (model.model_id, *dataset, self.run_id)  # its page shows the measurements of each run
        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, version.step, *on) for key, value in _numbers(version).items()]
        self.client.log_batch(self.run_id, metrics=metrics)
        if model.model_id not in logged.outputs:
            self.client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, version.step)])
            logged.outputs.add(model.model_id)

    def _read_scores(self, registered: Any) -> Scores:
        """The score of each example of a registered version, from this run's records or from the store."""
        known = registered.tags.get("hash", "")
        if known not in self._scores:
            self._scores[known] = read_scores(self.client, self.uri, registered.tags.get("model_id"))
        return self._scores[known]

    def _update(self, model: Any, registered: Any, version: Version, logged: Logged) -> Any:
        """Replace the measurements of a version: on its page, in its description and tags, and for ``best``.

        The parameters of a model cannot be changed, so an additional parameter holds the accuracy without errors.
        """
        self._fill_model(model.model_id, version, logged)
        self.client.set_logged_model_tags(model.model_id, self._tags(version))
        if not version.metrics.get("errors") and MEASURED_AGAIN not in model.params:
            model.params[MEASURED_AGAIN] = accuracy_text(version.metrics, version.score)
            self.client.log_model_params(model.model_id, {MEASURED_AGAIN: model.params[MEASURED_AGAIN]})
        self._version_run(model, version, logged)
        registered = update(self.client, registered, version)
        choose_best(self.client, registered, self.rule)
        return registered

    def _create_model(self, version: Version, logged: Logged) -> Any:
        return self.client.create_logged_model(
            self.experiment_id,
            name=model_name(version, self.notes.registered_name),
            source_run_id=self.run_id,
            tags=self._tags(version),
            params=columns(version, self.notes.params, logged.number_of(version.library.parent)),
            model_type=MODEL_TYPE,
        )

    def _version_run(self, model: Any, version: Version, logged: Logged) -> str:
        """Write the version's own run, below the learning run, and return its id.

        MLflow compares registered versions by their runs, so two versions of one run would look identical.
        """
        from mlflow.entities import Metric, Param

        run_id = logged.runs.get(model.model_id)
        if run_id is None:
            tags = {
                "mlflow.parentRunId": self.run_id,
                "flex_dspy.kind": "version",
                "flex_dspy.model_id": model.model_id,
            }
            run = self.client.create_run(self.experiment_id, run_name=model.name, tags=tags)
            run_id = logged.runs[model.model_id] = run.info.run_id
        now = int(time.time() * 1000)
        self.client.log_batch(
            run_id,
            metrics=[Metric(key, value, now, version.step) for key, value in _numbers(version).items()],
            params=[Param(key, value) for key, value in model.params.items() if key != "version"],
        )
        self.client.set_terminated(run_id)
        return run_id

    def _link(self, model: Any, registered: Any) -> None:
        """Show the registered version's number on the model's page, as a link, and as a column of the models list."""
        if "version" not in model.params:
            self.client.log_model_params(model.model_id, {"version": str(registered.version)})
            model.params["version"] = str(registered.version)
        # Only a tracking server sets this tag by itself.
        link = json.dumps([{"name": registered.name, "version": registered.version}])
        self.client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": link})

    def _fill_model(self, model_id: str, version: Version, logged: Logged) -> Any:
        """Upload the version's page and metrics, then mark the model as ready."""
        from mlflow.entities import LoggedModelOutput

        with tempfile.TemporaryDirectory() as folder:
            write_page(Path(folder), version, self._parent(version), logged.curve(version), self._title(version))
            write_model(Path(folder), version, model_id)
            self.client.log_model_artifacts(model_id, folder)
        dataset = self._log_dataset(version, logged)
        self.client.log_batch(self.run_id, metrics=self._metrics(model_id, version, dataset))
        if model_id not in logged.outputs:  # MLflow fails if this is repeated
            self.client.log_outputs(self.run_id, [LoggedModelOutput(model_id, version.step)])
            logged.outputs.add(model_id)
        return self.client.finalize_logged_model(model_id, "READY")

    def _tags(self, version: Version) -> dict[str, str]:
        """The tags of the version's model: its description, its errors, and the names to find other pages by."""
        return {
            "mlflow.note.content": describe(version),
            "errors": f"{version.metrics.get('errors', 0):.0f}",
            "registered name": self.notes.registered_name,
            **self._prompt_tags(),
        }

    def _prompt_tags(self) -> dict[str, str]:
        """The tag that names the run's instructions, which are registered once for each run."""
        if self._prompts is None:
            notes = self.notes
            self._prompts = register_prompts(self.client, notes.registered_name, notes.instructions, self.experiment_id)
            if self._prompts:
                self.client.set_tag(self.run_id, LINKED_PROMPTS, self._prompts)
        return {LINKED_PROMPTS: self._prompts} if self._prompts else {}

    def _title(self, version: Version) -> str:
        task = version.library.task or self.notes.registered_name
        return f"{task}: {self.notes.params['actor']}" if self.notes.params.get("actor") else task

    def _parent(self, version: Version) -> ExperienceLibrary | None:
        """The parent library of a version: the version before, or read from the store if the run was continued."""
        wanted = version.library.parent
        if wanted is None or (self._last is not None and self._last.hash == wanted):
            return self._last if wanted else None
        try:
            return read_logged(self.client, self.experiment_id, wanted, self.uri)
        except Exception as error:  # the page then shows no difference
            logger.debug("the parent of %s cannot be read: %s", version.library.hash, type(error).__name__)
            return None

    def _log_dataset(self, version: Version, logged: Logged) -> tuple[str, str] | tuple[None, None]:
        """Make the validation set an input of the run, once, and return its name and digest in MLflow."""
        if not version.dataset:
            return None, None
        size = round(version.metrics.get("n", 0))
        source = self.notes.data["validation"].source if "validation" in self.notes.data else version.dataset
        given = DatasetInfo(version.dataset, version.dataset_digest, source, size).input("validation")
        name, digest = given.dataset.name, given.dataset.digest
        if (name, digest) not in logged.inputs:
            self.client.log_inputs(self.run_id, [given])
            logged.inputs.add((name, digest))
        if version.records and (name, digest) not in self._sets:
            register_set(self.client, self.uri, self.experiment_id, name, digest, version.records)
            self._sets.add((name, digest))
        return name, digest

    def _metrics(self, model_id: str, version: Version, dataset: tuple[str | None, str | None]) -> list[Any]:
        """The version's metrics, which MLflow shows for the model and for the run.

        The run also gets the accuracy by the size of the library and by tokens, for charts with these as horizontal
        axis instead of the step.
        """
        from mlflow.entities import Metric

        numbers, now = _numbers(version), int(time.time() * 1000)
        by_step = [
            Metric(key, value, now, version.step, model_id, *dataset, self.run_id) for key, value in numbers.items()
        ]
        by_size = [
            Metric(f"{BY_SIZE}/{key}", numbers[key], now, len(version.library))
            for key in (metric_name(each, version.score) for each in SCORE)
            if key in numbers
        ]
        tokens = round(numbers.get("spend_tokens", 0))
        by_tokens = [
            Metric(f"{BY_TOKENS}/{key}", numbers[key], now, tokens)
            for key in (metric_name(each, version.score) for each in SCORE)
            if tokens and key in numbers
        ]
        return by_step + by_size + by_tokens


def _numbers(version: Version) -> dict[str, float]:
    """A version's measurements for MLflow: rounded, and under names that MLflow allows."""
    return {mlflow_name(metric_name(name, version.score)): rounded(value) for name, value in version.numbers().items()}

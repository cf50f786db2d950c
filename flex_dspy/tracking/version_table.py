"""The table of all versions in an MLflow store, over all runs.

Example:
    >>> from flex_dspy import versions
    >>> versions("uspto50k")  # doctest: +SKIP
    >>> versions("uspto50k", compare=True).to_pandas()  # doctest: +SKIP
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.secrets import redact_url
from flex_dspy.tracking.mlflow_store import check_sqlite, connect, pages, report_errors, resolve_uri
from flex_dspy.tracking.version import EMPTY, metric_name
from flex_dspy.tracking.version_differences import add_differences
from flex_dspy.tracking.version_rows import ACCURACY, VersionRow, VersionTable, sort_versions

_WITH_INTERVAL = " with interval"


def versions(
    task: str | None = None,
    *,
    compare: bool = False,
    tracking_uri: str | None = None,
    experiments: Sequence[str] = (),
) -> VersionTable:
    """List the versions of all runs in an MLflow store, the highest accuracy first.

    Args:
        task: Only the versions of this task; None for all tasks, one after the other.
        compare: Whether to add the paired difference of each version to the best version on the same examples.
        tracking_uri: The tracking store; None for MLflow's own choice.
        experiments: Only these experiments, by name; none for all.

    Returns:
        The versions. In a notebook it is a table; ``to_pandas`` makes a DataFrame of it.

    Raises:
        ConfigurationError: If there is no such store, or it has no such versions.
    """
    uri = resolve_uri(tracking_uri)
    with report_errors("list versions in", uri):
        check_sqlite(uri, must_exist=True)
        client = connect(uri)
        rows = read_versions(client, find_experiments(client, experiments))
    chosen = sort_versions(row for row in rows if task is None or row.task == task)
    if not chosen:
        known = ", ".join(sorted({row.task for row in rows})) or "no versions at all: learn with tracking first"
        raise ConfigurationError(f"{redact_url(uri)} has no versions of {task or 'any task'}. It has: {known}.")
    return VersionTable(add_differences(chosen, uri) if compare else chosen)


def find_experiments(client: Any, names: Sequence[str] = ()) -> dict[str, str]:
    """The names of experiments by their ids. Without ``names``, all experiments that are not deleted."""
    found = {str(each.experiment_id): str(each.name) for each in pages(client.search_experiments)}
    return {key: name for key, name in found.items() if not names or name in names}


# -- reading -----------------------------------------------------------------------------------------------


def read_versions(client: Any, experiments: Mapping[str, str]) -> list[VersionRow]:
    """The versions in experiments, as the store lists them.

    The empty library is registered once for each task and model. It has a row for each run that began with it.

    Args:
        client: The store's client.
        experiments: Names of the experiments by their ids.
    """
    if not experiments:
        return []
    models = [each for each in pages(client.search_logged_models, list(experiments)) if "hash" in each.params]
    registered = _registered(client) if models else {}
    runs: dict[str | None, Any] = {}
    rows = []
    for model in models:
        for run_id in _learning_runs(model):
            if run_id not in runs:
                runs[run_id] = _find_run(client, run_id)
            row = _row(model, run_id, runs[run_id], experiments[str(model.experiment_id)])
            rows.append(replace(row, **registered.get(model.model_id, {})))
    return rows


def _learning_runs(model: Any) -> list[str | None]:
    """The run that logged a model. For the empty library, also the later runs that began with it."""
    found = [model.source_run_id]
    if model.params.get("size") == EMPTY:
        key = _metric_key(_score_name(model.params))
        later = sorted((metric.timestamp, metric.run_id) for metric in model.metrics or () if metric.key == key)
        found += [run_id for _, run_id in later if run_id]
    return list(dict.fromkeys(found))


def _row(model: Any, run_id: str | None, run: Any | None, experiment: str) -> VersionRow:
    """A logged model as a row. Models of earlier versions of this package lack some parameters."""
    params = {**(run.data.params if run else {}), **model.params}
    of_run = (run_id,) if run_id != model.source_run_id else (run_id, None, "")
    own = [metric for metric in model.metrics or () if metric.run_id in of_run]
    newest = {metric.key: float(metric.value) for metric in sorted(own, key=lambda metric: metric.timestamp)}
    metric = _score_name(model.params)
    key = _metric_key(metric)
    numbers = {re.sub(rf"^{re.escape(key)}(?=$|_(low|high)$)", "accuracy", name): each for name, each in newest.items()}
    measured = next((each for each in own if each.key == key), None)
    digest = (measured.dataset_digest if measured else "") or _told(params, "dataset_digest")
    return VersionRow(
        task=_told(params, "task"),
        examples=int(params.get("step", 0)),
        hash=params["hash"],
        parent=_told(model.params, "parent"),
        model=_told(params, "lm actor") or _told(params, "actor"),
        metric=metric,
        numbers=numbers,
        run_id=run_id or "",
        run_name=str(run.info.run_name) if run else "",
        experiment=experiment,
        dataset=(measured.dataset_name if measured else "") or _told(params, "dataset"),
        dataset_digest=digest,
        model_id=model.model_id,
        # A later run may have measured the empty library on another set: the files are of the first run.
        files=model.artifact_location
        if run_id == model.source_run_id or digest == _told(params, "dataset_digest")
        else "",
    )


def _score_name(params: Mapping[str, str]) -> str:
    """The name of the mean score, from a parameter that only newer models with graded scores have."""
    if "score" in params:
        return params["score"]
    ends = (name.removesuffix(_WITH_INTERVAL).strip("_") for name in params if name.endswith(_WITH_INTERVAL))
    return next(ends, ACCURACY)


def _metric_key(score: str) -> str:
    """The name of a mean score among MLflow's metrics, which allow fewer characters."""
    return metric_name(ACCURACY, score)


def _told(params: Mapping[str, str], name: str) -> str:
    value = params.get(name, "")
    return "" if value == "none" else value


def _find_run(client: Any, run_id: str | None) -> Any | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id) if run_id else None
    except MlflowException as error:  # the run may have been deleted permanently
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _registered(client: Any) -> dict[str, dict[str, Any]]:
    """Registered name, number and aliases by the id of the logged model."""
    found = [each for each in pages(client.search_model_versions) if each.tags.get("model_id") or each.model_id]
    aliases = {name: client.get_registered_model(name).aliases for name in {each.name for each in found}}
    return {
        each.tags.get("model_id") or each.model_id: {
            "name": each.name,
            "number": int(each.version),
            "aliases": tuple(
                sorted(alias for alias, number in aliases[each.name].items() if int(number) == int(each.version))
            ),
        }
        for each in sorted(found, key=lambda each: -int(each.version))  # the first registration counts
    }

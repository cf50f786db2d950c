"""Logs evaluations in MLflow, as runs that are linked to the measured version and its data."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tracking.datasets import DatasetInfo
from flex_dspy.tracking.logged import find_model
from flex_dspy.tracking.mlflow_store import brief, check_sqlite, connect, open_experiment, resolve_uri
from flex_dspy.tracking.model_page import MOST_ROWS, rows_of
from flex_dspy.tracking.parameters import mlflow_name, printable_params
from flex_dspy.tracking.registry import is_reference, model_id_of
from flex_dspy.tracking.version import code_version, metric_name, rounded

if TYPE_CHECKING:
    from flex_dspy.evaluation.evaluation import Evaluation

logger = logging.getLogger(__name__)


def log_evaluation(
    results: Mapping[str, Evaluation],
    dataset: DatasetInfo,
    *,
    experiment: str,
    library: ExperienceLibrary | None = None,
    reference: str = "",
    params: Mapping[str, Any] | None = None,
    tracking_uri: str | None = None,
    log_examples: bool = True,
) -> str | None:
    """Log evaluations of the same examples as one run. If the store fails, log a warning and raise no error.

    The run holds the numbers, and a table of the examples for each evaluation. Its inputs are the data set and, if the
    store has it, the library's version. The page of that version then shows the numbers too.

    Args:
        results: Evaluations by name. The first is that of the library; the names of the others are put before their
            numbers.
        dataset: The examples of the evaluation.
        experiment: Name of the MLflow experiment; it is made if it does not exist.
        library: The measured library; None or an empty library for no library.
        reference: The user's name for the library; a reference such as ``NAME@best`` tells which version it is.
        params: The settings of the measurement; values that look like a key are left out.
        tracking_uri: The tracking store; None for MLflow's own choice.
        log_examples: Whether its tables hold problems, references and answers, or only ids and scores.

    Returns:
        The run's id; None if the store failed.
    """
    uri = ""
    if not log_examples:
        results = {name: _without_content(each) for name, each in results.items()}
    try:
        uri = resolve_uri(tracking_uri)
        check_sqlite(uri)
        client = connect(uri)
        experiment_id = open_experiment(client, uri, experiment)
        model = _model(client, uri, experiment_id, reference, library) if library else None
        named = reference if is_reference(reference) else (library.hash[:12] if library else "no library")
        run = client.create_run(
            experiment_id,
            run_name=f"eval {named} on {dataset.name}"[:250],
            tags={"flex_dspy.kind": "evaluation", "flex_dspy.version": code_version()},
        )
        _fill(client, run.info.run_id, results, dataset, model, {**_what(library, reference), **(params or {})})
    except Exception as error:  # the numbers are printed and recorded anyway
        logger.warning("MLflow did not take the evaluation. %s", brief(error, uri))
        return None
    return str(run.info.run_id)


def _without_content(evaluation: Evaluation) -> Evaluation:
    return replace(evaluation, records=tuple(record.without_content() for record in evaluation.records))


def _what(library: ExperienceLibrary | None, reference: str) -> dict[str, Any]:
    if not library:
        return {"library": "none"}
    return {"library": reference or library.hash[:12], "hash": library.hash, "library_size": len(library)}


def _model(client: Any, uri: str, experiment_id: str, reference: str, library: ExperienceLibrary) -> Any | None:
    """The logged model of a library: by its registered name, or by its content."""
    try:
        known = model_id_of(client, uri, reference)
    except ConfigurationError:  # a file's name that only looks like a reference
        known = None
    return client.get_logged_model(known) if known else find_model(client, experiment_id, library.hash)


def _fill(
    client: Any,
    run_id: str,
    results: Mapping[str, Evaluation],
    dataset: DatasetInfo,
    model: Any | None,
    params: Mapping[str, Any],
) -> None:
    from mlflow.entities import LoggedModelInput, Param

    printable = [Param(name, value) for name, value in printable_params(params).items()]
    client.log_batch(run_id, params=printable[:100])
    if model is not None and model.params.get("dataset_digest") == dataset.digest:  # columns of its validation set
        dataset = replace(dataset, name=model.params["dataset"])
    given = dataset.input("evaluation")
    client.log_inputs(run_id, [given], [LoggedModelInput(model.model_id)] if model else None)
    tables = []
    for place, (name, evaluation) in enumerate(results.items()):
        on = (model.model_id if model and not place else None, given.dataset.name, given.dataset.digest, run_id)
        _log_numbers(client, run_id, evaluation, "" if not place else f"{_plain(name)}/", on)
        tables.append(f"examples-{_plain(name)}.json")
        client.log_text(run_id, _table(list(rows_of(evaluation.records[:MOST_ROWS]))), tables[-1])
    # This tag tells MLflow's pages which files are tables. (Its own log_table uses deprecated parts of pandas.)
    client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps([{"path": path, "type": "table"} for path in tables]))
    client.set_terminated(run_id)


def _log_numbers(client: Any, run_id: str, evaluation: Evaluation, prefix: str, on: tuple[Any, ...]) -> None:
    from mlflow.entities import Metric

    numbers, now = evaluation.metrics(), int(time.time() * 1000)
    if evaluation.tokens:
        numbers |= {"spend_tokens": float(evaluation.tokens), "spend_usd": evaluation.usd}
    named = {mlflow_name(metric_name(key, evaluation.score)): rounded(value) for key, value in numbers.items()}
    client.log_batch(run_id, metrics=[Metric(f"{prefix}{name}", value, now, 0, *on) for name, value in named.items()])


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as JSON in MLflow's format of tables."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return json.dumps({"columns": names, "data": [[row.get(name) for name in names] for row in rows]})


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", name)

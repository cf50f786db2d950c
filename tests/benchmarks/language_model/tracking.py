"""The report in MLflow: one experiment, one run a method. A second call changes the runs of the first."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flex_dspy.libraries.library_file import write_atomically
from flex_dspy.tracking.mlflow_store import brief, check_sqlite, connect, open_experiment, resolve_uri
from flex_dspy.tracking.parameters import mlflow_name, printable_params
from tests.benchmarks.language_model.report import Report, Result

logger = logging.getLogger(__name__)

ARTIFACTS = ("records.jsonl", "program.json", "library.json", "first.json", "second.json")


def track(report: Report, out: Path, *, experiment: str, tracking_uri: str | None = None) -> None:
    """Log every method of a report. A store that fails is said in a warning: the report is written all the same.

    Args:
        report: The report.
        out: The run's folder, with a folder for each method.
        experiment: Name of the experiment; made where it does not exist.
        tracking_uri: The tracking store; None for MLflow's own choice.
    """
    uri = ""
    try:
        uri = resolve_uri(tracking_uri)
        check_sqlite(uri)
        client = connect(uri)
        experiment_id = open_experiment(client, uri, experiment)
        for result in report.results:
            _track(client, experiment_id, report, result, out)
    except Exception as error:  # each kind of store fails with errors of its own driver
        logger.warning("MLflow did not take the report: %s", brief(error, uri))


def _track(client: Any, experiment_id: str, report: Report, result: Result, out: Path) -> None:
    folder = out / result.method
    # MLflow lets no parameter be changed: other test examples are another run.
    file = folder / f"mlflow_run_{report.about['tested_on']}.txt"
    run_id = _run_of(client, experiment_id, file, result.method)
    _log(client, run_id, report, result)
    for path in _existing([*(folder / name for name in ARTIFACTS), out / "report.json", out / "report.png"]):
        client.log_artifact(run_id, str(path))
    client.set_terminated(run_id)


def _run_of(client: Any, experiment_id: str, file: Path, method: str) -> str:
    """The method's run, open again; a new one where the store has none."""
    from mlflow.exceptions import MlflowException

    if file.exists():
        try:
            info = client.get_run(file.read_text().strip()).info
            if info.experiment_id == experiment_id and info.lifecycle_stage == "active":
                return str(info.run_id)
        except MlflowException:  # another store
            pass
    run_id = str(client.create_run(experiment_id, run_name=method).info.run_id)
    write_atomically(file, run_id)
    return run_id


def _log(client: Any, run_id: str, report: Report, result: Result) -> None:
    from mlflow.entities import Metric, Param

    known = client.get_run(run_id).data.params
    params = printable_params({"method": result.method, "family": result.family, **report.about})
    fresh = [Param(name, value) for name, value in params.items() if name not in known]
    now = int(time.time() * 1000)
    metrics = [Metric(mlflow_name(name), value, now, 0) for name, value in _numbers(report, result).items()]
    client.log_batch(run_id, params=fresh, metrics=metrics)
    client.set_tag(run_id, "mlflow.note.content", result.note)


def _numbers(report: Report, result: Result) -> dict[str, float]:
    numbers = result.numbers()
    for name, differences in (("bare", report.beside_bare()), ("rival", report.beside_rival())):
        if found := differences.get(result.method):
            numbers |= {f"gain_on_{name}": found.gain, f"p_value_{name}": found.p_value}
            numbers |= {f"wins_{name}": float(found.wins), f"losses_{name}": float(found.losses)}
    return numbers


def _existing(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.exists()]

"""Reaching an MLflow store: quietly, without hanging, and without a login in any message."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from flex_dspy.errors import ConfigurationError

# Read by MLflow when it is imported, or at each request. A store that does not answer is tried again with
# the next version (see ``MLflowTracker``), so MLflow's own minutes of retries would only hold up learning.
ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}

DEFAULT_STORE = "mlflow.db"  # MLflow's own choice, in the folder that it is started in

_URI_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")


def prepare() -> None:
    """Import MLflow without its messages."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401  (sets its loggers' levels, so ours come after)

    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)


def resolve_uri(tracking_uri: str | None) -> str:
    """The store's address; MLflow's own choice where none is given."""
    prepare()
    import mlflow

    return tracking_uri or str(mlflow.get_tracking_uri())


def connect(uri: str) -> Any:
    """A client of this store; nothing global is set."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _sqlite_path(uri: str) -> Path | None:
    """The database file of an SQLite store, None for other stores."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0])).absolute()


def check_sqlite(uri: str, *, must_exist: bool = False) -> None:
    """Fail at once on a file that is no database: MLflow would try it again for two minutes."""
    path = _sqlite_path(uri)
    if path is None:
        return
    if must_exist and not path.exists():
        raise ConfigurationError(
            f"There is no tracking store {path}. Go to the folder that holds it, or set MLFLOW_TRACKING_URI."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA schema_version")


def artifacts_beside(uri: str, experiment: str) -> str | None:
    """Where the files of a new experiment go: beside the database, which MLflow would put into the cwd."""
    path = _sqlite_path(uri)
    if path is None or path.parent == Path.cwd():
        return None
    return (path.parent / "mlruns" / re.sub(r"[^\w-]", "_", experiment)).as_uri()


def open_experiment(client: Any, uri: str, name: str) -> str:
    """The id of the experiment with this name; made where it does not exist."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(name, artifact_location=artifacts_beside(uri, name)))


def is_in_reach(tracking_uri: str | None) -> bool:
    """Whether a store is named, here or in the environment, or lies in this folder. Nothing heavy is imported."""
    return bool(tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")) or Path(DEFAULT_STORE).exists()


def brief(error: Exception, uri: str) -> str:
    """The first line of an error, with no login in it."""
    lines = str(error).replace(uri, without_login(uri)).splitlines() or [type(error).__name__]
    return without_login(lines[0]).rstrip(".")[:200].strip()


def without_login(uri: str) -> str:
    """A text with the user and password cut out of the addresses in it."""
    return _URI_LOGIN.sub("", uri)


def pages(search: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
    """All results of a search, page by page.

    Args:
        search: A method of MLflow's client that takes a ``page_token``.
        *args: Its arguments.
        **kwargs: Its settings.
    """
    token = None
    while True:
        page = search(*args, **kwargs, page_token=token)
        yield from page
        token = page.token
        if not token:
            return

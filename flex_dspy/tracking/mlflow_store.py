"""Access to an MLflow store: without its messages, without long waits, and without logins in error messages."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sqlite3
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.secrets import redact, redact_url, url_secrets

# MLflow reads these when it is imported, or at each request. A store that does not answer is tried again with the
# next version (see ``MLflowTracker``), so MLflow's own retries, which take minutes, would only delay learning.
ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}

NOTE = "mlflow.note.content"  # the tag that MLflow's pages show as the description
DEFAULT_STORE = "mlflow.db"  # MLflow's default, in the working folder


def prepare() -> None:
    """Import MLflow without its messages."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401  (the import sets its loggers' levels, so set them afterwards)

    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)


def resolve_uri(tracking_uri: str | None) -> str:
    """The store's address; MLflow's own choice if none is given."""
    prepare()
    import mlflow

    return tracking_uri or str(mlflow.get_tracking_uri())


@contextlib.contextmanager
def report_errors(action: str, uri: str, advice: str = "") -> Iterator[None]:
    """Raise any error of the store's driver within this block as a ``ConfigurationError``.

    Args:
        action: Verb and object before the store's address in the message: ``list versions in``.
        uri: The store's address.
        advice: A sentence with a remedy.

    Raises:
        ConfigurationError: In place of any other error.
    """
    try:
        yield
    except ConfigurationError:
        raise
    except Exception as error:  # Each kind of store raises errors of its own driver.
        said = f"MLflow cannot {action} {redact_url(uri)}: {brief(error, uri)}. {advice}".rstrip()
        raise ConfigurationError(said) from error


def connect(uri: str) -> Any:
    """A client of this store; no global setting is changed."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _sqlite_path(uri: str) -> Path | None:
    """The database file of an SQLite store, None for other stores."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0])).absolute()


def check_sqlite(uri: str, *, must_exist: bool = False) -> None:
    """Fail immediately if a file is not a database, because MLflow would retry for two minutes."""
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


PATIENCE = 20.0  # seconds for a locked SQLite database, as long as MLflow waits itself
IMPATIENCE = 1.0  # seconds for a store that has failed before
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def check_answers(uri: str, *, has_failed: bool) -> None:
    """Fail early if a store does not answer.

    MLflow waits 20 s for a locked SQLite database at each of its steps, and one version takes dozens of steps. It also
    continues to write into a deleted database. A server is checked only after it has failed. Until then MLflow's own
    limits apply: ``MLFLOW_HTTP_REQUEST_TIMEOUT`` and ``MLFLOW_HTTP_REQUEST_MAX_RETRIES``.

    Args:
        uri: The store's address.
        has_failed: Whether the last access failed; the store then gets one second to answer.

    Raises:
        OSError: If the store does not answer.
        sqlite3.Error: If another process holds the database, or the file is not a database.
    """
    path = _sqlite_path(uri)
    if path is not None:
        if not path.exists():
            raise FileNotFoundError(f"the database {path} is gone")
        wait = IMPATIENCE if has_failed else PATIENCE
        with closing(sqlite3.connect(path, timeout=wait, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    elif has_failed:
        _check_server(redact_url(uri))


def _check_server(address: str) -> None:
    """Fail if nothing answers at an address. An HTTP error is an answer too."""
    if address.startswith(("http://", "https://")):
        try:
            urllib.request.urlopen(address, timeout=IMPATIENCE).close()  # noqa: S310 (the user chose http)
        except urllib.error.HTTPError as refusal:
            refusal.close()
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ssl.SSLError):  # MLflow knows which certificates to trust
                raise
        return
    parts = urlsplit(address)
    port = parts.port or _PORTS.get(parts.scheme.partition("+")[0])
    if parts.hostname and port:
        socket.create_connection((parts.hostname, port), timeout=IMPATIENCE).close()


def artifacts_beside(uri: str, experiment: str) -> str | None:
    """The folder for a new experiment's files: beside the database, not in the working folder as MLflow does."""
    path = _sqlite_path(uri)
    if path is None or path.parent == Path.cwd():
        return None
    return (path.parent / "mlruns" / re.sub(r"[^\w-]", "_", experiment)).as_uri()


def open_experiment(client: Any, uri: str, name: str, description: str = "") -> str:
    """The id of the experiment with this name; the experiment is made if it does not exist.

    Args:
        client: The store's client.
        uri: The store's address.
        name: The experiment's name.
        description: Its description, if it has none yet.

    Raises:
        ConfigurationError: If the experiment was deleted.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        made = client.create_experiment(name, artifact_location=artifacts_beside(uri, name))
        found = client.get_experiment(made)
    number = str(found.experiment_id)
    if found.lifecycle_stage == "deleted":
        raise ConfigurationError(
            f"The MLflow experiment {name!r} was deleted. Restore it: mlflow experiments restore --experiment-id "
            f"{number} (with MLFLOW_TRACKING_URI set). Or use another name: --experiment NAME."
        )
    if description and NOTE not in found.tags:
        client.set_experiment_tag(number, NOTE, description)
    return number


def server_address(tracking_uri: str | None) -> str | None:
    """The address of the MLflow server, without a login; None if the store is not a server. MLflow is not imported."""
    named = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or ""
    return redact_url(named) if named.startswith(("http://", "https://")) else None


def is_in_reach(tracking_uri: str | None) -> bool:
    """Whether a store is given here, in the environment or in the working folder. MLflow is not imported."""
    return bool(tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")) or Path(DEFAULT_STORE).exists()


def brief(error: Exception, uri: str) -> str:
    """The first line of an error, without secrets."""
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return redact(line, url_secrets(uri)).rstrip(".")[:200].strip()


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

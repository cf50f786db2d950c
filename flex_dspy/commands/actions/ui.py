"""``flex-dspy ui``: shows local data in MLflow's pages."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from flex_dspy.commands.actions.comparison_page import find_page
from flex_dspy.commands.actions.supervisor import supervisor_command
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.secrets import redact, redact_url, url_secrets
from flex_dspy.tracking.mlflow_store import DEFAULT_STORE, ENVIRONMENT, check_sqlite, resolve_uri

FIRST_PORT = 5000
_HOST = "127.0.0.1"  # a local store has no login, so its pages are only for this machine
# Browsers take every name below "localhost" for this machine. At "localhost" and "127.0.0.1" MLflow opens its assistant
# on the first visit, and the panel covers the columns with the accuracies.
_PAGE_HOST = "flex-dspy.localhost"
_PAGE_HOSTS = tuple(f"{host}{port}" for host in ("localhost", _HOST, "[[]::1]", _PAGE_HOST) for port in ("", ":*"))
_STORES = ("sqlite", "postgresql", "mysql", "mssql", "file")  # stores that MLflow's server can show
_PORTS = 100  # ports to try if the user names none
_START = 180.0  # seconds to wait for the pages; a cold start has many imports
_STOP = 10.0  # seconds to wait for the server to end by itself


def run(tracking_uri: str | None = None, wanted_port: int | None = None) -> None:
    """Serve MLflow's pages until Ctrl-C.

    Args:
        tracking_uri: The store; None for MLflow's own choice.
        wanted_port: The port; None for the first free port.

    Raises:
        ConfigurationError: If the store does not exist, the port is in use, or the server does not start.
    """
    uri = _store(tracking_uri)
    port = _free_port(wanted_port)
    print(f"MLflow is starting on {redact_url(uri)}", flush=True)
    with _end_on_signals(), tempfile.TemporaryFile() as log:
        # A new session, so that Ctrl-C reaches only this process and the workers are ended with the server.
        server = subprocess.Popen(  # noqa: S603  (our own words)
            supervisor_command(_command(port)),  # ends with this process, even if it is killed
            env=_environment(uri),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait_until_it_answers(server, port, log, uri)
            print(_greeting(port, find_page(f"http://{_HOST}:{port}")), flush=True)
            if server.wait():
                raise ConfigurationError(f"MLflow's server ended by itself: {_last_words(log, uri)}")
        except KeyboardInterrupt:
            print("\nMLflow is stopped", flush=True)
        finally:
            _stop(server)


def _greeting(port: int, page: str) -> str:
    """The line with the page's address. Not every browser knows the name, so the line has the number too."""
    other = f"http://{_HOST}:{port}/ in a browser that cannot find it"
    return f"MLflow   http://{_PAGE_HOST}:{port}/{page}   (Ctrl-C ends it; {other})"


def _store(tracking_uri: str | None) -> str:
    """Address of the local store. Raises an error if there is none."""
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or ""
    if not uri:  # importing MLflow to ask it takes seconds
        uri = f"sqlite:///{DEFAULT_STORE}" if Path(DEFAULT_STORE).exists() else resolve_uri(None)
    if uri.startswith(("http://", "https://")):
        raise ConfigurationError(f"{redact_url(uri)} is a server already: open it in a browser")
    scheme = uri.partition("://")[0].partition("+")[0] if "://" in uri else "file"
    if scheme not in _STORES:
        raise ConfigurationError(f"{redact_url(uri)} is no tracking store: MLflow knows {', '.join(_STORES)}")
    check_sqlite(uri, must_exist=True)
    return uri


def _command(port: int) -> list[str]:
    return [sys.executable, "-m", "mlflow", "server", "--host", _HOST, "--port", str(port), "--workers", "1"]


def _environment(uri: str) -> Mapping[str, str]:
    """Environment of the server. It holds the store's address, because arguments would show a password to others.

    The server refuses requests for names that it does not know. The user's own names stay.
    """
    own = {
        "MLFLOW_SERVER_ALLOWED_HOSTS": _join_setting("MLFLOW_SERVER_ALLOWED_HOSTS", _PAGE_HOSTS),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": _join_setting(
            "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", (f"http://{_PAGE_HOST}:*",)
        ),
        **ENVIRONMENT,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_TRACKING_URI": uri,
    }
    return {**os.environ, **own}


def _join_setting(name: str, own: Sequence[str]) -> str:
    """A setting with a list: the values that the user set, and our own."""
    given = os.environ.get(name, "")
    return ",".join([*([given] if given else []), *own])


def _free_port(wanted: int | None) -> int:
    """Port that the user named, or the first free port."""
    if wanted is not None:
        if not _is_free(wanted):
            raise ConfigurationError(f"port {wanted} is in use: name another with --port, or none for the next free")
        return wanted
    for port in range(FIRST_PORT, FIRST_PORT + _PORTS):
        if _is_free(port):
            return port
    raise ConfigurationError(f"no port from {FIRST_PORT} to {FIRST_PORT + _PORTS - 1} is free: name one with --port")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # like the server: a port just closed is free
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _wait_until_it_answers(server: subprocess.Popen[bytes], port: int, log: IO[bytes], uri: str) -> None:
    end = time.monotonic() + _START
    while time.monotonic() < end:
        if server.poll() is not None:
            raise ConfigurationError(f"MLflow's server did not start: {_last_words(log, uri)}")
        if _answers(port):
            return
        time.sleep(0.1)
    raise ConfigurationError(f"MLflow's server did not answer within {_START:.0f} s: {_last_words(log, uri)}")


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(_HOST, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _last_words(log: IO[bytes], uri: str) -> str:
    """Last lines of the server's log, without secrets."""
    log.seek(0)
    said = redact(log.read().decode(errors="replace"), url_secrets(uri))
    return "\n".join(line for line in said.split("\n") if line.strip())[-1_000:] or "it said nothing"


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and its workers, and kill them if they do not end by themselves."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, how)
        except ProcessLookupError:  # all processes have ended
            break
        try:
            server.wait(_STOP)
        except subprocess.TimeoutExpired:
            continue
    server.wait()
    if server.stdin is not None:
        server.stdin.close()


@contextmanager
def _end_on_signals() -> Iterator[None]:
    """Make SIGTERM end the server like Ctrl-C. Both signals also work if the shell set them to be ignored."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

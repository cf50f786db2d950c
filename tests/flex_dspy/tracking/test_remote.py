"""A tracking server that keeps versions and their files: learn here, load there, promote from a third place.

The server stands between: neither the learner nor the one who loads sees its database or its files. It runs on SQLite
and a folder; on PostgreSQL, where Debian's package and ``psycopg`` are installed; and on an S3-compatible store, where
``moto_server`` and ``boto3`` are installed and ``FLEX_DSPY_TEST_S3`` is set: it takes most of a minute.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

NAME = "flex-uspto50k"
BIN = Path(sys.executable).parent
QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
S3_KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], log: Path, address: str, **settings: str) -> Iterator[None]:
    """A server, from its first answer on; it and its workers end with the block."""
    environment = {**os.environ, **QUIET, **settings}
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True)
        try:
            for _ in range(3_000):  # minutes, on a machine that is busy
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(address, timeout=5).close()
                    break
                assert process.poll() is None, log.read_text()
                time.sleep(0.2)
            else:
                pytest.fail(f"no answer at {address}: {log.read_text()}")
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def postgres_tools() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found and importlib.util.find_spec("psycopg") else None


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A database of its own on a free port. PostgreSQL refuses to run as root, so root hands it to its user."""
    # Not pytest's own folders: they are closed to that user.
    with tempfile.TemporaryDirectory(prefix="flex-dspy-") as folder, running_postgres(Path(folder)) as address:
        yield address


@contextlib.contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    tools, port, data = postgres_tools(), free_port(), folder / "data"
    assert tools is not None
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0:
        shutil.chown(folder, user)
    switch = {"user": user, "cwd": "/"} if os.geteuid() == 0 else {}
    subprocess.run(
        [tools / "initdb", "-D", data, "-A", "trust", "-U", "flex"], check=True, capture_output=True, **switch
    )
    options = f"-p {port} -h 127.0.0.1 -k {folder} -F"
    control = [tools / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    subprocess.run([*control, "-o", options, "start"], check=True, stdout=subprocess.DEVNULL, **switch)
    try:
        yield f"postgresql+psycopg://flex@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL, **switch)


@contextlib.contextmanager
def s3(folder: Path) -> Iterator[Mapping[str, str]]:
    """Settings of a client of an S3-compatible store on this machine, with an empty bucket ``flex``."""
    folder.mkdir()
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [str(moto_server()), "-H", "127.0.0.1", "-p", str(port)]
    with running(command, folder / "log", f"{address}/moto-api/", **S3_KEYS):
        urllib.request.urlopen(urllib.request.Request(f"{address}/flex", method="PUT")).close()
        yield {**S3_KEYS, "MLFLOW_S3_ENDPOINT_URL": address}


def moto_server() -> str | None:
    return shutil.which("moto_server", path=os.pathsep.join([str(BIN), os.environ["PATH"]]))


@pytest.fixture(params=["sqlite", *(pytest.param(kind, marks=pytest.mark.weekly) for kind in ("postgresql", "s3"))])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a tracking server."""
    kind = request.param
    if kind == "postgresql" and postgres_tools() is None:
        pytest.skip("no PostgreSQL here, or no psycopg")
    if kind == "s3" and (moto_server() is None or importlib.util.find_spec("boto3") is None):
        pytest.skip("no moto_server here, or no boto3")
    with contextlib.ExitStack() as stack:
        database, files, settings = f"sqlite:///{tmp_path}/server.db", str(tmp_path / "files"), {}
        if kind == "postgresql":
            database = stack.enter_context(postgres())
        if kind == "s3":
            files, settings = "s3://flex/files", dict(stack.enter_context(s3(tmp_path / "s3")))
        port = free_port()
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--backend-store-uri", database, "--serve-artifacts", "--artifacts-destination", files]
        command += ["--workers", "1"]
        address = f"http://127.0.0.1:{port}"
        stack.enter_context(running(command, tmp_path / "server.log", f"{address}/health", **settings))
        yield address


def machine(folder: Path, server: str, *command: str) -> str:
    """Run a command on another machine: another home and folder, both empty at first, and the server's address."""
    folder.mkdir(exist_ok=True)
    # The bytecode, too: without it each of these processes compiles thousands of modules again.
    names = ("PATH", "LANG", "PYTHONPYCACHEPREFIX")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    environment = {**kept, **QUIET, "HOME": str(folder), "MLFLOW_TRACKING_URI": server}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MLflow did not take" not in done.stderr, done.stderr
    return done.stdout


LOAD = f"""
import json, mlflow
model = mlflow.pyfunc.load_model("models:/{NAME}@best")
file = mlflow.artifacts.download_artifacts("models:/{NAME}@best/library.json", dst_path=".")
print(json.dumps([model.predict(model.input_example)[0], len(json.load(open(file))["experiences"])]))
"""
PROMOTE = f"""
import mlflow
client = mlflow.MlflowClient()
versions = client.search_model_versions("name = '{NAME}'")
newest = max(versions, key=lambda version: int(version.version))
assert float(newest.tags["accuracy"]) >= 0
client.set_registered_model_alias("{NAME}", "production", newest.version)
print(newest.version)
"""


@pytest.mark.slow
def test_learn_here_load_there_and_promote_from_ci(server: str, tmp_path: Path) -> None:
    flex = str(BIN / "flex-dspy")
    learn = [flex, "learn", "uspto50k", "--study", "--train-samples", "12", "--val-samples", "8", "--quiet"]
    said = machine(tmp_path / "learner", server, *learn, "--checkpoint-every", "6")
    assert f"{NAME}@best is version" in said
    assert not list((tmp_path / "learner").glob("mlruns*"))

    answer, entries = json.loads(machine(tmp_path / "user", server, sys.executable, "-c", LOAD).splitlines()[-1])
    assert set(answer) == {"reactants", "alternatives"}
    assert entries > 0
    newest = machine(tmp_path / "ci", server, sys.executable, "-c", PROMOTE).strip()

    compare = [flex, "compare", f"{NAME}@production", "none", "--samples", "6", "--quiet"]
    said = machine(tmp_path / "user", server, *compare)
    assert f"MLflow   experiment {NAME}, run " in said
    shown = machine(tmp_path / "another", server, flex, "library", "show", f"{NAME}/{newest}")
    assert "golden" in shown

"""What MLflow does to DSPy programs, done to an equipped one: logged, loaded, served, traced."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import dspy
import httpx
import pytest

from flex_dspy import ExperienceLibrary, equip, language_model
from flex_dspy.libraries.experience import Experience
from flex_dspy.search.retrieval import retrievers

QUESTION = "How many apples are in two baskets of three?"
# MLflow's and pydantic's own, when models are logged and traces read.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")

KEY = "sk-a-key-that-must-stay-here"
ENTRY = Experience(zone="golden", method="Apples in baskets: multiply.")
LIBRARY = ExperienceLibrary([ENTRY], task="fruit")


@pytest.fixture
def program(llm_server, monkeypatch):
    """Answers right with the lesson alone."""
    monkeypatch.setenv("API_KEY", KEY)
    llm_server.script = lambda role, inputs, messages: {
        "reasoning": "so",
        "answer": "6" if "multiply" in str(inputs) else "5",
    }
    dspy.configure(lm=language_model("openai/test", api_base=llm_server.url, cache=False))
    return equip(dspy.ChainOfThought("question -> answer"), LIBRARY)


@pytest.fixture
def model_uri(program, mlflow_uri):
    """The program, logged in MLflow as its users log it."""
    import mlflow

    mlflow.set_tracking_uri(mlflow_uri)
    try:
        with mlflow.start_run():
            logged = mlflow.dspy.log_model(
                program, name="equipped", input_example={"question": QUESTION}, pip_requirements=["flex-dspy"]
            )
        yield logged.model_uri
    finally:
        mlflow.set_tracking_uri(None)


def test_log_load_and_predict(model_uri, program, llm_server):
    import mlflow

    loaded = mlflow.dspy.load_model(model_uri)
    assert retrievers(loaded)[0].library == LIBRARY
    assert loaded(question=QUESTION).toDict() == program(question=QUESTION).toDict()
    answer = mlflow.pyfunc.load_model(model_uri).predict({"question": QUESTION})
    assert answer["answer"] == "6"
    folder = Path(mlflow.artifacts.download_artifacts(model_uri))
    kept = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert ENTRY.method.encode() in kept
    assert KEY.encode() not in kept


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.slow
@pytest.mark.weekly
def test_serve(model_uri, program, mlflow_uri, tmp_path):
    import mlflow

    folder = mlflow.artifacts.download_artifacts(model_uri, dst_path=str(tmp_path))
    port = _free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", folder, "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_TRACKING_URI": mlflow_uri}
    log = (tmp_path / "serve.log").open("w")
    with log, subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True) as server:
        try:
            served = _posted(f"http://127.0.0.1:{port}/invocations", {"inputs": {"question": QUESTION}}, server)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, 9)
    assert served == {"predictions": program(question=QUESTION).toDict()}, (tmp_path / "serve.log").read_text()


def _posted(url: str, body: dict, server: subprocess.Popen) -> dict:
    """The server's answer, once it has started."""
    end = time.monotonic() + 90
    while time.monotonic() < end and server.poll() is None:
        try:
            return httpx.post(url, json=body, timeout=60).json()
        except httpx.TransportError:
            time.sleep(0.2)
    return {"error": f"the server did not start; it ended with {server.poll()}"}


def test_traces_show_the_retrieval_with_the_entries(program, mlflow_uri):
    import mlflow

    mlflow.set_tracking_uri(mlflow_uri)
    mlflow.dspy.autolog()
    try:
        program(question=QUESTION)
        mlflow.flush_trace_async_logging()
        [span] = mlflow.get_trace(mlflow.get_last_active_trace_id()).search_spans(span_type="RETRIEVER")
    finally:
        mlflow.dspy.autolog(disable=True)
        mlflow.set_tracking_uri(None)
    assert QUESTION in str(span.inputs)
    assert ENTRY.id in str(span.outputs)

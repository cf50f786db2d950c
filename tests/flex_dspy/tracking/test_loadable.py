"""A version is a model that MLflow loads and asks, built from JSON alone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import dspy
import httpx
import pytest

from flex_dspy import ForwardLearning, get_task, language_model
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.learning.program_description import build_program, describe_program
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs import Actor
from flex_dspy.search.retrieval import retrievers
from flex_dspy.tracking.loadable import _load_pyfunc
from flex_dspy.tracking.registry import load_library
from flex_dspy.tracking.tracker import MLflowTracker

# MLflow's and pydantic's own, when models are loaded and checked.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")

PRODUCT = "CC(=O)Nc1ccccc1"
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "compare-versions.md"
# The six lines of a test below, as the page on comparing versions shows them.
SIX_LINES = 'import mlflow\n\nNAME = "flex-uspto50k"\n' + textwrap.dedent(
    Path(__file__).read_text(encoding="utf-8").partition("    # [six lines]\n")[2].partition("    # [end]\n")[0]
)


@pytest.fixture(scope="session")  # the slow test runs before the others
def name(mlflow_uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registered name with two versions that the offline chemist learned."""
    task = get_task("uspto50k")
    train = [
        dspy.Example(product=PRODUCT, reactants="CC(=O)Cl.Nc1ccccc1").with_inputs("product"),
        dspy.Example(product="CCC(=O)Nc1ccccc1", reactants="CCC(=O)Cl.Nc1ccccc1").with_inputs("product"),
    ]
    valid = [dspy.Example(product="CC(C)C(=O)Nc1ccccc1", reactants="CC(C)C(=O)Cl.Nc1ccccc1").with_inputs("product")]
    tracker = MLflowTracker("loadable", tracking_uri=mlflow_uri, registered_name="loadable")
    with dspy.context(lm=language_model("offline", expert=task.expert)):
        optimizer = ForwardLearning(
            task.metric, study=True, library=tmp_path_factory.mktemp("learned") / "library.json", tracker=tracker,
            progress=False, checkpoint_every=2,
        )  # fmt: skip
        optimizer.compile(task.actor(), trainset=train, valset=valid)
    return "loadable"


@pytest.fixture
def mlflow(mlflow_uri: str) -> Any:
    import mlflow

    mlflow.set_tracking_uri(mlflow_uri)
    yield mlflow
    mlflow.set_tracking_uri(None)


def test_mlflow_loads_it_and_it_answers(name: str, mlflow: Any, mlflow_uri: str, tmp_path: Path) -> None:
    uri = f"models:/{name}@best"
    model = mlflow.pyfunc.load_model(uri)
    assert model.metadata.signature.inputs.input_names() == ["product"]
    assert model.metadata.signature.outputs.input_names() == ["reactants", "alternatives"]
    assert model.input_example == {"product": "CC(C)C(=O)Nc1ccccc1"}
    (answer,) = model.predict(model.input_example)
    assert answer["reactants"] == "CC(C)C(=O)Cl.Nc1ccccc1"

    program = model.get_raw_model()
    assert program(product=PRODUCT).reactants == "CC(=O)Cl.Nc1ccccc1"
    assert retrievers(program)[0].library == load_library(f"{name}@best", mlflow_uri)

    file = mlflow.artifacts.download_artifacts(f"{uri}/library.json", dst_path=str(tmp_path))
    assert ExperienceLibrary.load(Path(file)) == load_library(f"{name}@best", mlflow_uri)


def test_the_loader_reads_json_alone(name: str, mlflow: Any, tmp_path: Path) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{name}@best", dst_path=str(tmp_path)))
    assert not [file.name for file in folder.rglob("*") if file.suffix in (".pkl", ".pickle")]
    assert _load_pyfunc(str(folder)).predict({"product": PRODUCT})["reactants"] == "CC(=O)Cl.Nc1ccccc1"
    written = json.loads((folder / "program.json").read_text())
    written["outputs"]["reactants"]["type"] = "__import__('os')"
    (folder / "program.json").write_text(json.dumps(written))
    with pytest.raises(ConfigurationError, match="does not describe a program"):
        _load_pyfunc(str(folder))


def test_mlflow_s_dspy_flavour_is_not_claimed_and_the_pages_say_what_to_call(
    name: str, mlflow: Any, mlflow_uri: str
) -> None:
    """In the installed MLflow it reads pickles alone: ``dspy.load`` does, too."""
    with pytest.raises(mlflow.MlflowException, match='does not have the "dspy" flavor'):
        mlflow.dspy.load_model(f"models:/{name}@best")
    client = mlflow.MlflowClient(mlflow_uri)
    for text in (
        client.get_registered_model(name).description,
        client.get_experiment_by_name("loadable").tags["mlflow.note.content"],
    ):
        assert "mlflow.pyfunc.load_model" in text
        assert "get_raw_model()" in text


def test_the_page_shows_the_six_lines() -> None:
    assert f"```python\n{SIX_LINES}```\n" in PAGE.read_text(encoding="utf-8")


def test_the_six_lines_of_a_plain_user(name: str, mlflow: Any, tmp_path: Path) -> None:
    NAME = name
    # [six lines]
    versions = mlflow.search_model_versions(filter_string=f"name = '{NAME}'")
    best = max(versions, key=lambda version: float(version.tags.get("accuracy", -1)))
    model = mlflow.pyfunc.load_model(f"models:/{NAME}/{best.version}")
    answer = model.predict({"product": "CC(=O)Nc1ccccc1"})
    library = mlflow.artifacts.download_artifacts(f"models:/{NAME}/{best.version}/library.json")
    change = mlflow.artifacts.download_artifacts(f"models:/{NAME}/{best.version}/diff.html")
    # [end]
    steps = {version.tags["step"]: int(version.version) for version in versions}
    assert (len(versions), steps) == (2, {"0": 1, "2": 2})
    assert (int(best.version), answer[0]["reactants"]) == (2, "CC(=O)Cl.Nc1ccccc1")
    assert len(ExperienceLibrary.load(Path(library))) > 0
    assert "<html" in Path(change).read_text() or "<!doctype" in Path(change).read_text()


@pytest.mark.slow
def test_it_is_served(name: str, mlflow_uri: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{name}@best"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_TRACKING_URI": mlflow_uri}
    log = (tmp_path / "log").open("w")
    with log, subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True) as server:
        try:
            body = {"dataframe_records": [{"product": PRODUCT}]}
            served = posted(f"http://127.0.0.1:{port}/invocations", body, server)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
    assert served["predictions"][0]["reactants"] == "CC(=O)Cl.Nc1ccccc1", (tmp_path / "log").read_text()


def posted(url: str, body: Any, server: Any) -> Any:
    """The server's answer, once it has started."""
    end = time.monotonic() + 120
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            return httpx.post(url, json=body, timeout=60).json()
        time.sleep(0.2)
    pytest.fail(f"the server did not start: {server.poll()}")


@pytest.mark.parametrize("task", ["uspto50k", "aime", "gsm8k", "proteingym"])
@pytest.mark.parametrize("strategy", ["direct", "cot"])
def test_a_description_gives_the_same_prompts(task: str, strategy: Any) -> None:
    actor = get_task(task).actor(strategy=strategy)
    again = build_program(json.loads(json.dumps(describe_program(actor))), ExperienceLibrary(task=task))
    given = {**dict.fromkeys(actor.inputs, "a problem"), "earlier_attempts": "none", "experiences": "a lesson"}
    prompts = [dspy.ChatAdapter().format(each.attempt.predictors()[0].signature, [], given) for each in (actor, again)]
    assert prompts[0] == prompts[1]
    assert again.retriever.settings == actor.retriever.settings


def test_a_program_with_more_than_that_is_not_described() -> None:
    assert describe_program(Actor("question -> answer", strategy="react")) == {}
    assert describe_program(dspy.Predict("question -> answer")) == {}
    assert describe_program(Actor("question -> answer: dict[str, int]")) == {}


def test_a_description_holds_no_key() -> None:
    actor = Actor("question -> answer: Literal['yes', 'no']")
    actor.set_lm(dspy.LM("openai/x", api_key="very-private", api_base="http://me:very-private@host/v1"))
    described = json.dumps(describe_program(actor))
    assert "very-private" not in described
    assert build_program(json.loads(described), ExperienceLibrary()).get_lm().model == "openai/x"

"""A key goes to the model's server and nowhere else: not into a file, not onto the terminal."""

import copy
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlparse

import dspy
import pytest

from flex_dspy.cli import main
from flex_dspy.models.lm import language_model
from tests.llm_server import Fault, LLMServer
from tests.scripted import problems, student, write

pytestmark = pytest.mark.usefixtures("no_figures")

KEY = "sk-proj-7Qx1ZrT9vLw3KdYb5NfHs8Ug2Ma4Ec6Pj0Rt"
ECHO = f"Incorrect API key provided: {KEY}. Find yours in your account's settings."


@pytest.fixture
def command(llm_server: LLMServer, tmp_path, monkeypatch, mlflow_uri):
    """Run ``flex-dspy`` with tracking, a cache and a folder of its own."""
    llm_server.script = student
    monkeypatch.chdir(tmp_path)
    dspy.configure_cache(disk_cache_dir=str(tmp_path / "cache"))
    write(problems(8), tmp_path / "train.jsonl")
    write(problems(4, start=1_000), tmp_path / "val.jsonl")

    def run(command: str, *options: str) -> int:
        models = ("--lm", "openai/test", "--api-base", llm_server.url, "--retries", "0")
        tracking = ("--tracking-uri", mlflow_uri, "--experiment", tmp_path.name)
        return main([command, "aime", *models, *tracking, "--val", "val.jsonl", *options])

    return run


LEARN = ("learn", "--train", "train.jsonl", "--checkpoint-every", "4", "--rollouts", "1", "--out", "run")
EVAL = ("eval", "--library", "run/library.json", "--out", "measured")


def files(mlflow_uri: str) -> list[Path]:
    """Everything written: the run's folder, MLflow's database (with its log of writes) and artifacts."""
    store = Path(urlparse(mlflow_uri).path).parent
    return [path for folder in (Path(), store) for path in folder.rglob("*") if path.is_file()]


def holding(text: str, paths: list[Path]) -> list[Path]:
    """Those that hold a text, in any of the ways that bytes of text are written."""
    return [p for p in paths if any(text.encode(code) in p.read_bytes() for code in ("utf-8", "utf-16-le"))]


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["API_KEY", "OPENAI_API_KEY"])
def test_learning_and_measuring_leave_the_key_nowhere(command, llm_server, mlflow_uri, monkeypatch, capfd, variable):
    monkeypatch.setenv(variable, KEY)
    assert command(*LEARN) == 0
    assert command(*EVAL) == 0
    assert {request.headers["authorization"] for request in llm_server.requests} == {f"Bearer {KEY}"}
    said = capfd.readouterr()
    assert KEY not in said.out + said.err
    written = files(mlflow_uri)
    assert {"library.json", "run.json", "records.jsonl", "mlflow.db"} <= {path.name for path in written}
    assert any("cache" in path.parts for path in written)
    assert holding(KEY, written) == []
    assert len(holding("openai/test", written)) >= 3  # the search finds what is there: a command, a run, a record
    with closing(sqlite3.connect(Path(urlparse(mlflow_uri).path))) as database:
        assert KEY not in "\n".join(database.iterdump())


@pytest.mark.parametrize("status", [400, 401, 500])
@pytest.mark.parametrize("role", ["actor", "verifier", "critic", "updater"])
def test_a_key_that_the_server_repeats_is_not_passed_on(
    command, llm_server, mlflow_uri, monkeypatch, capfd, caplog, status, role
):
    """In every second answer to a role: as an end of the run, or as an example's failure on record."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    asked = []

    def echoing(who: str, inputs: dict[str, str], messages: list[dict[str, str]]) -> object:
        asked.extend([who] if who == role else [])
        return Fault(status, ECHO) if who == role and len(asked) % 2 else student(who, inputs, messages)

    llm_server.script = echoing
    options = (*LEARN, "--no-tracking") if role != "actor" else LEARN  # a store's writes take half a second
    assert command(*options) == (1 if status == 401 else 0)
    if role == "actor" and status != 401:
        assert command(*EVAL) == 0
    assert any(request.fault for request in llm_server.requests)
    said = capfd.readouterr()
    assert KEY not in said.out + said.err + caplog.text
    if status == 401:
        assert "Incorrect API key provided" in said.err
    assert holding(KEY, files(mlflow_uri)) == []


LOGIN, VALUE = "hunter2-of-bob", "q7x1zrt9vlw3"


@pytest.mark.slow
@pytest.mark.parametrize("secret", [f"http://bob:{LOGIN}@{{place}}", f"http://{{place}}?api_key={VALUE}&odd={LOGIN}"])
def test_an_address_gives_its_login_and_its_query_to_the_server_alone(
    llm_server, tmp_path, monkeypatch, mlflow_uri, capfd, secret
):
    """Whatever the server says back: an answer, a refusal that repeats the address, nothing."""
    llm_server.script = student
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("API_KEY", KEY)
    dspy.configure_cache(disk_cache_dir=str(tmp_path / "cache"))
    write(problems(4), tmp_path / "train.jsonl")
    write(problems(2, start=1_000), tmp_path / "val.jsonl")
    address = secret.format(place=llm_server.url.removeprefix("http://"))
    models = ("--lm", "openai/test", "--api-base", address, "--retries", "0")
    tracking = ("--tracking-uri", mlflow_uri, "--experiment", tmp_path.name, "--val", "val.jsonl")
    refused = 0

    def echoing(who: str, inputs: dict[str, str], messages: list[dict[str, str]]) -> object:
        nonlocal refused
        refused += 1
        return Fault(500, f"at {address}: {LOGIN} and {VALUE}") if refused % 3 == 0 else student(who, inputs, messages)

    for script in (student, echoing):
        llm_server.script = script
        main(["doctor", *models])
        main([*LEARN[:1], "aime", *models, *tracking, *LEARN[1:], "--fresh"])
    main([*EVAL[:1], "aime", *models, *tracking, *EVAL[1:]])
    said = capfd.readouterr()
    assert LOGIN not in said.out + said.err
    assert VALUE not in said.out + said.err
    assert llm_server.url in said.out
    assert [path for text in (LOGIN, VALUE) for path in holding(text, files(mlflow_uri))] == []
    notes = list(Path().rglob("run.json"))
    assert all(llm_server.url in note.read_text() for note in notes)
    assert {note.stat().st_mode & 0o777 for note in notes} == {0o600}


def test_an_address_that_is_none_is_refused_and_not_repeated(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["learn", "aime", "--lm", "openai/test", "--api-base", f"bob:{LOGIN}@host/v1"]) == 1
    said = capsys.readouterr().err
    assert "must begin with http" in said
    assert LOGIN not in said
    assert list(tmp_path.iterdir()) == []


def test_a_saved_or_pickled_model_takes_no_login_along(monkeypatch):
    model = language_model("openai/test", api_base=f"http://bob:{LOGIN}@host/v1?odd={VALUE}")
    model.kwargs["api_key"] = KEY
    for state in (model.dump_state(), model.__getstate__()):
        assert not any(secret in str(state) for secret in (LOGIN, VALUE, KEY))
        assert "http://host/v1" in str(state)
    assert copy.deepcopy(model).kwargs == model.kwargs
    monkeypatch.setenv("BASE_URL", f"http://bob:{LOGIN}@host/v1")
    loaded = object.__new__(type(model))
    loaded.__setstate__(model.__getstate__())
    assert loaded.kwargs["api_base"] == f"http://bob:{LOGIN}@host/v1"

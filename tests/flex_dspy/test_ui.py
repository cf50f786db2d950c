"""``flex-dspy ui``: MLflow's pages show what was logged.

One server for the file. Its three processes import MLflow, so that all tests of the pages are slow ones.
"""

from __future__ import annotations

import csv
import html
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flex_dspy.commands.actions import ui
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.evaluation.records import Record
from flex_dspy.learning.version import Version
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tracking.datasets import DatasetInfo
from flex_dspy.tracking.evaluations import log_evaluation
from flex_dspy.tracking.tracker import MLflowTracker

NAME = "pages"
VALIDATION = DatasetInfo("sums val", "d1gest", "val", 4)
TEST = DatasetInfo("sums test", "d1gest2", "test", 4)
PROBLEM = "What is seven and five, said <b>plainly</b>?"


def records(right: int, n: int = 4) -> tuple[Record, ...]:
    return tuple(
        Record(
            f"e{i}", PROBLEM, "12", {"answer": "12" if i < right else "13"}, float(i < right), shown=("a",),
            labels={"answer": "12"}, measures={"near": 0.5},
        )
        for i in range(n)
    )  # fmt: skip


def lineage() -> list[ExperienceLibrary]:
    """Libraries of 0, 1 and 2 entries, each the parent of the next."""
    libraries = [ExperienceLibrary(task="sums").as_version(None)]
    for step, zone in ((1, "golden"), (2, "warning")):
        solved = Precedent(f"x{step}", "p", "a")
        lesson = Experience(zone, f"Method number {step}.", (Rule(f"Rule number {step}."),), precedents=(solved,))
        libraries.append(libraries[-1].apply(Commit("run", step, (Insert(lesson),))).as_version(libraries[-1].hash))
    return libraries


@dataclass(frozen=True)
class Pages:
    """A running server, and what was logged before it started."""

    address: str
    experiment: str
    run_id: str
    evaluation: str
    versions: list[Version]

    def get(self, page: str, **query: Any) -> Any:
        with urllib.request.urlopen(f"{self.address}/{page}?{urllib.parse.urlencode(query, doseq=True)}") as answer:
            return answer.read()

    def ask(self, path: str, **query: Any) -> Any:
        return json.loads(self.get(f"ajax-api/2.0/mlflow/{path}", **query))

    def search(self, path: str, **body: Any) -> Any:
        request = urllib.request.Request(
            f"{self.address}/ajax-api/2.0/mlflow/{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def models(self) -> list[Any]:
        """As the models list asks for them, oldest first."""
        found = self.search("logged-models/search", experiment_ids=[self.experiment])["models"]
        return sorted(found, key=lambda model: int(told(model["data"]["params"])["step"]))

    def file(self, model: Any, name: str) -> bytes:
        path = f"ajax-api/2.0/mlflow/logged-models/{model['info']['model_id']}/artifacts/files"
        return bytes(self.get(path, artifact_file_path=name))


def told(pairs: Any) -> dict[str, Any]:
    return {pair["key"]: pair["value"] for pair in pairs}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def pages(mlflow_uri: str) -> Iterator[Pages]:
    tracker = MLflowTracker(
        NAME, tracking_uri=mlflow_uri, registered_name=NAME, data={"training": TRAINING, "validation": VALIDATION}
    )
    tracker.start({"task": "sums", "actor": "some/actor", "critic": "some/critic"})
    versions = []
    for step, library in enumerate(lineage()):
        measured = records(step + 1)
        numbers = Evaluation(measured).metrics() | {"spend_usd": 0.25 * step}
        versions.append(Version(library, step, numbers, "validation", "d1gest", measured))
        tracker.log_version(versions[-1])
    tracker.finish()
    results = {"with library": Evaluation(records(4)), "no library": Evaluation(records(1))}
    shared = {"experiment": NAME, "tracking_uri": mlflow_uri}
    evaluation = log_evaluation(results, TEST, library=versions[-1].library, reference=f"{NAME}@newest", **shared)
    assert evaluation is not None
    port = free_port()
    command = [sys.executable, "-m", "flex_dspy.cli", "ui", "--tracking-uri", mlflow_uri, "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout is not None
    said = [server.stdout.readline(), server.stdout.readline()]
    try:
        found = re.search(r"http://[\d.:]+", said[-1])
        assert found, (said, server.poll() is not None and server.communicate())
        yield Pages(found[0], tracker._experiment_id, tracker.run_id, evaluation, versions)
    finally:
        server.send_signal(signal.SIGINT)
        rest = server.communicate(timeout=60)
    assert (server.returncode, rest) == (0, ("\nMLflow is stopped\n", ""))
    assert ui._is_free(port)


TRAINING = DatasetInfo("sums train", "d1gest0", "train", 2)


# -- what the pages read -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_models_list_reads_as_the_history_of_the_library(pages: Pages) -> None:
    for place, (model, version) in enumerate(zip(pages.models(), pages.versions, strict=True)):
        params = told(model["data"]["params"])
        library, numbers = version.library, version.metrics
        assert params.pop("code")
        assert params == {
            "version": str(place + 1),
            "parent": f"version {place} ({library.parent[:12]})" if library.parent else "none",
            "hash": library.hash,
            "task": "sums",
            "step": str(place),
            "size": ("empty", "1 golden", "1 golden, 1 warning")[place],
            "accuracy with interval": f"{numbers['accuracy']:.1%} [{numbers['accuracy_low']:.1%}, "
            f"{numbers['accuracy_high']:.1%}], n = 4",
            "cost": f"${numbers['spend_usd']:.4f}",
            "lm actor": "some/actor",
            "lm critic": "some/critic",
            "dataset": "sums val",
            "dataset_digest": "d1gest",
        }
        metrics = [metric for metric in model["data"]["metrics"] if metric["dataset_name"] == "sums val"]
        assert told(metrics) == pytest.approx(version.numbers())
        assert {metric["step"] for metric in metrics} <= {place, None} or place == 0
        link = json.loads(told(model["info"]["tags"])["mlflow.modelVersions"])
        assert [(each["name"], int(each["version"])) for each in link] == [(NAME, place + 1)]


@pytest.mark.slow
def test_a_version_s_page_holds_its_files(pages: Pages) -> None:
    first, _, last = pages.models()
    names = {"library.json", "library.html", "examples.csv", "learning_curve.png", "diff.html"}
    for model, missing in ((first, {"learning_curve.png", "diff.html"}), (last, set())):
        path = f"logged-models/{model['info']['model_id']}/artifacts/directories"
        assert {file["path"] for file in pages.ask(path)["files"]} == names - missing

    library = pages.versions[-1].library
    assert ExperienceLibrary.from_json(pages.file(last, "library.json"), "it") == library
    shown = pages.file(last, "library.html").decode()
    assert all(entry.id in shown and entry.method in shown for entry in library)
    assert "sums: some/actor" in shown
    difference = pages.file(last, "diff.html").decode()
    assert "Method number 2." in difference
    assert "Method number 1." not in difference
    assert pages.file(last, "learning_curve.png").startswith(b"\x89PNG")
    rows = list(csv.DictReader(io.StringIO(pages.file(last, "examples.csv").decode())))
    assert [float(row["score"]) for row in rows] == [record.score for record in pages.versions[-1].records]
    assert {(row["problem"], row["reference"], row["near"]) for row in rows} == {(PROBLEM, "12", "0.5")}
    assert [row["output: answer"] for row in rows] == ["12", "12", "12", "13"]


@pytest.mark.parametrize("key", ["accuracy", "accuracy_low", "accuracy_high"])
@pytest.mark.slow
def test_accuracy_is_charted_by_step_and_by_library_size(pages: Pages, key: str) -> None:
    for name, at in ((key, [0, 1, 2]), (f"by library size/{key}", [len(each.library) for each in pages.versions])):
        path = "metrics/get-history-bulk-interval"
        history = pages.ask(path, run_ids=[pages.run_id], metric_key=name, max_results=320)["metrics"]
        assert [point.get("step", 0) for point in history] == at
        assert [point["value"] for point in history] == pytest.approx([v.metrics[key] for v in pages.versions])


@pytest.mark.slow
def test_a_registered_name_has_its_aliases_and_versions_that_differ(pages: Pages) -> None:
    model = pages.ask("registered-models/get", name=NAME)["registered_model"]
    assert {alias["alias"]: int(alias["version"]) for alias in model["aliases"]} == {"best": 3, "newest": 3}
    versions = pages.ask("model-versions/search", filter=f"name='{NAME}'")["model_versions"]
    by_number = sorted(versions, key=lambda version: int(version["version"]))
    # MLflow's comparison reads each version's run.
    runs = [pages.ask("runs/get", run_id=version["run_id"])["run"]["data"] for version in by_number]
    assert [told(run["metrics"]) for run in runs] == [pytest.approx(version.numbers()) for version in pages.versions]
    assert [told(run["params"])["hash"] for run in runs] == [version.library.hash for version in pages.versions]


@pytest.mark.slow
def test_an_evaluation_is_linked_to_its_version_and_data(pages: Pages) -> None:
    run = pages.ask("runs/get", run_id=pages.evaluation)["run"]
    last = pages.models()[-1]
    assert [each["model_id"] for each in run["inputs"]["model_inputs"]] == [last["info"]["model_id"]]
    (given,) = run["inputs"]["dataset_inputs"]
    assert (given["dataset"]["name"], given["dataset"]["digest"]) == ("sums test", "d1gest2")
    numbers = told(run["data"]["metrics"])
    assert (numbers["accuracy"], numbers["no_library/accuracy"]) == (1.0, 0.25)
    measured = {m["key"]: m["value"] for m in last["data"]["metrics"] if m["dataset_name"] == "sums test"}
    assert measured == pytest.approx(Evaluation(records(4)).metrics())
    tables = json.loads(told(run["data"]["tags"])["mlflow.loggedArtifacts"])
    assert {(table["path"], table["type"]) for table in tables} == {
        ("examples-with_library.json", "table"),
        ("examples-no_library.json", "table"),
    }
    table = json.loads(pages.get("get-artifact", run_id=pages.evaluation, path="examples-no_library.json"))
    scores = [row[table["columns"].index("score")] for row in table["data"]]
    assert scores == [record.score for record in records(1)]


@pytest.mark.slow
def test_data_sets_are_named_and_never_copied(pages: Pages) -> None:
    run = pages.ask("runs/get", run_id=pages.run_id)["run"]
    given = {each["dataset"]["name"]: each for each in run["inputs"]["dataset_inputs"]}
    assert {name: each["tags"][0]["value"] for name, each in given.items()} == {
        "sums train": "training",
        "sums val": "validation",
    }
    assert json.loads(given["sums val"]["dataset"]["profile"]) == {"num_rows": 4}
    assert "seven" not in json.dumps(run)


@pytest.mark.slow
@pytest.mark.parametrize(("host", "status"), [("flex-dspy.localhost", 200), ("127.0.0.1", 200), ("evil.example", 403)])
def test_the_server_answers_under_the_name_that_is_printed(pages: Pages, host: str, status: int) -> None:
    port = urllib.parse.urlsplit(pages.address).port
    assert port is not None
    headers = {"Host": f"{host}:{port}", "Origin": f"http://{host}:{port}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = json.dumps({"experiment_ids": [pages.experiment]})
    connection.request("POST", "/ajax-api/2.0/mlflow/logged-models/search", body, headers)
    assert connection.getresponse().status == status
    connection.close()


# -- the pages themselves ----------------------------------------------------------------------------------

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def text_of(pages: Pages, page: str, folder: Path, host: str = "127.0.0.1") -> str:
    """A page's text as a browser shows it, wide enough for all columns of a table."""
    address = pages.address.replace("127.0.0.1", host)
    command = [
        str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        f"--user-data-dir={folder}", "--window-size=16000,3000", "--virtual-time-budget=30000", "--dump-dom",
        f"{address}/#/{page}",
    ]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", shown)).split())


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_the_pages_show_the_numbers(pages: Pages, tmp_path: Path) -> None:
    last = pages.models()[-1]["info"]["model_id"]
    machine_learning = "?workflowType=machine_learning"
    shown = text_of(pages, f"experiments/{pages.experiment}/models{machine_learning}", tmp_path)
    for place, version in enumerate(pages.versions):
        numbers = version.metrics
        assert f"{numbers['accuracy']:.1%} [{numbers['accuracy_low']:.1%}, {numbers['accuracy_high']:.1%}]" in shown
        assert f"{NAME} v{place + 1}" in shown
        # In the first column: the accuracy can be read without scrolling.
        assert f"sums-{place}ex-acc{numbers['accuracy'] * 100:.1f}-n4".replace(".", "_") in shown
        assert f"${numbers['spend_usd']:.4f}" in shown
    assert "Versions of the experience library" in shown  # the experiment's guide
    assert f"version 2 ({pages.versions[1].library.hash[:12]})" in shown

    shown = text_of(pages, f"experiments/{pages.experiment}/models/{last}{machine_learning}", tmp_path)
    newest = pages.versions[-1]
    assert f"accuracy sums val (#d1gest) {NAME} {newest.metrics['accuracy']:g}" in shown
    assert f"accuracy sums test (#d1gest2) eval {NAME}@newest on sums test 1" in shown
    assert f"accuracy_low sums val (#d1gest) {NAME} {newest.metrics['accuracy_low']:.6g}" in shown

    shown = text_of(pages, f"models/{NAME}", tmp_path)
    assert "@ best" in shown and "@ newest" in shown  # noqa: PT018
    for version in pages.versions:
        numbers = version.metrics
        bounds = f"{numbers['accuracy_low'] * 100:.1f} to {numbers['accuracy_high'] * 100:.1f}"
        assert f"{numbers['accuracy']:.1%} ({bounds}, n = 4)" in shown  # the page cuts off the rest


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_no_assistant_covers_the_accuracies_on_the_page_that_is_printed(pages: Pages, tmp_path: Path) -> None:
    models = f"experiments/{pages.experiment}/models?workflowType=machine_learning"
    panel = "Ask questions about your experiments"
    printed = text_of(pages, models, tmp_path / "printed", "flex-dspy.localhost")
    assert "sums-2ex-acc" in printed
    assert panel not in printed
    assert panel in text_of(pages, models, tmp_path / "other")  # else the name is not needed any more


# -- the command -------------------------------------------------------------------------------------------

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def a_store(folder: Path) -> str:
    (folder / "mlflow.db").touch()  # an empty database
    return f"sqlite:///{folder}/mlflow.db"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_asked(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    port = free_port()
    monkeypatch.setattr(ui, "_command", lambda port: [sys.executable, "-c", SERVER, str(port)])
    monkeypatch.setattr(ui.subprocess.Popen, "wait", wait_and_be_asked(number, ui.subprocess.Popen.wait))
    ui.run(a_store(tmp_path), port)
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"MLflow   http://flex-dspy.localhost:{port}/#/experiments?workflowType=machine_learning   "
        f"(Ctrl-C ends it; http://127.0.0.1:{port}/ in a browser that cannot find it)",
        "",
        "MLflow is stopped",
    ]
    assert ui._is_free(port)
    assert {each: signal.getsignal(each) for each in before} == before


def wait_and_be_asked(number: signal.Signals, wait: Any) -> Any:
    """``Popen.wait`` during which the process gets a signal."""

    def waiting(self: Any, timeout: float | None = None) -> Any:
        if timeout is None and self.returncode is None:
            os.kill(os.getpid(), number)
        return wait(self, timeout)

    return waiting


KILLED = f"""
import subprocess, sys
from flex_dspy.commands.actions import ui
WORKER = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\\n" + {SERVER!r}
START = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', *sys.argv[1:]]))"
ui._command = lambda port: [sys.executable, "-c", START, WORKER, str(port)]
ui.run(sys.argv[1], int(sys.argv[2]))
"""


@pytest.mark.slow  # MLflow's server starts
def test_killed_it_leaves_nothing_that_listens(tmp_path: Path) -> None:
    """The server's own worker, which does not end when it is asked to, ends too."""
    port = free_port()
    command = [sys.executable, "-c", KILLED, a_store(tmp_path), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline(), process.stdout.readline()]
        assert f"http://127.0.0.1:{port}/" in said[-1]
        assert not ui._is_free(port)
        process.kill()
    deadline = time.monotonic() + 120
    while not ui._is_free(port) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ui._is_free(port)


def test_a_server_that_does_not_start_is_said_without_its_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "import sys; sys.exit('no database at postgresql://me:hunter2@host/db')"
    monkeypatch.setattr(ui, "_command", lambda port: [sys.executable, "-c", said])
    with pytest.raises(ConfigurationError, match="did not start: no database at postgresql://host/db"):
        ui.run(a_store(tmp_path), free_port())


def test_a_busy_port_is_an_error_or_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port} is in use"):
            ui._free_port(port)
        monkeypatch.setattr(ui, "FIRST_PORT", port)
        assert port < ui._free_port(None) < port + 100


def test_what_there_is_to_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="no tracking store"):
        ui._store("sqlite:///mlflow.db")
    with pytest.raises(ConfigurationError, match="http://host:1 is a server already"):
        ui._store("http://me:hunter2@host:1")
    assert list(tmp_path.iterdir()) == []
    a_store(tmp_path)
    assert ui._store(None) == "sqlite:///mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    with pytest.raises(ConfigurationError, match=r"other\.db"):
        ui._store(None)


def test_the_server_s_settings_and_no_login_in_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "postgresql://me:hunter2@host/db"
    monkeypatch.setenv("MLFLOW_SERVER_ALLOWED_HOSTS", "mine.example")
    settings = ui._environment(uri)
    hosts = settings["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert hosts[0] == "mine.example"
    assert {"127.0.0.1:*", "localhost:*", "flex-dspy.localhost:*"} < set(hosts)
    assert "*" not in hosts
    assert settings["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"
    assert settings["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert settings["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert settings["MLFLOW_BACKEND_STORE_URI"] == uri
    assert "hunter2" not in " ".join(ui._command(5000))

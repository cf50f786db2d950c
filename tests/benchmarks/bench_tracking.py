"""What logging a version costs, and whether it stays flat: ``bench_tracking.py [versions] [entries]``.

Versions of one library, each ten entries on from the one before, with 500 measured examples each, are logged into a new
SQLite store. Timed are a version's logging and, of that, making its ``library.json``, which no version can do without.
Then ``flex-dspy ui`` is started on what is there, and what its pages ask for is timed.
"""

import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.evaluation.records import Record
from flex_dspy.learning.version import Version
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.tracking.tracker import MLflowTracker

VERSIONS, ENTRIES = 200, 10_000
EXAMPLES = 500
STEP = 10  # entries from version to version
NAME = "bench"


def lesson(i: int) -> Experience:
    """An entry of about 500 characters, as the chemist's are."""
    return Experience(
        zone=("golden", "warning", "mixed")[i % 3],
        method=f"Strategy {i}: " + "disconnect where the fragments are known. " * 2,
        rules=(Rule(f"rule {i}: when so, do exactly this", (f"example {i}",)),),
        precedents=(Precedent(f"ex-{i}", "what is asked " * 4, "the answer"),),
        category=f"family {i % 100}",
    )


def records(version: int) -> tuple[Record, ...]:
    return tuple(
        Record(f"e{i}", "what is asked " * 8, "12", {"answer": "12"}, float(i <= version), labels={"answer": "12"})
        for i in range(EXAMPLES)
    )


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def megabytes(folder: Path, pattern: str) -> float:
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file()) / 1e6


def log(folder: Path, versions: int, entries: int) -> None:
    """Log them; print a row each fifth of them, and what the pages cost after the first fifth and at the end."""
    tracker = MLflowTracker(NAME, tracking_uri=f"sqlite:///{folder}/mlflow.db", registered_name=NAME)
    tracker.start({"task": NAME, "actor": "some/model"})
    library = ExperienceLibrary([lesson(i) for i in range(entries - STEP * versions)], task=NAME)
    fifth = max(2, versions // 5)
    took: list[tuple[float, float, float]] = []
    print("| versions | s a version | processor s | of that, the file | store, MB | library files, MB | pages, MB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for number in range(1, versions + 1):
        edits = tuple(Insert(lesson(entries + number * STEP + i)) for i in range(STEP))
        parent = library.hash if number > 1 else None
        library = library.apply(Commit("run", number, edits)).as_version(parent)
        took.append(timed(tracker, library, number))
        if number % fifth == 0:
            wall, processor, file = (statistics.median(column) for column in zip(*took, strict=True))
            sizes = megabytes(folder, "mlflow.db"), *megabytes_of_pages(folder / "mlruns")
            print(
                f"| {number} | {wall:.2f} | {processor:.2f} | {file:.2f} | "
                + " | ".join(f"{x:.1f}" for x in sizes)
                + " |",
                flush=True,
            )
            took = []
        if number in (fifth, versions):
            show(folder, number)
    tracker.finish()


def timed(tracker: MLflowTracker, library: ExperienceLibrary, number: int) -> tuple[float, float, float]:
    """Seconds and processor seconds of logging a version, and processor seconds of its ``library.json``."""
    measured = records(number)
    version = Version(library, number, Evaluation(measured).metrics(), "validation", "digest", measured)
    library.hash  # noqa: B018  (learning has it already)
    began = time.process_time()
    library.to_json()
    file = time.process_time() - began
    began = time.process_time()
    wall = seconds(lambda: tracker.log_version(version))
    return wall, time.process_time() - began, file


def megabytes_of_pages(folder: Path) -> tuple[float, float]:
    """The libraries' files, and all that is shown beside them."""
    files = megabytes(folder, "library.json")
    return files, megabytes(folder, "*") - files


def show(folder: Path, versions: int) -> None:
    """Start the pages, and print the median milliseconds of what they ask for."""
    command = [sys.executable, "-m", "flex_dspy.cli", "ui", "--tracking-uri", f"sqlite:///{folder}/mlflow.db"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    found = next((match for line in server.stdout if (match := re.search(r"http://[\d.:]+", line))), None)
    if found is None:  # on a busy machine it may not start in time; the versions are timed all the same
        print(f"  {versions} versions: MLflow's server did not start (exit code {server.wait()})", flush=True)
        return
    try:
        base = f"{found[0]}/ajax-api/2.0/mlflow"
        experiment = json.loads(ask(f"{base}/experiments/get-by-name?experiment_name={NAME}"))["experiment"]
        listed = f"{base}/logged-models/search"
        query = {"experiment_ids": [experiment["experiment_id"]], "max_results": 50}
        newest = json.loads(ask(listed, query))["models"][0]["info"]
        files = f"{base}/logged-models/{newest['model_id']}/artifacts/files?artifact_file_path="
        history = f"{base}/metrics/get-history-bulk-interval?run_ids={newest['source_run_id']}&max_results=320"
        asked: dict[str, tuple[str, Any]] = {
            "models list": (listed, query),
            "one version": (f"{base}/logged-models/{newest['model_id']}", None),
            "registered name": (f"{base}/registered-models/get?name={NAME}", None),
            "its versions": (f"{base}/model-versions/search?filter=name%3D%27{NAME}%27&max_results=25", None),
            "a chart": (f"{history}&metric_key=accuracy", None),
            "library.html": (f"{files}library.html", None),
            "diff.html": (f"{files}diff.html", None),
            "examples.csv": (f"{files}examples.csv", None),
        }
        for name, request in asked.items():
            each = statistics.median(seconds(lambda request=request: ask(*request)) for _ in range(9))  # type: ignore[misc]
            print(
                f"  {versions} versions, {name}: {each * 1000:.0f} ms, {len(ask(*request)) / 1000:.0f} kB", flush=True
            )
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def ask(address: str, body: Any = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(address, data, {"Content-Type": "application/json"})) as answer:
        return bytes(answer.read())


if __name__ == "__main__":
    sizes = [int(text) for text in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as here:
        log(Path(here), *(sizes + [VERSIONS, ENTRIES][len(sizes) :]))

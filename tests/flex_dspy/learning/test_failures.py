"""Failures: what is held back, what is kept, what is attempted and measured again."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import dspy
import pytest

from flex_dspy.cli import main
from flex_dspy.core.errors import LibraryFormatError, ModelError
from flex_dspy.core.examples import example_id
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.libraries.failures import Failure, FailureLog
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.programs import Actor
from flex_dspy.search.retrieval import ExperienceRetriever
from tests.llm_server import Fault, LLMServer
from tests.scripted import problems, right, student, write

pytestmark = pytest.mark.usefixtures("no_figures")

DOWN = Fault(0)
TRAIN, VAL = problems(24), problems(6, start=90)


@pytest.fixture
def server(llm_server: LLMServer) -> LLMServer:
    llm_server.script = student
    dspy.configure(lm=dspy.LM("openai/test", api_base=llm_server.url, api_key="none", cache=False, num_retries=0))
    return llm_server


def down(role, inputs, messages):
    return DOWN


def number_of(inputs: dict[str, str]) -> int:
    return int(re.search(r"Case (\d+)", inputs["problem"])[1])


def broken(*numbers: int, roles=("actor",)):
    """The student, but for some cases."""

    def script(role, inputs, messages):
        return DOWN if role in roles and number_of(inputs) in numbers else student(role, inputs, messages)

    return script


def actor() -> Actor:
    return Actor("problem -> answer: int", ExperienceRetriever(views=["lexical"]))


def learn(path: Path | None, train=TRAIN, val=VAL, **settings) -> ForwardLearning:
    defaults = {"max_rollouts": 1, "concurrency": 4, "window": 4, "checkpoint_every": 12, "progress": False}
    optimizer = ForwardLearning(right, library=path, **{**defaults, **settings})
    optimizer.error = None
    try:
        optimizer.compile(actor(), trainset=train, valset=val)
    except ModelError as error:
        optimizer.error = error
    return optimizer


def cases_of(path: Path) -> set[str]:
    return {precedent.problem for entry in LibraryStore(path).library for precedent in entry.precedents}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The library of a run in which nothing fails; several tests compare theirs with one of the same settings."""
    paths = {}

    def learned(**settings) -> Path:
        key = repr({"train": TRAIN, "val": VAL} | settings)
        if key not in paths:
            paths[key] = tmp_path_factory.mktemp("undisturbed") / "library.json"
            assert learn(paths[key], **settings).error is None
        return paths[key]

    return learned


def check_same(path: Path, other: Path) -> None:
    """The same library, byte for byte, and the same versions with the same accuracies."""
    assert path.read_bytes() == other.read_bytes()
    assert measured(path) == measured(other)


def measured(path: Path) -> list[tuple[int, str, list[float]]]:
    """Step, hash and numbers of each version."""
    lines = [json.loads(line) for line in path.with_suffix(".versions.jsonl").read_text().splitlines()]
    names = ("accuracy", "n", "errors")
    return [(line["step"], line["hash"], [line["metrics"].get(name, 0.0) for name in names]) for line in lines]


# -- outages -----------------------------------------------------------------------------------------------


# Each learns two or three times: with the longer runs that takes seconds. The quick tests keep the shorter ones.
@pytest.mark.parametrize("examples", [4, pytest.param(24, marks=pytest.mark.slow)])
@pytest.mark.parametrize("validation", [0, 6, 12])
def test_a_server_that_was_down_from_the_start_changes_nothing(server, tmp_path, undisturbed, examples, validation):
    settings = {"train": problems(examples), "val": problems(validation, start=90)}
    path = tmp_path / "library.json"
    server.script = down
    failed = learn(path, **settings)
    assert "all failed" in str(failed.error) or "examples failed" in str(failed.error)
    assert LibraryStore(path).library.seen == 0  # not one example counts as done
    if validation < 12:  # a validation set on which nothing works ends the run before the first example
        assert len(failed.failures) == min(examples, 10)

    server.script = student
    resumed = learn(path, **settings)
    assert (resumed.error, resumed.failures) == (None, [])
    assert [record.errors for record in resumed.versions] == [0] * len(resumed.versions)
    assert not list(tmp_path.glob("*.kept"))
    check_same(path, undisturbed(**settings))


# Each learns two or three times, which takes seconds: the quick tests keep one.
@pytest.mark.parametrize(
    "answered", [pytest.param(5, marks=pytest.mark.slow), 30, pytest.param(47, marks=pytest.mark.slow)]
)
def test_a_server_that_dies_on_the_way_changes_nothing_either(server, tmp_path, undisturbed, answered):
    path, asked = tmp_path / "library.json", []

    def dies(role, inputs, messages):
        asked.append(role)
        return DOWN if len(asked) > answered else student(role, inputs, messages)

    one_by_one = {"concurrency": 1, "window": 1}
    server.script = dies
    failed = learn(path, **one_by_one)
    assert re.search("does not work|all failed|all validation examples failed", str(failed.error))
    server.script = student
    assert learn(path, **one_by_one).failures == []
    check_same(path, undisturbed(**one_by_one))


def test_a_short_outage_before_a_version_is_waited_out(server, tmp_path, undisturbed):
    """The last examples before a stop are attempted once more, as no later one shows that the server is back."""
    path, times = tmp_path / "library.json", {}

    def script(role, inputs, messages):
        if role == "actor" and len(server.of("critic")) in (10, 11):
            times[inputs["problem"]] = times.get(inputs["problem"], 0) + 1
            if times[inputs["problem"]] == 1:
                return DOWN
        return student(role, inputs, messages)

    server.script = script
    one_by_one = {"concurrency": 1, "window": 1}
    learned = learn(path, **one_by_one)
    assert times
    assert (learned.error, learned.failures) == (None, [])
    server.script = student
    check_same(path, undisturbed(**one_by_one))


def test_unreadable_answers_do_not_stop_a_run_that_has_worked(server, tmp_path):
    def script(role, inputs, messages):
        return "hm" if role == "actor" and number_of(inputs) not in (90, *range(6)) else student(role, inputs, messages)

    server.script = script
    learned = learn(tmp_path / "library.json", val=[])
    assert learned.error is None
    assert len(learned.failures) == 18
    assert all("UnreadableAnswer" in failure.error for failure in learned.failures)


def test_an_updater_that_fails_while_edits_are_settled_fails_one_example(server, tmp_path):
    """Two examples of one window write the same lesson: the updater is asked again, and does not answer."""
    calls = []

    def script(role, inputs, messages):
        if role == "critic":
            return {"lesson": {"category": "all", "method": inputs["problem"], "rules": [{"text": "Do so."}]}}
        if role == "updater":
            calls.append(role)
            return DOWN
        return student(role, inputs, messages)

    server.script = script
    learned = learn(tmp_path / "library.json", train=problems(6), val=[], checkpoint_every=None)
    assert learned.error is None
    assert calls
    assert learned.failures
    assert len(cases_of(tmp_path / "library.json")) + len(learned.failures) == 6


# -- examples that failed ----------------------------------------------------------------------------------


def test_failures_survive_and_are_attempted_again(server, tmp_path):
    path = tmp_path / "library.json"
    server.script = broken(3, 17)
    first = learn(path)
    assert first.error is None
    assert {failure.example_id for failure in first.failures} == {example_id(TRAIN[3]), example_id(TRAIN[17])}
    assert len(cases_of(path)) == 22

    still = learn(path)  # still broken: nothing new is published
    assert [f.step for f in still.failures] == [f.step for f in first.failures]
    assert len(still.versions) == len(first.versions)

    server.script = student
    asked = len(server.requests)
    left = learn(path, retry_failed=False)
    assert len(left.failures) == 2
    assert len(server.requests) == asked

    whole = learn(path)
    assert whole.failures == []
    assert cases_of(path) == {example.problem for example in TRAIN}
    assert [record.step for record in whole.versions] == [0, 12, 24, 24]
    assert whole.versions[-1].parent == whole.versions[-2].hash
    asked = len(server.requests)
    assert learn(path).failures == []
    assert len(server.requests) == asked  # done


def test_a_second_attempt_is_made_before_the_last_version_of_a_resumed_run(server, tmp_path):
    """What failed before a kill, and after it, ends in the same library as in one go."""
    folders = [tmp_path / name / "library.json" for name in ("killed", "whole")]
    for path in folders:
        server.script = broken(3, 17)
        if path is folders[0]:
            with pytest.raises(KeyboardInterrupt):
                learn(path, tracker=_Stopping(12))
        learn(path)
        server.script = student
        learn(path)
    assert folders[0].read_bytes() == folders[1].read_bytes()


class _Stopping:
    """A tracker that ends the process, as it were, at a version."""

    def __init__(self, step: int) -> None:
        self.step = step

    def start(self, params) -> None: ...

    def log_version(self, version) -> None:
        if version.step == self.step:
            raise KeyboardInterrupt

    def finish(self, artifacts=()) -> None: ...


def test_a_kill_between_the_commit_and_the_log_learns_nothing_twice(server, tmp_path, monkeypatch):
    path = tmp_path / "library.json"
    server.script = broken(3)
    learn(path)
    server.script = student

    def killed(log, step):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FailureLog, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            learn(path)
    before = LibraryStore(path).library
    assert len(cases_of(path)) == 24
    assert learn(path).failures == []
    assert LibraryStore(path).library.hash == before.hash


def test_a_kill_before_the_new_version_is_published_again(server, tmp_path):
    path = tmp_path / "library.json"
    server.script = broken(3)
    learn(path)
    server.script = student
    with pytest.raises(KeyboardInterrupt):
        learn(path, tracker=_Stopping(24))
    whole = learn(path)
    assert [record.step for record in whole.versions] == [0, 12, 24, 24]
    assert whole.versions[-1].hash == LibraryStore(path).library.hash == ExperienceLibrary.load(path).hash


def test_a_store_that_was_used_goes_on_too(server, tmp_path):
    store = LibraryStore(tmp_path / "library.json")
    server.script = lambda *call: DOWN if len(server.requests) > 40 else student(*call)
    assert "does not work" in str(learn(store, val=[]).error)
    server.script = student
    resumed = learn(store, val=[])
    assert (resumed.error, len(cases_of(store.path)) + len(resumed.failures)) == (None, 24)


def test_the_log_of_failures(tmp_path):
    path = tmp_path / "library.json"
    log = FailureLog(path, "a")
    log.add([Failure("x", "late", 3), Failure("y", "late", 1)])
    FailureLog(path, "b").add([Failure("z", "late", 2)])
    log = FailureLog(path, "a")
    assert [failure.step for failure in log.standing] == [1, 3]
    log.add([Failure("y", "later", 1)])
    log.reconcile(done=2, retried=0)
    assert FailureLog(path, "a").standing == [Failure("y", "later", 1)]
    assert [failure.example_id for failure in FailureLog(path, "b").standing] == ["z"]
    log.reconcile(done=2, retried=1)
    assert FailureLog(path, "a").standing == []
    path.with_suffix(".failures.jsonl").write_text('{"step": "three"}\n')
    with pytest.raises(LibraryFormatError, match="line 1"):
        FailureLog(path, "a")


# -- versions that were measured with errors ---------------------------------------------------------------


def test_a_version_measured_with_errors_says_so_and_is_measured_again(server, tmp_path, undisturbed, capsys):
    path = tmp_path / "library.json"
    server.script = broken(91, 93)
    first = learn(path)
    assert [record.errors for record in first.versions] == [2, 2, 2]
    assert re.search(r"accuracy \d+\.\d% \[.*\] on 6, 2 errors$", first.versions[0].text())
    assert main(["library", "versions", str(path)]) == 0
    assert capsys.readouterr().out.count("on 6, 2 errors") == 3
    assert "2 errors" in first.versions._repr_html_()
    assert len(list(tmp_path.glob("library.version-*.kept"))) == 3

    asked = len(server.requests)
    assert [record.errors for record in learn(path, retry_failed=False).versions] == [2, 2, 2]
    assert len(server.requests) == asked

    server.script = student
    again = learn(path)
    assert [record.errors for record in again.versions] == [0, 0, 0]
    assert [record.hash for record in again.versions] == [record.hash for record in first.versions]
    assert "error" not in repr(again.versions)
    assert not list(tmp_path.glob("*.kept"))
    check_same(path, undisturbed())


# -- a run that is killed, with a server that dies ---------------------------------------------------------


def command(folder: Path, url: str) -> list[str]:
    given = {"train": folder / "train.jsonl", "val": folder / "val.jsonl", "out": folder / "run", "rollouts": 1}
    given |= {"concurrency": 4, "window": 8, "checkpoint-every": 20, "retries": 0, "api-base": url, "lm": "openai/test"}
    options = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    return [sys.executable, "-m", "flex_dspy.cli", "learn", "aime", *options, "--no-tracking", "--quiet"]


@pytest.mark.slow
def test_the_server_dies_and_the_run_is_killed(tmp_path):
    """Every example ends as a result or in the log of failures, and no version hides an error."""
    write(problems(40), tmp_path / "train.jsonl")
    write(problems(6, start=90), tmp_path / "val.jsonl")
    path, said = tmp_path / "run" / "library.json", tmp_path / "said.txt"
    environment = os.environ | {"DSPY_CACHEDIR": str(tmp_path / "cache"), "API_KEY": "none"}
    with LLMServer(student, latency=lambda digest, times: 0.02) as server:

        def start() -> subprocess.Popen[bytes]:
            with said.open("ab") as file:
                return subprocess.Popen(command(tmp_path, server.url), env=environment, stdout=file, stderr=file)

        def wait_for_lessons(count: int, process: subprocess.Popen[bytes]) -> None:
            while process.poll() is None and len(server.of("critic")) < count:
                time.sleep(0.01)
            assert process.poll() is None, said.read_text()

        process = start()
        wait_for_lessons(12, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = start()
        wait_for_lessons(24, process)
        server.script = down
        assert process.wait() == 1, said.read_text()
        assert "the same call goes on where it stood" in said.read_text()
        server.script = student
        assert start().wait() == 0, said.read_text()
    run = json.loads((tmp_path / "run" / "run.json").read_text())["run"]
    failed = FailureLog(path, run).standing
    assert len(cases_of(path)) + len(failed) == 40
    assert failed == []  # what a later success had passed over was attempted again
    lines = [json.loads(line) for line in path.with_suffix(".versions.jsonl").read_text().splitlines()]
    assert {line["step"] for line in lines} == {0, 20, 40}
    assert [line["metrics"]["errors"] for line in lines] == [0.0] * len(lines)
    assert ExperienceLibrary.load(path).hash == lines[-1]["hash"]

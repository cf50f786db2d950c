"""Runs that end early, and go on."""

import os
import signal
import threading
import time

import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.learning.events import EditCommitted, ExampleStarted, RunEnded, RunStarted, VersionPublished
from flex_dspy.learning.stop_rules import OnSignal, deadline, file_appears, no_improvement, target
from flex_dspy.learning.version import VersionRecord
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore
from tests.flex_dspy.learning.scripted_roles import FamilyCritic, study

pytestmark = pytest.mark.usefixtures("no_figures")

START = RunStarted("r")
END = RunEnded("r", ExperienceLibrary())


def published(step: int, accuracy: float | None) -> VersionPublished:
    metrics = {} if accuracy is None else {"accuracy": accuracy}
    return VersionPublished("r", None, VersionRecord.of("r", step, ExperienceLibrary(), metrics))


def commits(count: int):
    """Stops when so many examples were committed in a call."""
    seen = []

    def rule(event):
        seen.extend([event] if isinstance(event, EditCommitted) else [])
        return len(seen) >= count

    return rule


@pytest.mark.parametrize("count", [1, 4, 15, 16])
def test_a_run_that_is_stopped_again_and_again_learns_the_same_library(tmp_path, count):
    path, whole = tmp_path / "library.json", tmp_path / "whole" / "library.json"
    study(library=whole)
    for _ in range(80):
        if not study(library=path, stop=[commits(count)], concurrency=3).stopped:
            break
    assert path.read_bytes() == whole.read_bytes()
    assert path.with_suffix(".versions.jsonl").read_bytes() == whole.with_suffix(".versions.jsonl").read_bytes()


def test_a_stop_before_the_second_attempts_leaves_the_last_version_to_the_next_call(tmp_path):
    def reaching(step):
        return lambda event: isinstance(event, EditCommitted) and event.step >= step

    written = []
    for name, rules in (("stopped", [[reaching(20)], []]), ("whole", [[]])):
        path = tmp_path / name / "library.json"
        first = study(20, library=path, stop=[reaching(10)], critic=FamilyCritic(fails_on=(0, 1, 2, 3)))
        assert first.failures
        for rule in rules:
            last = study(20, library=path, stop=rule)
        assert (last.failures, [record.step for record in last.versions]) == ([], [0, 15, 20])
        written.append((path.read_bytes(), LibraryStore(path).library.runs))
    assert written[0] == written[1]


def test_a_stopped_run_says_why_and_publishes_what_is_due(tmp_path):
    ended = []
    stopped = study(library=tmp_path / "library.json", stop=[commits(15)], concurrency=1, listeners=[ended.append])
    assert [record.step for record in stopped.versions] == [0, 15]
    assert ended[-1].reason == stopped.stopped != ""
    assert LibraryStore(tmp_path / "library.json").library.seen == 15


def test_no_improvement():
    rule = no_improvement(2)
    scores = [(0, 0.1), (10, 0.3), (20, None), (30, 0.3), (40, 0.2)]
    said = [rule(published(*each)) for each in scores]
    assert said[:-1] == [""] * 4
    assert "has not improved for 2 versions" in said[-1]
    better = no_improvement(2)
    assert not any(better(published(step, step / 100)) for step in range(5))
    with pytest.raises(ConfigurationError, match="at least 1"):
        no_improvement(0)


def test_target():
    rule = target(0.5)
    assert [bool(rule(published(step, score))) for step, score in ((0, 0.4), (1, None), (2, 0.5))] == [0, 0, 1]


def test_deadline(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    rule = deadline(10)
    assert [rule(ExampleStarted("r", 1, "a")), rule(START)] == ["", ""]
    now[0] = 10.0
    assert "10 s" in rule(ExampleStarted("r", 1, "a"))


def test_file_appears(tmp_path):
    rule = file_appears(tmp_path / "STOP")
    assert rule(START) == ""
    (tmp_path / "STOP").touch()
    assert "STOP is there" in rule(START)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_signal_and_the_handler_that_was_there_before():
    before = signal.getsignal(signal.SIGUSR1)
    rule = OnSignal(signal.SIGUSR1)
    assert rule(START) == ""
    os.kill(os.getpid(), signal.SIGUSR1)
    assert "SIGUSR1" in rule(ExampleStarted("r", 1, "a"))
    rule(END)
    assert signal.getsignal(signal.SIGUSR1) is before


def test_signals_are_for_the_main_thread():
    failures = []

    def begin():
        try:
            OnSignal()(START)
        except ConfigurationError as error:
            failures.append(str(error))

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    assert "main thread" in failures[0]

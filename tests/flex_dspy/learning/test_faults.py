"""Learning from a server that fails every third time, in every way that servers fail, and in killed processes."""

import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import dspy
import pytest
from tenacity import wait_fixed

from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.libraries.experience import Commit, Discard
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.models.lm import language_model
from flex_dspy.programs import Actor
from flex_dspy.search.retrieval import ExperienceRetriever
from tests.llm_faults import KINDS, Faults, Latency
from tests.llm_server import LLMServer, Received
from tests.scripted import lesson, problems, right, student, write

CONCURRENCY = 32


@pytest.fixture
def server():
    with LLMServer(student, faults=Faults(0.3, seed=1), latency=Latency(median=0.01)) as running:
        yield running


def cases_of(library: ExperienceLibrary) -> set[str]:
    """The problems that a library was learned from."""
    return {precedent.problem for entry in library for precedent in entry.precedents}


def repeated(requests: Sequence[Received]) -> list[tuple[Received, Received]]:
    """Requests made again after they had been given a usable answer, each with the answered one."""
    answered: dict[str, Received] = {}
    again = []
    for request in requests:
        first = answered.get(request.digest)
        if first is not None and request.at > first.at + first.seconds:
            again.append((first, request))
        elif request.usable:
            answered[request.digest] = request
    return again


@pytest.mark.slow
def test_two_hundred_problems_through_every_kind_of_fault(server, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("API_KEY", "none")
    monkeypatch.setattr("flex_dspy.models.lm.BACKOFF", wait_fixed(0.05))
    caplog.set_level(logging.INFO, "flex_dspy")
    dspy.configure_cache(disk_cache_dir=str(tmp_path / "cache"))
    commits: list[Commit] = []
    commit = LibraryStore.commit

    def noted(store: LibraryStore, new: Sequence[Commit]) -> ExperienceLibrary:
        commits.extend(new)
        return commit(store, new)

    monkeypatch.setattr(LibraryStore, "commit", noted)
    lm = language_model("openai/test", api_base=server.url, timeout=1.0, retries=6)
    train, path = problems(200), tmp_path / "library.json"
    with dspy.context(lm=lm):
        settings = {"max_rollouts": 1, "concurrency": CONCURRENCY, "window": 200, "checkpoint_every": 200}
        optimizer = ForwardLearning(right, library=path, progress=False, **settings)
        student_actor = Actor("problem -> answer: int", ExperienceRetriever(views=["lexical"]))
        learned = optimizer.compile(student_actor, trainset=train)

    assert {request.fault for request in server.requests} == {"", *KINDS}
    assert [made.step for made in commits] == list(range(1, 201))

    # Each example is a result or a failure that was reported.
    without = [made for made in commits if not made.edits]
    reported = [r for r in caplog.records if r.message.startswith(("an example was passed", "a rollout ended"))]
    assert len(without) <= len(reported) < 40

    # Nothing that was committed is missing, on the disk or in memory.
    known = [edit.experience for made in commits for edit in made.edits if not isinstance(edit, Discard)]
    library = ExperienceLibrary.load(path)
    assert cases_of(library) == {precedent.problem for new in known for precedent in new.precedents}
    assert len(cases_of(library)) == 200 - len(without)
    assert library.hash == LibraryStore(path).library.hash == learned.retriever.library.hash
    assert repeated(server.requests) == []


def test_what_was_cut_short_is_not_learned(server, monkeypatch):
    """DSPy mends JSON that ends in the middle of a word; a lesson made of that would be kept for ever."""
    monkeypatch.setenv("API_KEY", "none")
    server.faults = Faults(0.35, kinds=["length"])
    with dspy.context(lm=language_model("openai/test", api_base=server.url)):
        optimizer = ForwardLearning(right, max_rollouts=1, window=40, progress=False)
        library = optimizer.compile(Actor("problem -> answer: int"), trainset=problems(40)).retriever.library
    assert any(request.fault == "length" for request in server.of("critic"))
    assert len(cases_of(library)) > 30
    written = [lesson(number) for number in range(40)]
    assert {entry.method for entry in library} <= {whole["method"] for whole in written}
    assert {rule.text for entry in library for rule in entry.rules} <= {r["text"] for w in written for r in w["rules"]}


def learning(folder: Path, url: str) -> subprocess.Popen[bytes]:
    """``flex-dspy learn`` in a process of its own, with a cache of its own."""
    command = [sys.executable, "-m", "flex_dspy.cli", "learn", "aime", "--lm", "openai/test", "--api-base", url]
    options = {"train": folder / "train.jsonl", "val": folder / "val.jsonl", "out": folder / "run", "rollouts": 1}
    options |= {"concurrency": CONCURRENCY, "window": 200, "checkpoint-every": 100, "timeout": 1, "retries": 6}
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    settings = {"DSPY_CACHEDIR": str(folder / "cache"), "API_KEY": "none"}
    said = (folder / "said.txt").open("ab")
    with said:
        return subprocess.Popen(
            [*command, *given, "--no-tracking", "--quiet"], env=os.environ | settings, stdout=said, stderr=said
        )


@pytest.mark.slow
@pytest.mark.weekly
def test_killed_three_times_and_finished(server, tmp_path):
    """Whatever was committed before a kill is there at the end, and no answer that was kept is asked for again."""
    write(problems(200), tmp_path / "train.jsonl")
    write(problems(8, start=1_000), tmp_path / "val.jsonl")
    path = tmp_path / "run" / "library.json"
    chance, kills, before = random.Random(0), [], set()
    process = learning(tmp_path, server.url)
    for goal in (20, 70, 120):
        while process.poll() is None and sum(request.usable for request in server.of("critic")) < goal:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.4))
        assert process.poll() is None, (tmp_path / "said.txt").read_text()
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills.append(time.monotonic())
        library = LibraryStore(path).library
        assert before <= cases_of(library)
        before = cases_of(library)
        assert len(before) > 0
        process = learning(tmp_path, server.url)
    assert process.wait(240) == 0, (tmp_path / "said.txt").read_text()

    library = ExperienceLibrary.load(path)
    assert before < cases_of(library)
    learned = {run: steps for run, steps in library.runs.items() if not run.endswith(" again")}
    assert list(learned.values()) == [200]
    assert 200 <= library.seen < 220  # a few failed, and were attempted again
    assert not path.with_name("library.journal.jsonl").exists() or LibraryStore(path).library.hash == library.hash
    again = repeated(server.requests)
    for first, _ in again:  # an answer that was under way, or not written down yet, when the process was killed
        assert any(first.at < kill < first.at + first.seconds + 3 for kill in kills)
    assert len(again) <= CONCURRENCY * len(kills)

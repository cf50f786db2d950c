"""A real cluster on 127.0.0.1: the results of one process, whatever happens to workers and drivers."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dspy
import pytest

from flex_dspy import ExperienceLibrary, ForwardLearning, evaluate, get_task, language_model
from flex_dspy.cli import main
from flex_dspy.core.errors import BudgetError, ConfigurationError
from flex_dspy.evaluation.value import value
from flex_dspy.learning.events import EditCommitted
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.models.limits import Limits
from flex_dspy.models.spending import Ledger
from flex_dspy.offline.experts import BREADTH
from flex_dspy.offline.worker_process import Worker
from tests import scripted
from tests.flex_dspy.learning.scripted_roles import study

pytest.importorskip("distributed")

from distributed import Client, LocalCluster
from distributed.security import Security

from flex_dspy.cluster.executor import DaskExecutor

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_figures", "experts")]

EXPS = Path(__file__).parents[3] / "exps"


LOOPBACK = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "silence_logs": logging.ERROR}


@pytest.fixture(scope="module")
def cluster() -> Iterator[DaskExecutor]:
    """Three workers, in whose environment is the key of the scripted server."""
    options = {"n_workers": 3, "threads_per_worker": 4, "memory_limit": 0, "env": {"API_KEY": "test-key"}, **LOOPBACK}
    options["preload"] = str(Path(__file__).with_name("one_expert.py"))
    with LocalCluster(**options) as workers, workers.get_client() as client, DaskExecutor(client) as executor:
        yield executor


@pytest.fixture(scope="module")
def experts() -> Iterator[None]:
    """One process for each offline expert of this process: to start it takes a second."""

    class Shared(Worker):
        def close(self) -> None:
            """Go on: other tests ask it too."""

    made: dict[str, Shared] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flex_dspy.offline.engine.count_cores", lambda: 1)
        patch.setattr(
            "flex_dspy.offline.engine.Worker",
            lambda expert: made.get(expert) or made.setdefault(expert, Shared(expert)),
        )
        yield
    for each in made.values():
        Worker.close(each)


@pytest.fixture
def model(llm_server, monkeypatch) -> dspy.LM:
    """The scripted server's model, which all workers ask."""
    monkeypatch.setenv("API_KEY", "test-key")
    llm_server.script = scripted.student
    return language_model("openai/test", api_base=llm_server.url, cache=False, limits=Limits())


def learn(task_name: str, count: int, executor: DaskExecutor | None, listeners=()) -> list[str]:
    """Hashes of the versions that are learned from so many of a task's examples."""
    task = get_task(task_name)
    options = {"max_rollouts": 1, "progress": False, "executor": executor, "listeners": listeners, "window": 12}
    optimizer = ForwardLearning(task.metric, key=task.key, **options)
    with dspy.context(lm=language_model("offline", expert=task.expert)):
        for role in (optimizer.critic, optimizer.updater, optimizer.verifier):
            role.set_lm(dspy.settings.lm)
        actor = task.actor(lm=dspy.settings.lm, **BREADTH)
        optimizer.compile(actor, trainset=task.load("train").examples[:count])
    return [record.hash for record in optimizer.versions]


def test_a_worker_that_is_killed_and_one_that_is_added_change_nothing(cluster) -> None:
    def disturb(event: object) -> None:
        if isinstance(event, EditCommitted) and event.step == 8:
            (pid, *_) = cluster.client.run(os.getpid).values()
            os.kill(pid, signal.SIGKILL)
        if isinstance(event, EditCommitted) and event.step == 16:
            cluster.client.cluster.scale(4)

    assert learn("uspto50k", 40, cluster, [disturb]) == learn("uspto50k", 40, None)
    cluster.client.cluster.scale(3)


def test_problems_are_learned_likewise(cluster) -> None:
    assert learn("aime", 24, cluster) == learn("aime", 24, None)


def test_a_driver_that_is_killed_leaves_no_process_and_is_resumed_to_the_same_bytes(cluster, tmp_path) -> None:
    command = ["learn", "retro", "--study", "--train-samples", "60", "--val-samples", "4", "--checkpoint-every", "60"]
    command += ["--no-tracking", "--quiet", "--window", "4", "--out"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    out = tmp_path / "killed"
    driver = subprocess.Popen([sys.executable, "-m", "flex_dspy.cli", *command, str(out), "--cluster", "local:2"])
    journal = out / "library.journal.jsonl"
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 10):
        assert driver.poll() is None
        time.sleep(0.02)
    children = _descendants(driver.pid)
    driver.kill()
    driver.wait()
    assert len(children) > 2
    while any(map(_is_running, children)):
        time.sleep(0.05)
    assert 0 < LibraryStore(out / "library.json").library.seen < 60
    assert main([*command, str(out), "--cluster", cluster.client.scheduler.address]) == 0
    assert (out / "library.json").read_bytes() == (tmp_path / "whole" / "library.json").read_bytes()


def _descendants(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in found.splitlines()]
    ids = {pid}
    for _ in range(5):
        ids |= {child for child, parent in pairs if parent in ids}
    return sorted(ids - {pid})


def _is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_records_are_the_same_in_the_same_order(cluster) -> None:
    task, library = get_task("uspto50k"), ExperienceLibrary.load(EXPS / "uspto50k.json")
    examples = task.load("test").examples[:40]
    with dspy.context(lm=language_model("offline", expert=task.expert)):
        given = (task.actor(lm=dspy.settings.lm), examples, task.metric)
        options = {"library": library, "measures": task.measures, "normalize": task.normalize, "progress": False}
        here, there = (evaluate(*given, executor=executor, **options) for executor in (None, cluster))
    strip = [[replace(record, seconds=0.0) for record in each.records] for each in (here, there)]
    assert strip[0] == strip[1]
    assert 0.5 < here.accuracy < 1


def test_the_value_of_entries_is_the_same(cluster) -> None:
    task, library = get_task("aime"), ExperienceLibrary.load(EXPS / "aime.json")
    examples = task.load("val").examples[:6]
    with dspy.context(lm=language_model("offline", expert=task.expert)):
        given = (task.actor(lm=dspy.settings.lm, **BREADTH), examples, task.metric, library)
        here, there = (value(*given, budget=30, progress=False, executor=executor) for executor in (None, cluster))
    assert here == there
    assert any(each.pairs for each in here.values())


# -- language models ---------------------------------------------------------------------------------------


def learn_with(model: dspy.LM, executor: DaskExecutor | None, count: int = 12, **options) -> ForwardLearning:
    program = dspy.ChainOfThought("problem -> answer: int")
    with dspy.context(lm=model):
        optimizer = ForwardLearning(scripted.right, executor=executor, progress=False, window=6, **options)
        optimizer.compile(program, trainset=scripted.problems(count))
    return optimizer


def test_tokens_that_workers_take_are_charged_here(cluster, llm_server, model, tmp_path) -> None:
    here, there = (learn_with(model, executor, ledger=Ledger()) for executor in (None, cluster))
    assert [each.hash for each in here.versions] == [each.hash for each in there.versions]
    assert here.ledger.by_role == there.ledger.by_role
    assert {request.headers["authorization"] for request in llm_server.requests} == {"Bearer test-key"}
    assert there.ledger.total.tokens > 1_000


def test_requests_a_minute_are_those_of_all_workers_together(cluster, llm_server, model) -> None:
    model.limits = Limits(requests_per_minute=600)  # ten at once, then one each tenth of a second
    program = dspy.Predict("problem -> answer: int")
    program.set_lm(model)
    examples = scripted.problems(28)
    start = time.monotonic()
    evaluate(program, examples, scripted.right, executor=cluster, concurrency=28, progress=False)
    assert len(llm_server.requests) == len(examples)
    assert (
        max(request.at for request in llm_server.requests) - start > 1.6
    )  # three limiters would let all start at once


def test_a_budget_is_that_of_all_workers_together(cluster, llm_server, model) -> None:
    program = dspy.Predict("problem -> answer: int")
    program.set_lm(model)
    evaluate(program, scripted.problems(1), scripted.right, progress=False)
    each = llm_server.usage["all"].prompt_tokens + llm_server.usage["all"].completion_tokens
    ledger = Ledger(budget_tokens=12 * each)
    options = {"executor": cluster, "ledger": ledger, "concurrency": 6, "progress": False}
    with pytest.raises(BudgetError, match="is spent"):
        evaluate(program, scripted.problems(60, start=1), scripted.right, **options)
    assert 11 < len(llm_server.requests) - 1 < 12 + 6 + 2  # at most those under way are over it
    assert ledger.total.calls == len(llm_server.requests) - 1


def test_a_program_that_a_worker_cannot_import_is_said(cluster) -> None:
    module = types.ModuleType("only_here")
    exec("async def call(example, library): ...", module.__dict__)
    sys.modules["only_here"] = module
    try:
        with pytest.raises(ConfigurationError, match=r"cannot unpack .* No module named 'only_here'.*upload_file"):
            asyncio.run(cluster.run(module.call, None, ExperienceLibrary()))
    finally:
        del sys.modules["only_here"]


def test_an_encrypted_cluster_does_the_same() -> None:
    security = Security.temporary()
    options = {"processes": False, "protocol": "tls://", "security": security, **LOOPBACK}
    with LocalCluster(n_workers=1, threads_per_worker=2, **options) as encrypted:
        with pytest.raises((OSError, TypeError)), Client(encrypted.scheduler_address, timeout="2s"):
            pass
        with Client(encrypted, security=security, set_as_default=False) as client, DaskExecutor(client) as executor:
            assert client.scheduler.address.startswith("tls://")
            there, here = (study(20, executor=each).versions[-1].hash for each in (executor, None))
    assert there == here

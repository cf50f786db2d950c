"""The shipped tasks learned on a cluster whose workers and drivers die: the hashes must be those of one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dspy

from flex_dspy import LibraryStore, get_task
from flex_dspy.cluster.executor import DaskExecutor
from flex_dspy.commands.actions import learn, roles
from flex_dspy.commands.options.learn import LearnOptions
from flex_dspy.learning.events import EditCommitted
from flex_dspy.models.lm import close

SCENARIOS = ("plain", "worker killed", "worker added", "driver killed", "all of it")
HASHES = {"uspto50k": "cd931a42c97c", "aime": "22a19ec09d44"}


def learn_demo(task_name: str, path: Path, cluster: DaskExecutor | None, listener: Callable[[object], None]) -> str:
    """The run of ``flex-dspy learn TASK --seed 0`` without validation, which changes no hash."""
    task, options = get_task(task_name), LearnOptions()
    lms = roles.models(options.models, options.teachers, task=task)
    with dspy.context(lm=lms["actor"]):
        setting = learn._prepare(options, task, lms)
        optimizer = setting.optimizer
        optimizer.settings = optimizer.settings.with_options(progress=False)
        optimizer.library, optimizer.executor, optimizer.listeners = path, cluster, [listener]
        optimizer.compile(setting.actor, trainset=setting.train.examples)
    close(lms["actor"])
    return optimizer.versions[-1].hash


def disturbance(name: str, cluster: DaskExecutor) -> Callable[[object], None]:
    """A listener that kills a worker and adds one while the run learns, as the scenario says."""

    def disturb(event: object) -> None:
        if not isinstance(event, EditCommitted):
            return
        if event.step == 100 and name in ("worker killed", "all of it"):
            os.kill(next(iter(cluster.client.run(os.getpid).values())), signal.SIGKILL)
        if event.step == 120 and name in ("worker added", "all of it"):
            cluster.client.cluster.scale(len(cluster.client.cluster.workers) + 1)

    return disturb


def kill_driver(task: str, path: Path, address: str) -> int:
    """Start the run in another process, and kill that after 70 commits. Returns how many there are."""
    code = f"from tests.cluster_demos import drive; drive({task!r}, {str(path)!r}, {address!r})"
    driver = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[1])
    while LibraryStore(path).library.seen < 70 and driver.poll() is None:
        time.sleep(0.2)
    driver.kill()
    driver.wait()
    return LibraryStore(path).library.seen


def drive(task: str, path: str, address: str) -> None:
    """The run, in a process of its own."""
    with DaskExecutor(address) as cluster:
        learn_demo(task, Path(path), cluster, lambda event: None)

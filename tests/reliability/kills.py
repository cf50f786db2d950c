"""A learning process that is killed again and again: what it acknowledged is learned from once, at the end."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import signal
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

import dspy

from flex_dspy.learning.online import OnlineLearner
from flex_dspy.libraries.experience import Experience, Insert
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs import Critic, Updater

PAUSE = 0.03  # seconds, at most, from an acknowledgement to the kill


class WritingCritic(Critic):
    """One lesson a case."""

    async def aforward(self, precedent, trajectory=None):
        return dspy.Prediction(experience=Experience("golden", f"On {precedent.problem}", precedents=(precedent,)))


class InsertingUpdater(Updater):
    """Inserts."""

    async def aforward(self, lesson, nearest):
        return dspy.Prediction(edit=Insert(lesson))


def processes() -> ForkServerContext:
    """Children are forked from a process that has imported this module: a kill costs milliseconds, not an import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.reliability.kills"])
    return context


def learner(path: Path) -> OnlineLearner:
    program = dspy.Predict("problem -> answer")
    return OnlineLearner(program, library=path, critic=WritingCritic(), updater=InsertingUpdater(), publish_every=7)


def observe_for_ever(path: Path, start: int, said: Connection) -> None:
    """Observe, and say each number that was acknowledged."""
    online, number = learner(path), start
    while True:
        online.observe({"problem": f"Case {number}"}, {"answer": "x"}, True, id=f"case {number}")
        said.send(number)
        number += 1


def numbers(library: ExperienceLibrary) -> list[int]:
    """The cases that a library was learned from, as often as they were."""
    problems = (precedent.problem for entry in library for precedent in entry.precedents)
    return sorted(int(re.search(r"\d+", problem)[0]) for problem in problems)


def kill_one(path: Path, start: int, rng: random.Random, context: ForkServerContext) -> int:
    """Start a learner, let it acknowledge some cases from this one on, and kill it; the case that comes next."""
    said, telling = context.Pipe(duplex=False)
    child = context.Process(target=observe_for_ever, args=(path, start, telling), daemon=True)
    child.start()
    telling.close()
    last = start - 1
    for _ in range(rng.randrange(1, 12)):
        assert said.poll(60), "the learner says nothing"
        last = said.recv()
    pause = rng.random() * PAUSE
    while said.poll(pause):
        last = said.recv()
        pause = max(0.0, pause - 0.002)
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    try:
        while said.poll():
            last = said.recv()
    except (EOFError, OSError):
        pass
    return last + 1  # this one may be on the disk: its id says so


def check(path: Path, acknowledged: int) -> None:
    """Learn from what was left: each case is there once."""
    with learner(path) as online:
        online.flush(60)
        found = numbers(online.library)
    assert found in (list(range(acknowledged)), list(range(acknowledged + 1))), found

"""Workers without a cluster: the project's own dispatcher and worker code, with a transport that is unreliable."""

from __future__ import annotations

import asyncio
import random

import cloudpickle

from flex_dspy.cluster.dispatch import Dispatcher
from flex_dspy.cluster.messages import Answer
from flex_dspy.cluster.packing import Keys, pack
from flex_dspy.cluster.worker import Site
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs.executors import MAX_LOSSES, AttemptLostError


class FakeWorkers:
    """An executor: calls go to any of some workers, as bytes, late, twice or into the void.

    Attributes:
        sent: Everything that crossed, as bytes.
        unlike: Snapshots of a replica that differ from the driver's.
    """

    def __init__(self, seed: int = 0, workers: int = 3) -> None:
        self.chance = random.Random(seed)
        self.sites = {f"worker{number}": Site() for number in range(workers)}
        self.dispatcher = Dispatcher(self)
        self.keys = Keys("driver")
        self.packed = {}
        self.losses = {}
        self.sent: list[bytes] = []
        self.unlike: list[int] = []
        self.hashes: dict[int, str] = {}

    async def run(self, call, example, library):
        packed = self.packed.setdefault(id(call), (call, pack(call, self.keys)))[1]
        self.hashes[library.seen] = library.hash
        self.example = example
        with self.dispatcher.line(library) as line:
            answer = await self.dispatcher.call(packed, line, library, cloudpickle.dumps(example))
        if answer.error is not None:
            raise answer.error
        return answer.result

    async def submit(self, call, preferred):
        await self._delay()
        name = self.chance.choice([preferred or "worker0", *self.sites])
        self._lose(call.example)
        reply = await self._make(name, self._cross(call))
        if self.chance.random() < 0.2:  # the call is made twice, and either answer is given
            reply = await self._make(name, self._cross(call))
        await self._delay()
        return self._cross(reply)

    async def feed(self, worker, feed):
        if self.chance.random() < 0.1:  # a worker that was restarted
            self.sites[worker] = Site()
        self.sites[worker].feed(self._cross(feed))

    async def _make(self, name, call):
        site = self.sites[name]
        found = site.find(call)
        if found is None:
            return site.gap(call.place, call.work, name)
        function, _, snapshot, newest = found
        if snapshot.hash != self.hashes[snapshot.seen]:
            self.unlike.append(snapshot.seen)
        return Answer(name, newest, await function(cloudpickle.loads(call.example), snapshot), None, ())

    def _lose(self, example):
        if self.chance.random() < 0.1 and self.losses.get(example, 0) < MAX_LOSSES - 1:
            self.losses[example] = self.losses.get(example, 0) + 1
            raise AttemptLostError("the worker died")

    def _cross(self, message):
        self.sent.append(cloudpickle.dumps(message))
        return cloudpickle.loads(self.sent[-1])

    async def _delay(self):
        for _ in range(self.chance.randrange(8)):
            await asyncio.sleep(0)


def empty() -> ExperienceLibrary:
    return ExperienceLibrary(task="numbers")

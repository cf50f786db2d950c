"""How near a run comes to the shortest that its models' answers allow: ``python -m tests.benchmarks.bench_efficiency``.

A scripted model in a process of its own answers after 0.5 to 2 s (lognormal). Half of the problems are solved at once
(three calls: actor, critic, updater), half in a second round (five calls); every lesson is another one. Columns:

- ``ideal``: what the same answers would take if nothing else took any time: each example's answers one after the other,
  the next example begun as soon as one of the places is free.
- ``cpu``: processor milliseconds of the learning process a call, DSPy and the HTTP client included.

``batches`` is the FLEX release's way with the same models and roles: batches of twenty; all attempts, then all
lessons, then an updater that decides on one after the other and is shown every entry of the zone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import heapq
import json
import os
import pstats
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.llm_faults import Latency
from tests.llm_server import LLMServer, Received

LATENCY = Latency(median=0.95, sigma=0.4, low=0.5, high=2.0)
BATCH = 20  # problems of a batch, as in the FLEX release's configuration


# -- the model ---------------------------------------------------------------------------------------------


def serve() -> None:
    """Answer until the standard input ends; a line on it asks for what has happened so far."""
    from tests.scripted import student

    def script(role: str, inputs: dict[str, str], messages: list[dict[str, str]]) -> dict[str, Any]:
        distinct = {"decision": {"action": "insert", "reason": "It is new."}}
        return distinct if role == "updater" else student(role, inputs, messages)

    told, began = 0, time.process_time()
    with LLMServer(script, latency=LATENCY) as server:
        print(server.url, flush=True)
        for _ in sys.stdin:
            calls = [(example_of(request), request.seconds, request.usage[0]) for request in server.requests[told:]]
            told += len(calls)
            cpu = (time.process_time() - began) / max(len(server.requests), 1)
            print(json.dumps({"cpu": cpu, "in flight": server.most_in_flight, "calls": calls}), flush=True)


def example_of(request: Received) -> int:
    """The number of the problem that a request is about."""
    found = re.search(r"[Cc]ase (\d+)", request.inputs.get("problem") or request.inputs["new_lesson"])
    assert found
    return int(found[1])


# -- what is measured --------------------------------------------------------------------------------------


def actor(model: Any) -> Any:
    from flex_dspy import Actor, ExperienceRetriever

    program = Actor("problem -> answer: int", ExperienceRetriever(views=["lexical"]))
    program.set_lm(model)
    return program


def forward_learning(**settings: Any) -> Callable[[Any, list[Any], Path], None]:
    def run(model: Any, train: list[Any], folder: Path) -> None:
        import dspy

        from flex_dspy import ForwardLearning
        from tests.scripted import right

        given = {"checkpoint_every": len(train), **settings} if settings else {}
        with dspy.context(lm=model):
            optimizer = ForwardLearning(right, library=folder / "library.json", progress=False, **given)
            learned = optimizer.compile(actor(model), trainset=train)
        assert learned.retriever.library.precedent_count == len(train)

    return run


def batches(model: Any, train: list[Any], folder: Path) -> None:
    """The FLEX release's loop: three barriers a batch, and a serial updater that sees the whole zone."""
    import dspy

    with dspy.context(lm=model, disable_history=True):
        asyncio.run(_batches(model, train, folder))


async def _batches(model: Any, train: list[Any], folder: Path) -> None:
    from flex_dspy import Critic, RejectionSampling, Updater
    from flex_dspy.core.examples import example_id, problem_of
    from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent
    from flex_dspy.libraries.store import LibraryStore
    from flex_dspy.search.reading import pinned
    from tests.scripted import right

    store, updater, critic = LibraryStore(folder / "library.json"), Updater(token_budget=10**7), Critic()
    sampling = RejectionSampling(actor(model), metric=right)

    async def distilled(example: Any, found: Any) -> Experience:
        precedent = Precedent(example_id(example), problem_of(example), str(example.answer))
        written = await critic.acall(precedent=precedent, trajectory=found.trajectories[-1])
        return replace(written.experience, precedents=(precedent,))

    for start in range(0, len(train), BATCH):
        batch = train[start : start + BATCH]
        with pinned(store.library):
            found = await asyncio.gather(*(sampling.acall(example=example) for example in batch))
        lessons = await asyncio.gather(*(distilled(*pair) for pair in zip(batch, found, strict=True)))
        for step, new in enumerate(lessons, start=start + 1):
            zone = [entry for entry in store.library if entry.zone == new.zone]
            edit = (await updater.acall(lesson=new, nearest=zone)).edit
            assert isinstance(edit, Insert)
            store.commit([Commit("batches", step, (edit,))])


def shortest(calls: list[tuple[int, float, int]], places: int) -> float:
    """Seconds that the answers take by themselves, with so many examples under way at once."""
    seconds: dict[int, float] = defaultdict(float)
    for example, answer, _ in calls:
        seconds[example] += answer
    free = [0.0] * places
    for example in seconds:  # in the order in which they were begun
        heapq.heapreplace(free, free[0] + seconds[example])
    return max(free)


class Server:
    """The scripted model, in a process of its own."""

    def __enter__(self) -> Server:
        command = [sys.executable, "-m", "tests.benchmarks.bench_efficiency", "--serve"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self._line().strip()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def report(self) -> dict[str, Any]:
        assert self._process.stdin
        print(file=self._process.stdin, flush=True)
        return dict(json.loads(self._line()))

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


def measure(server: Server, name: str, places: int, count: int, run: Callable[..., None], cache: bool) -> float:
    """Print a row; seconds a problem."""
    from tests.scripted import problems

    train = problems(count)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        model = language_model(server, folder, cache)
        start, used = time.perf_counter(), time.process_time()
        run(model, train, Path(folder))
        wall, cpu = time.perf_counter() - start, time.process_time() - used
    calls = [tuple(call) for call in server.report()["calls"]]
    ideal, summed = shortest(calls, places), sum(seconds for _, seconds, _ in calls)
    tokens = sum(tokens for *_, tokens in calls) / count
    print(
        f"{name:<26}{places:>7}{count:>10}{len(calls):>7}{summed / places:>9.1f}{ideal:>8.1f}{wall:>8.1f}"
        f"{wall / ideal:>7.2f}{wall / count * 1e3:>12.0f}{cpu / len(calls) * 1e3:>8.2f}{tokens:>11,.0f}",
        flush=True,
    )
    return wall / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=400)
    parser.add_argument("--batch-problems", type=int, default=60, help="problems of the slow baseline")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--small", action="store_true", help="a quick check")
    parser.add_argument("--only", help="the row with this name")
    parser.add_argument("--profile", action="store_true", help="print where the processor time goes")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
        return
    count, few, places = arguments.problems, arguments.batch_problems, arguments.in_flight
    if arguments.small:
        count, few, places = 60, 10, 16
    wide = forward_learning(window=4 * places, concurrency=places)
    rows: list[tuple[str, int, int, Callable[..., None], bool]] = [
        ("window of 4, no cache", places, count, wide, False),
        ("window of 4", places, count, wide, True),
        ("window of 2", places, count, forward_learning(window=2 * places, concurrency=places), True),
        ("defaults", 16, count, forward_learning(), True),
        ("defaults, two versions", 16, count, forward_learning(window=32, concurrency=16), True),
        ("batches", places, few, batches, True),
    ]
    with tempfile.TemporaryDirectory() as cache, Server() as server:
        # Before dspy is imported: it reads these only then.
        os.environ |= {"DSPY_CACHEDIR": cache, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        warm(server)
        print(
            f"{'':<26}{'places':>7}{'problems':>10}{'calls':>7}{'sum/pl.':>9}{'ideal':>8}{'wall s':>8}{'ratio':>7}"
            f"{'ms/problem':>12}{'cpu ms':>8}{'tokens/pr.':>11}"
        )
        profile = cProfile.Profile()
        took: dict[str, float] = {}
        for row in rows:
            if arguments.only in (None, row[0]):
                with profile if arguments.profile else contextlib.nullcontext():
                    took[row[0]] = measure(server, *row)
        report = server.report()
    if not arguments.only:
        ratio = took["batches"] / took["window of 4"]
        print(f"\na problem in batches takes {ratio:.1f} times as long as in a window of 4")
    print(f"\nserver: {report['cpu'] * 1e3:.2f} ms of processor a call, at most {report['in flight']} in flight")
    print(f"load while measuring: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if arguments.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)


def warm(server: Server) -> None:
    """Learn once, so that no row pays for what is imported and written at the first call."""
    from tests.scripted import problems

    with tempfile.TemporaryDirectory() as folder:
        forward_learning(window=4)(language_model(server, folder), problems(4), Path(folder))
    server.report()


def language_model(server: Server, folder: str, cache: bool = True) -> Any:
    """The scripted model, with a cache of its own and a name that DSPy's price list knows, as most have."""
    import dspy

    dspy.configure_cache(disk_cache_dir=f"{folder}/cache")
    return dspy.LM("openai/gpt-4o-mini", api_base=server.url, api_key="none", cache=cache)


if __name__ == "__main__":
    main()

"""What a cluster costs beside one process, and whether it gives the same bytes.

    python -m tests.benchmarks.bench_cluster calls                 # a call, a commit, memory of a worker
    python -m tests.benchmarks.bench_cluster demos --workers 3     # hashes, with workers and drivers killed
    python -m tests.benchmarks.bench_cluster study --train FILE    # worker processes beside the experts' own
    python -m tests.benchmarks.bench_cluster evaluation --library FILE --val FILE
    python -m tests.benchmarks.bench_cluster model                 # a simulation; it starts nothing

All of it runs on 127.0.0.1. Times of cores that driver and workers share do not say what a cluster gains:
read the processor time.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import os
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import dspy

from flex_dspy import ExperienceLibrary, ForwardLearning, evaluate, get_task, language_model
from flex_dspy.cluster.executor import DaskExecutor
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent, Rule
from flex_dspy.models.lm import close
from flex_dspy.programs.executors import LocalExecutor
from tests.cluster_demos import HASHES, SCENARIOS, disturbance, kill_driver, learn_demo


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["calls", "demos", "study", "evaluation", "model"])
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--train", help="reactions to study")
    parser.add_argument("--val", help="products to answer")
    parser.add_argument("--library", type=Path, help="a learned library")
    parser.add_argument("--examples", type=int, default=1_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[0, 4_000, 40_000], help="entries")
    parser.add_argument("--scenarios", nargs="+", default=SCENARIOS, choices=SCENARIOS)
    parser.add_argument("--tasks", nargs="+", default=list(HASHES), choices=list(HASHES))
    globals()[f"measure_{parser.parse_args().what}"](parser.parse_args())


# -- a call and a commit -----------------------------------------------------------------------------------


async def nothing(example: int, library: ExperienceLibrary) -> int:
    """A call that costs nothing."""
    return len(library)


def lesson(number: int) -> Experience:
    """An experience of some 900 characters."""
    words = random.Random(number).choices([f"word{place}" for place in range(3_000)], k=90)
    precedent = Precedent(f"e{number}", f"Case {number}: " + " ".join(words[:20]), str(number))
    return Experience("golden", " ".join(words[20:60]), (Rule(" ".join(words[60:])),), precedents=(precedent,))


def measure_calls(arguments: argparse.Namespace) -> None:
    """Cost of a call here and there, without and with a commit before each; memory of a worker."""
    with DaskExecutor(f"local:{arguments.workers}") as cluster:
        for entries in arguments.sizes:
            library = ExperienceLibrary([lesson(number) for number in range(entries)])
            library, *_ = asyncio.run(_calls(cluster, library, 1, 50))  # the workers have it before the clock runs
            print(f"{entries:>6} entries", end="")
            for name, executor in (("here", LocalExecutor(16)), ("cluster", cluster)):
                for commits in (0, 1):
                    after, wall, cpu = asyncio.run(_calls(executor, library, commits, 400))
                    library = after if executor is cluster else library  # workers forget snapshots that are too old
                    print(f"  {name}{' + commit' if commits else ''}: {wall:.2f} ms, driver {cpu:.2f} ms", end="")
            print("  memory of workers:", ", ".join(f"{size:.0f} MB" for size in cluster.client.run(_memory).values()))


async def _calls(
    executor: object, library: ExperienceLibrary, commits: int, count: int
) -> tuple[ExperienceLibrary, float, float]:
    """The library after the calls; milliseconds of wall time, and of this process's processor time, for each call."""
    gate = asyncio.Semaphore(16)

    async def call(number: int, seen: ExperienceLibrary) -> None:
        async with gate:
            await executor.run(nothing, number, seen)

    wall, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            if commits:
                library = library.apply(Commit("bench", library.seen + 1, (Insert(lesson(10**6 + library.seen)),)))
            group.create_task(call(number, library))
            await asyncio.sleep(0)
    return library, 1e3 * (time.perf_counter() - wall) / count, 1e3 * (time.process_time() - cpu) / count


def _memory() -> float:
    return float(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


# -- the demos ---------------------------------------------------------------------------------------------


def measure_demos(arguments: argparse.Namespace) -> None:
    """Hashes of the demos: plain, with a worker killed or added, with the driver killed and resumed, with all of it."""
    for task in arguments.tasks:
        for name in arguments.scenarios:
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder, DaskExecutor(f"local:{arguments.workers}") as cluster:
                path = Path(folder) / "library.json"
                if name in ("driver killed", "all of it"):
                    print(f"{'':>9}  killed after {kill_driver(task, path, cluster.client.scheduler.address)} commits")
                found = learn_demo(task, path, cluster, disturbance(name, cluster))
            verdict = "the same" if found.startswith(HASHES[task]) else "OTHER"
            print(f"{task:>9}  {name:<14} {found[:12]}  {verdict}  {time.perf_counter() - start:.0f} s", flush=True)


# -- the offline experts -----------------------------------------------------------------------------------


def measure_study(arguments: argparse.Namespace) -> None:
    """Reactions a second of a study: with the experts' own processes, and with worker processes."""
    task = get_task("uspto50k")
    examples = task.load(arguments.train, limit=arguments.examples, seed=0).examples
    for name in ("pool", "local:1", "local:2"):
        with _cluster(name) as cluster, tempfile.TemporaryDirectory() as folder:
            lm, before, start = language_model("offline", expert=task.expert), _used(cluster), time.perf_counter()
            with dspy.context(lm=lm):
                options = {"study": True, "progress": False, "window": 64, "concurrency": 64, "executor": cluster}
                optimizer = ForwardLearning(task.metric, library=Path(folder) / "library.json", **options)
                optimizer.compile(task.actor(lm=lm), trainset=examples)
            wall = time.perf_counter() - start
            close(lm)
            used = _used(cluster) - before
        digest = optimizer.versions[-1].hash[:12]
        print(f"{name:<8} {len(examples) / wall:>6.1f} /s  {1e3 * used / len(examples):>6.1f} ms CPU each  {digest}")


@contextmanager
def _cluster(name: str) -> Iterator[DaskExecutor | None]:
    with nullcontext(None) if name == "pool" else DaskExecutor(name, concurrency=64) as cluster:
        yield cluster


def _used(cluster: DaskExecutor | None) -> float:
    """Seconds of the processor: of this process and its ended children, and of the workers and theirs that run."""
    here = sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime for who in (0, -1))
    return here + (sum(cluster.client.run(_used_by_worker).values()) if cluster else 0.0)


def _used_by_worker() -> float:
    """Seconds of a worker process and of the expert's process below it."""
    own, tick, total = os.getpid(), os.sysconf("SC_CLK_TCK"), 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if own in (int(stat.parent.name), int(fields[1])):
            total += (int(fields[11]) + int(fields[12])) / tick
    return total


# -- evaluation --------------------------------------------------------------------------------------------


def measure_evaluation(arguments: argparse.Namespace) -> None:
    """Records of one process and of workers: the same, in the same order."""
    task, library = get_task("uspto50k"), ExperienceLibrary.load(arguments.library)
    examples, found = task.load(arguments.val, limit=arguments.examples, seed=0).examples, []
    for name in ("pool", f"local:{arguments.workers}"):
        with _cluster(name) as cluster:
            lm, before, start = language_model("offline", expert=task.expert), _used(cluster), time.perf_counter()
            with dspy.context(lm=lm):
                options = {"library": library, "measures": task.measures, "normalize": task.normalize}
                options |= {"executor": cluster, "progress": False, "concurrency": 16, "allow_overlap": True}
                evaluation = evaluate(task.actor(lm=lm), examples, task.metric, **options)
            wall = time.perf_counter() - start
            close(lm)
            used = _used(cluster) - before
        found.append([replace(record, seconds=0.0) for record in evaluation.records])
        print(f"{name:<8} {wall:>6.1f} s  {1e3 * used / len(examples):>6.1f} ms CPU each  {evaluation}")
    print("the same records, in the same order" if found[0] == found[1] else "OTHER records")


# -- a model of larger clusters ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Costs:
    """Seconds that an example takes, and where.

    Attributes:
        driver: In the driver, one example after another: packing, dispatch, settling, commit.
        attempt: On a worker.
        spread: Spread of the attempts: standard deviation of their logarithm.
    """

    driver: float
    attempt: float
    spread: float


def measure_model(arguments: argparse.Namespace) -> None:
    """Examples a second by an event simulation: a model, with costs that were measured on one machine."""
    print("a model: serial driver, workers of one call each, bounded staleness; no network, no failures")
    for name, costs in (("chemist", Costs(0.004, 0.060, 0.5)), ("language model", Costs(0.004, 8.0, 0.5))):
        for workers in (8, 64, 256):
            rates = [_simulate(costs, workers, window, 4_000) for window in (32, workers, 2 * workers, 4 * workers)]
            ideal = min(workers / costs.attempt, 1 / costs.driver)
            row = "  ".join(f"{rate:>7.2f}" for rate in rates)
            print(f"{name:<15} {workers:>4} workers, ideal {ideal:>7.2f} /s; windows 32, N, 2N, 4N: {row}")


def _simulate(costs: Costs, workers: int, window: int, count: int) -> float:
    """Examples a second."""
    chance = random.Random(0)
    free = [0.0] * workers  # when each worker is free
    settled = [0.0] * (count + 1)  # when each example was committed
    driver = 0.0
    finished: list[float] = [0.0] * (count + 1)
    begun = 0
    for step in range(1, count + 1):
        while begun < min(count, step - 1 + window):  # the window opens as examples are settled
            begun += 1
            driver = max(driver, settled[max(0, begun - window)]) + costs.driver / 2
            start = max(driver, heapq.heappop(free))
            mean = costs.attempt / 2.718281828 ** (costs.spread**2 / 2)
            finished[begun] = start + mean * chance.lognormvariate(0, costs.spread)
            heapq.heappush(free, finished[begun])
        driver = max(driver, finished[step]) + costs.driver / 2
        settled[step] = driver
    return count / settled[count]


if __name__ == "__main__":
    main()

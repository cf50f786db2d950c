"""What experience costs a call: ``python -m tests.benchmarks.bench_equip [--sizes 1000 10000] [--profile]``.

A plain ``dspy.Predict`` and an equipped copy of it are asked the same questions in turn, each by a model that answers
at once, without cache or network: what is left is the work of this process. The lessons are those of ``bench_tokens``
(400 to 1,500 characters), searched by words, eight of them in the prompt. Times are of the processor, so that what else
the machine does matters little; the first search, which makes the index, is not among them.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import os
import pstats
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence

import dspy
from dspy import lm15

from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.programs.equip import equip
from flex_dspy.search.rendering import OPEN
from tests.benchmarks.bench_tokens import lesson, problem

SIZES = (0, 100, 1_000, 10_000)
CALLS = 300
GOAL = 2.0  # milliseconds, at the largest size
ANSWER = "[[ ## answer ## ]]\n6\n\n[[ ## completed ## ]]"

Ask = Callable[[dspy.Module, str], None]


class AtOnce:
    """A model that answers the same at once."""

    def complete(self, request: lm15.Request) -> lm15.Response:
        """The answer."""
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant(ANSWER),
            finish_reason="stop",
            usage=lm15.Usage(input_tokens=0, output_tokens=0),
        )


class AtOnceAsync:
    """The same for coroutines."""

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """The answer."""
        return AtOnce().complete(request)


def milliseconds(programs: Sequence[dspy.Module], texts: Sequence[str], ask: Ask) -> list[list[float]]:
    """Processor milliseconds of each program's calls, which take turns."""
    times: list[list[float]] = [[] for _ in programs]
    for text in texts:
        for program, spent in zip(programs, times, strict=True):
            start = time.process_time()
            ask(program, text)
            spent.append((time.process_time() - start) * 1e3)
    return times


def ways(loop: asyncio.AbstractEventLoop) -> dict[str, Ask]:
    """A call, and an awaited one on a loop that stays."""

    def awaited(program: dspy.Module, text: str) -> None:
        answer: Awaitable[dspy.Prediction] = program.acall(question=text)
        loop.run_until_complete(answer)

    return {"call": lambda program, text: program(question=text), "acall": awaited}


def shown(lm: dspy.LM) -> int:
    """Characters of experience in the last prompt."""
    text = str(lm.history[-1]["messages"][-1]["content"])
    return len(text) if OPEN in text else 0


def measure(size: int, calls: int, *, profile: bool) -> dict[str, tuple[float, float, float, int]]:
    """By way of calling: medians of the plain and of the equipped call, the added 99th percentile, the prompt."""
    library = ExperienceLibrary([lesson(number) for number in range(size)], task="bench")
    plain = dspy.Predict("question -> answer: int")
    equipped = equip(plain, library)
    lm = dspy.LM("bench/at-once", engine=AtOnce(), async_engine=AtOnceAsync(), cache=False)
    texts = [problem(10**6 + number) for number in range(calls)]
    loop, rows = asyncio.new_event_loop(), {}
    with dspy.context(lm=lm):
        for way, ask in ways(loop).items():
            milliseconds([plain, equipped], texts[:10], ask)
            gc.collect()
            one, other = milliseconds([plain, equipped], texts, ask)
            added = statistics.quantiles([b - a for a, b in zip(one, other, strict=True)], n=100)[98]
            rows[way] = (statistics.median(one), statistics.median(other), added, shown(lm))
        if profile:
            _profile(equipped, texts)
    loop.close()
    return rows


def _profile(program: dspy.Module, texts: Sequence[str]) -> None:
    with cProfile.Profile() as profiler:
        for text in texts:
            program(question=text)
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(45)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of entries")
    parser.add_argument("--calls", type=int, default=CALLS, help="how many are timed")
    parser.add_argument("--profile", action="store_true", help="show where the time of an equipped call goes")
    arguments = parser.parse_args()
    print("| entries | way | plain, ms | equipped, ms | added, ms (p99) | ratio | characters shown |")
    print("|---|---|---|---|---|---|---|")
    added = 0.0
    for size in arguments.sizes:
        for way, (plain, equipped, worst, characters) in measure(
            size, arguments.calls, profile=arguments.profile
        ).items():
            added = equipped - plain
            figures = f"{plain:.2f} | {equipped:.2f} | {added:.2f} ({worst:.2f}) | {equipped / plain:.2f}"
            print(f"| {size:,} | {way} | {figures} | {characters:,} |", flush=True)
    print(f"\nLoad while measuring: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"At {arguments.sizes[-1]:,} entries {added:.2f} ms are added; the goal is below {GOAL:g}.")


if __name__ == "__main__":
    main()

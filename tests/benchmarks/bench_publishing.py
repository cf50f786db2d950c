"""What it brings that a version is measured while learning goes on.

    python -m tests.benchmarks.bench_publishing --versions 7 --validation 40

The baseline is the same run with a stop rule that never stops: learning then waits for each version. A scripted server
stands for the model: each answer takes about the given time. `ratio` is the wall time of the run over that of the
baseline before it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import dspy

from flex_dspy import Actor, ExperienceRetriever, ForwardLearning, language_model
from flex_dspy.learning.events import Event
from tests.llm_faults import Latency
from tests.llm_server import LLMServer
from tests.scripted import problems, right, student


def main() -> None:
    """Print one row a pair of runs."""
    arguments = _arguments()
    os.environ.setdefault("API_KEY", "none")
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    print("waits s   goes on s   ratio   library")
    with LLMServer(student, latency=Latency(median=arguments.seconds)) as server:
        for _ in range(arguments.pairs):
            waiting, first = _learn(arguments, server.url, waits=True)
            going_on, second = _learn(arguments, server.url, waits=False)
            same = "the same" if first == second else f"{first[:12]} and {second[:12]}"
            print(f"{waiting:>7.1f} {going_on:>11.1f} {going_on / waiting:>7.2f}   {same}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=120)
    parser.add_argument("--validation", type=int, default=40, help="examples that each version is measured on")
    parser.add_argument("--versions", type=int, default=7)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.3, help="median time of an answer")
    parser.add_argument("--pairs", type=int, default=3)
    return parser.parse_args()


def _learn(arguments: argparse.Namespace, url: str, *, waits: bool) -> tuple[float, str]:
    """Seconds of a run, and the hash of its library."""
    with tempfile.TemporaryDirectory() as folder:
        optimizer = ForwardLearning(
            right,
            library=Path(folder) / "library.json",
            max_rollouts=1,
            window=arguments.concurrency,
            concurrency=arguments.concurrency,
            checkpoint_every=arguments.examples // (arguments.versions - 1),
            stop=[_never] if waits else [],
            progress=False,
        )
        actor = Actor("problem -> answer: int", ExperienceRetriever(views=["lexical"]))
        train, val = problems(arguments.examples), problems(arguments.validation, start=arguments.examples)
        start = time.perf_counter()
        with dspy.context(lm=language_model("openai/test", api_base=url, cache=False)):
            optimizer.compile(actor, trainset=train, valset=val)
        return time.perf_counter() - start, optimizer.versions[-1].hash


def _never(event: Event) -> str:
    return ""


if __name__ == "__main__":
    main()

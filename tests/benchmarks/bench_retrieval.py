"""What retrieval costs, and how it grows: ``python tests/benchmarks/bench_retrieval.py [--sizes 1000 10000]``.

Entries are generated from a seed, each with one precedent. The baseline of the structural view is RDKit's
``BulkTanimotoSimilarity`` over the same fingerprints: it gives the similarities, and leaves sorting to its caller.
Each size runs in a process of its own, so that memory is that of one library. Fingerprints of queries are warm.
"""

import argparse
import gc
import json
import os
import random
import statistics
import string
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import DataStructs

from flex_dspy.experience import Experience, Precedent, Rule
from flex_dspy.indexes import LexicalIndex, ProblemIndex, RuleIndex, StructuralIndex, index_of
from flex_dspy.library import ExperienceLibrary
from flex_dspy.molecules import fingerprint
from flex_dspy.retrieval import ExperienceRetriever, nearest_lessons

SIZES = (1_000, 10_000, 100_000)
QUERIES = 200
LEFT = ("Cc1ccc({})cc1", "c1ccc2c({})cccc2c1", "CC(C)({})CC", "C1CCC({})CC1", "Fc1cc({})ccn1", "COc1cc({})ccc1Cl")
LINK = ("C(=O)N", "S(=O)(=O)N", "C(=O)O", "OCC", "NCC", "CCN(C)", "C#C", "C(O)C")
RIGHT = ("CCOC", "c3ccsc3", "C3CCNCC3", "CC(F)(F)F", "c3ccc(Br)cc3", "CCCN3CCOCC3", "c3cnc(N)nc3", "C(C)(C)C#N")
LETTERS = string.ascii_lowercase
PAIRS = [a + b for a in LETTERS for b in LETTERS][::17]
WORDS = [a + b + c for a in ("ring", "bond", "count", "prime", "e") for b in LETTERS for c in PAIRS][:5_000]
ZIPF = list(accumulate(1 / (i + 1) for i in range(len(WORDS))))  # words are as unequally common as in prose


def molecule(rng: random.Random) -> str:
    tail = rng.choice(LINK) + "C" * rng.randrange(8) + rng.choice(LINK) + "C" * rng.randrange(8) + rng.choice(RIGHT)
    return rng.choice(LEFT).format(tail)


def prose(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(WORDS, cum_weights=ZIPF, k=count))


def lesson(rng: random.Random, number: int) -> Experience:
    smarts = f"[C:1](=[O;H0;D1;+0:2])-;!@[N;H{number % 3};+0:{number}]>>[C:1](=[O:2])-[O].[N:3]"
    return Experience(
        zone=rng.choice(("golden", "mixed", "warning")),
        method=prose(rng, 50),
        rules=(Rule(f"Disconnect with the retro template `{smarts}`"), Rule(prose(rng, 15))),
        trajectory=prose(rng, 60),
        precedents=(Precedent(f"ex-{number}", molecule(rng), "CC(=O)O.CN"),),
    )


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def spread(call: Callable[[Any], Any], queries: Sequence[Any]) -> tuple[float, float]:
    """Median and 99th percentile, in milliseconds."""
    for query in queries[:3]:
        call(query)
    times = [seconds(lambda query=query: call(query)) * 1e3 for query in queries]  # type: ignore[misc]
    return statistics.median(times), statistics.quantiles(times, n=100)[98]


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def uncached() -> StructuralIndex:
    """An index beside which no cache of fingerprints fills up: that would count as its memory."""
    index = StructuralIndex()
    index._fingerprint = fingerprint.__wrapped__  # type: ignore[assignment]
    return index


def build(library: ExperienceLibrary) -> dict[str, float]:
    """Seconds and memory of each index; RDKit reads the molecules, which is most of the structural one."""
    costs: dict[str, float] = {}
    kinds: dict[str, Callable[[], Any]] = {
        "structural": uncached,
        "lexical": LexicalIndex,
        "rules": RuleIndex,
        "problems": ProblemIndex,
    }
    for kind, make in kinds.items():
        before = resident_bytes()
        costs[f"{kind} s"] = seconds(lambda kind=kind, make=make: index_of(library, kind, make))  # type: ignore
        costs[f"{kind} bytes"] = resident_bytes() - before
    return costs


def bit_vectors(problems: Sequence[str]) -> list[DataStructs.ExplicitBitVect]:
    vectors = []
    for problem in problems:
        words = fingerprint(problem)
        assert words is not None
        text = (np.unpackbits(words.view(np.uint8)) + ord("0")).tobytes().decode()
        vectors.append(DataStructs.CreateFromBitString(text))
    return vectors


def measure(size: int, queries: int) -> dict[str, Any]:
    rng = random.Random(size)
    library = ExperienceLibrary([lesson(rng, number) for number in range(size)], task="bench")
    costs = build(library)
    molecules, texts = [molecule(rng) for _ in range(queries)], [prose(rng, 30) for _ in range(queries)]
    known, new = list(library)[:queries], [lesson(rng, size + number) for number in range(queries)]
    structural = index_of(library, "structural", StructuralIndex)
    structural._fingerprint = fingerprint
    lexical = index_of(library, "lexical", LexicalIndex)
    vectors = bit_vectors([case.problem for entry in library for case in entry.precedents])
    asked = dict(zip(molecules, bit_vectors(molecules), strict=True))
    fused = ExperienceRetriever(library)
    wide = ExperienceRetriever(library, k=300, views=["structural"], depth=300, token_budget=100_000)
    rows: dict[str, tuple[float, float]] = {
        "structural, depth 50": spread(lambda q: structural.search(library, q, 50, skip=q), molecules),
        "RDKit BulkTanimotoSimilarity": spread(
            lambda q: DataStructs.BulkTanimotoSimilarity(asked[q], vectors), molecules
        ),
        "lexical, 30 words, depth 50": spread(lambda q: lexical.search(library, q, 50), texts),
        "fused call, k 8, depth 50": spread(fused, molecules),
        "structural call, k 300, depth 300": spread(wide, molecules),
        "nearest lessons by rule": spread(lambda e: nearest_lessons(library, e, 5), known),
        "nearest lessons by words": spread(lambda e: nearest_lessons(library, e, 5), new),
    }
    return {"size": size, "costs": costs, "rows": rows}


def report(result: dict[str, Any]) -> None:
    size, costs, rows = result["size"], result["costs"], result["rows"]
    print(f"\n{size:,} entries" + " " * 26 + "p50 ms     p99 ms")
    for name, (median, worst) in rows.items():
        print(f"  {name:36}{median:10.2f} {worst:10.2f}")
    ratio = rows["RDKit BulkTanimotoSimilarity"][0] / rows["structural, depth 50"][0]
    print(f"  structural search, sorted and cut, takes 1/{ratio:.1f} of RDKit's similarities alone")
    for what, unit, scale in (("build, s", "s", 1_000), ("memory, kB", "bytes", 1)):
        kinds = ("structural", "lexical", "rules", "problems")
        costs_per = ", ".join(f"{kind} {costs[f'{kind} {unit}'] / size * scale:.3g}" for kind in kinds)
        print(f"  {what} a thousand entries: {costs_per}")


def growth(results: Sequence[dict[str, Any]]) -> None:
    small, large = results[0], results[-1]
    print(f"\nFrom {small['size']:,} to {large['size']:,} entries (x{large['size'] / small['size']:.0f}), p50 grows by")
    for name in small["rows"]:
        print(f"  {name:36}x{large['rows'][name][0] / small['rows'][name][0]:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of entries")
    parser.add_argument("--queries", type=int, default=QUERIES, help="how many are timed")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.queries)))
        return
    results = []
    for size in arguments.sizes:
        command = [sys.executable, __file__, "--one", str(size), "--queries", str(arguments.queries)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results.append(json.loads(done.stdout.splitlines()[-1]))
        report(results[-1])
    if len(results) > 1:
        growth(results)
    print(f"\nLoad while measuring: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()

"""What retrieval costs, and how it grows: ``python tests/benchmarks/bench_retrieval.py [--sizes 1000 10000]``.

Entries are generated from a seed, each with one precedent. Each view stands beside a library that does the same on the
same data, ranking included, to the same depth of 50:

- structural: RDKit's ``BulkTanimotoSimilarity`` over the same fingerprints, then numpy's partition and a sort;
- lexical: ``bm25s`` (Lucene's method, the same parameters) over the same texts, tokenised by the same function; that of
  the query is timed on both sides. bm25s scores every word; ours passes over those in a fifth of a large library;
- dense: ``dspy.Embeddings``, brute force, over the same vectors (two an entry), called below the thread in which it
  gathers batches. The embedder is a random projection of words to 256 numbers, timed on both sides for the query;
- fused: the three above, one after the other, against the retriever's call with all three views and the rendering.

Times are of the processor (all threads; numerical libraries have one), in a process of its own for each size, so that
what else the machine does matters little, and memory is that of one library; a view and the library beside it take
turns. Fingerprints of queries are warm.
"""

import argparse
import functools
import gc
import json
import os
import random
import statistics
import string
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import bm25s
import dspy
import numpy as np
from rdkit import DataStructs

from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.metrics.molecules import _fingerprint, fingerprint, problem_fingerprint
from flex_dspy.search.dense import DenseIndex, Vectors
from flex_dspy.search.exact_indexes import ProblemIndex, RuleIndex
from flex_dspy.search.fingerprint_index import FingerprintIndex
from flex_dspy.search.indexes import index_of
from flex_dspy.search.lexical_index import LexicalIndex
from flex_dspy.search.nearest import nearest_lessons
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.search.words import words_of

SIZES = (1_000, 10_000, 100_000)
QUERIES = 200
DEPTH = 50
DIMENSIONS = 256
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


class RandomProjection:
    """An embedder without a model: the sum of a random vector of each word (Achlioptas, J. Comput. Syst. Sci. 2003)."""

    def __init__(self) -> None:
        self.vector: dict[str, np.ndarray[Any, Any]] = {}

    def _of(self, word: str) -> np.ndarray[Any, Any]:
        if word not in self.vector:
            rng = np.random.default_rng(zlib.crc32(word.encode()))
            self.vector[word] = rng.standard_normal(DIMENSIONS, np.float32)
        return self.vector[word]

    def __call__(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        return np.array([np.sum([self._of(word) for word in words_of(text)], axis=0) for text in texts])


def seconds(call: Callable[[], Any]) -> float:
    """Processor seconds."""
    start = time.process_time()
    call()
    return time.process_time() - start


def spread(call: Callable[[Any], Any], queries: Sequence[Any]) -> tuple[float, float]:
    """Median and 99th percentile, in milliseconds."""
    for query in queries[:3]:
        call(query)
    times = [seconds(functools.partial(call, query)) * 1e3 for query in queries]
    return statistics.median(times), statistics.quantiles(times, n=100)[98]


def beside(
    ours: Callable[[Any], Any], theirs: Callable[[Any], Any], queries: Sequence[Any]
) -> list[tuple[float, float]]:
    """The same for two calls in turn, so that what slows the machine down slows both."""
    for query in queries[:3]:
        ours(query), theirs(query)
    times = [[seconds(functools.partial(call, query)) * 1e3 for call in (ours, theirs)] for query in queries]
    return [(statistics.median(one), statistics.quantiles(one, n=100)[98]) for one in zip(*times, strict=True)]


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def uncached() -> FingerprintIndex:
    """An index beside which no cache of fingerprints fills up: that would count as its memory."""
    return FingerprintIndex(_fingerprint.__wrapped__)


def kinds(vectors: Vectors) -> dict[str, Callable[[], Any]]:
    return {
        "structural": uncached,
        "lexical": LexicalIndex,
        "rules": RuleIndex,
        "problems": ProblemIndex,
        vectors.kind: lambda: DenseIndex(vectors),
    }


def built(library: ExperienceLibrary, vectors: Vectors) -> dict[str, dict[str, float]]:
    """Seconds and bytes of each index; RDKit reads the molecules, which is most of the structural one's time."""
    costs = {}
    for kind, make in kinds(vectors).items():
        before = resident_bytes()
        took = seconds(functools.partial(_ready, library, kind, make))
        costs[kind.split()[0]] = {"s": took, "bytes": resident_bytes() - before}
    return costs


def _ready(library: ExperienceLibrary, kind: str, make: Callable[[], Any]) -> None:
    index = index_of(library, kind, make)
    if isinstance(index, DenseIndex):
        index._embed()


def added(library: ExperienceLibrary, vectors: Vectors, lessons: Sequence[Experience]) -> dict[str, float]:
    """Median milliseconds that one more entry takes: in the library itself, then in each index."""
    times: dict[str, list[float]] = {}
    for number, entry in enumerate(lessons):
        start = time.process_time()
        library = library.apply(Commit("bench", number + 1, (Insert(entry),)))
        times.setdefault("library", []).append(time.process_time() - start)
        for kind, make in kinds(vectors).items():
            took = seconds(functools.partial(_ready, library, kind, make))
            times.setdefault(kind.split()[0], []).append(took)
    return {name: statistics.median(values) * 1e3 for name, values in times.items()}


def bit_vectors(problems: Sequence[str]) -> list[DataStructs.ExplicitBitVect]:
    vectors = []
    for problem in problems:
        words = fingerprint(problem)
        assert words is not None
        text = (np.unpackbits(words.view(np.uint8)) + ord("0")).tobytes().decode()
        vectors.append(DataStructs.CreateFromBitString(text))
    return vectors


class Alone:
    """The libraries that do what a view does, on the same data."""

    def __init__(self, library: ExperienceLibrary, embedder: dspy.Embedder, molecules: Sequence[str]) -> None:
        problems = {entry.id: [case.problem for case in entry.precedents] for entry in library}
        self.fingerprints = bit_vectors([problem for entry in library for problem in problems[entry.id]])
        self.asked = dict(zip(molecules, bit_vectors(molecules), strict=True))
        self.bm25 = bm25s.BM25(method="lucene", k1=LexicalIndex.K1, b=LexicalIndex.B)
        words = [words_of("\n".join([entry.text(), *problems[entry.id]])) for entry in library]
        self.bm25.index(words, show_progress=False)
        texts = [text for entry in library for text in (entry.text(), *problems[entry.id])]
        self.embeddings = dspy.Embeddings(texts, embedder, k=DEPTH, brute_force_threshold=10**9)

    def structural(self, molecule: str) -> list[int]:
        scores = np.array(DataStructs.BulkTanimotoSimilarity(self.asked[molecule], self.fingerprints))
        best = np.argpartition(scores, -DEPTH)[-DEPTH:]
        return best[np.argsort(-scores[best])].tolist()

    def lexical(self, text: str) -> Any:
        return self.bm25.retrieve([list(set(words_of(text)))], k=DEPTH, show_progress=False)

    def dense(self, text: str) -> Any:
        return self.embeddings._batch_forward([text])

    def fused(self, molecule: str) -> None:
        self.structural(molecule)
        self.lexical(molecule)
        self.dense(molecule)


def measure(size: int, queries: int) -> dict[str, Any]:
    rng = random.Random(size)
    library = ExperienceLibrary([lesson(rng, number) for number in range(size)], task="bench")
    embedder = dspy.Embedder(RandomProjection(), caching=False)
    embedder(WORDS)  # its own memory is not the index's
    vectors = Vectors(embedder)
    costs = built(library, vectors)
    molecules, texts = [molecule(rng) for _ in range(queries)], [prose(rng, 30) for _ in range(queries)]
    known, new = list(library)[:queries], [lesson(rng, size + number) for number in range(queries)]
    structural = index_of(library, "structural", lambda: FingerprintIndex(problem_fingerprint))
    structural._fingerprint = problem_fingerprint
    lexical = index_of(library, "lexical", LexicalIndex)
    dense = index_of(library, vectors.kind, lambda: DenseIndex(vectors))
    alone = Alone(library, embedder, molecules)
    fused = ExperienceRetriever(library, views=["structural", "lexical", "dense"], embedder=vectors)
    wide = ExperienceRetriever(library, k=300, views=["structural"], depth=300, token_budget=100_000)
    compared = {
        "structural": beside(
            lambda q: structural.search(library, q, DEPTH, skip=frozenset({q})), alone.structural, molecules
        ),
        "lexical, 30 words": beside(lambda q: lexical.search(library, q, DEPTH), alone.lexical, texts),
        "dense": beside(lambda q: dense.search(library, q, DEPTH), alone.dense, texts),
        "three views fused, rendered": beside(fused, alone.fused, molecules),
    }
    rows = {
        "structural and lexical fused, rendered": spread(ExperienceRetriever(library), molecules),
        "structural call, k 300, depth 300": spread(wide, molecules),
        "nearest lessons by rule": spread(lambda e: nearest_lessons(library, e, 5), known),
        "nearest lessons by words": spread(lambda e: nearest_lessons(library, e, 5), new),
    }
    adding = added(library, vectors, [lesson(rng, 2 * size + number) for number in range(30)])
    return {"size": size, "costs": costs, "beside": compared, "rows": rows, "adding": adding}


def report(result: dict[str, Any]) -> None:
    size = result["size"]
    print(f"\n| {size:,} entries | p50 / p99, ms | the library alone, ms | ratio of p50 |\n|---|---|---|---|")
    for name, (ours, theirs) in result["beside"].items():
        ratio = ours[0] / theirs[0]
        print(f"| {name} | {ours[0]:.2f} / {ours[1]:.2f} | {theirs[0]:.2f} / {theirs[1]:.2f} | {ratio:.2f} |")
    for name, (median, worst) in result["rows"].items():
        print(f"| {name} | {median:.2f} / {worst:.2f} | | |")
    print(f"\n| {size:,} entries | {' | '.join(result['costs'])} |\n|---|{'---|' * len(result['costs'])}")
    for name, unit, scale in (("build, s a thousand", "s", 1e3), ("memory, kB an entry", "bytes", 1e-3)):
        print(f"| {name} | {' | '.join(f'{cost[unit] / size * scale:.3g}' for cost in result['costs'].values())} |")
    print(f"| one more, ms | {' | '.join(format(result['adding'][kind], '.3g') for kind in result['costs'])} |")
    print(f"\nOne more entry in the library itself: {result['adding']['library']:.3g} ms", flush=True)


def growth(results: Sequence[dict[str, Any]]) -> None:
    small, large = ({**{n: row[0] for n, row in r["beside"].items()}, **r["rows"]} for r in (results[0], results[-1]))
    first, last = results[0]["size"], results[-1]["size"]
    print(f"\nFrom {first:,} to {last:,} entries (x{last / first:.0f}), p50 grows by")
    for name in small:
        print(f"  {name:40}x{large[name][0] / small[name][0]:.1f}")


ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


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
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD)
        results.append(json.loads(done.stdout.splitlines()[-1]))
        report(results[-1])
    if len(results) > 1:
        growth(results)
    print(f"\nLoad while measuring: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()

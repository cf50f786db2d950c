"""What it costs to take entries out: ``python tests/benchmarks/bench_editing.py [sizes]``.

A removal is one commit, and one change that each of the four indexes reads. Processor time, so that a busy machine
does not blur it; ``search`` is a structural and a lexical one, before any removal and after a tenth of the entries
went. Each size runs in a process of its own, so that memory is that of one library: ``index MB`` is all four indexes,
``removed MB`` what the removals added to them and to the log.
"""

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent, Remove, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.metrics.molecules import problem_fingerprint
from flex_dspy.search.exact_indexes import ProblemIndex, RuleIndex
from flex_dspy.search.fingerprint_index import FingerprintIndex
from flex_dspy.search.indexes import index_of
from flex_dspy.search.lexical_index import LexicalIndex

SIZES = (1_000, 10_000)
SEARCHES = 50
RINGS = ("c1ccccc1", "c1ccncc1", "C1CCNCC1", "c1ccsc1", "C1CC1", "c1ccc2[nH]ccc2c1")


def molecule(i: int) -> str:
    """A molecule of its own for each number."""
    return RINGS[i % 6].replace("1", "9") + "C" * (i // 6 % 9) + "N" + "CO" * (i // 54 % 9) + "C" * (i // 486 % 99 + 1)


def lesson(i: int) -> Experience:
    """An entry of four precedents."""
    cases = tuple(Precedent(f"ex-{i}-{k}", molecule(4 * i + k), "CO") for k in range(4))
    text = f"Strategy {i}: disconnect where the fragments {i % 97} are known, not where {i % 89} is."
    return Experience("golden", text, (Rule(f"rule {i}: when so, do exactly this"),), precedents=cases)


def catch_up(library: ExperienceLibrary) -> None:
    for kind, make in INDEXES.items():
        index_of(library, kind, make)


INDEXES = {
    "structural": lambda: FingerprintIndex(problem_fingerprint),
    "lexical": LexicalIndex,
    "rules": RuleIndex,
    "problems": ProblemIndex,
}


def searched(library: ExperienceLibrary) -> float:
    """Milliseconds of a structural and a lexical search together, median."""

    def both(i: int) -> None:
        index_of(library, "structural", INDEXES["structural"]).search(library, molecule(i), 50)
        index_of(library, "lexical", LexicalIndex).search(library, f"disconnect fragments {i % 97}", 50)

    return statistics.median(milliseconds(partial(both, i)) for i in range(SEARCHES))


def milliseconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return (time.process_time() - start) * 1e3


def resident_mb() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(size: int) -> dict[str, float]:
    library = ExperienceLibrary([lesson(i) for i in range(size)])
    before = resident_mb()
    build = milliseconds(lambda: catch_up(library))
    indexed, search = resident_mb(), searched(library)
    commits, reads = [], []
    for entry in list(library)[::10]:
        start = time.process_time()
        library = library.apply(Commit("edit", 1, (Remove(entry.id),)))
        commits.append((time.process_time() - start) * 1e3)
        reads.append(milliseconds(partial(catch_up, library)))
    removed = resident_mb()
    inserted = milliseconds(lambda: catch_up(library.apply(Commit("", 0, (Insert(lesson(10**7)),)))))
    return {
        "entries": size,
        "build ms": build,
        "commit ms": statistics.fmean(commits),
        "indexes ms": statistics.fmean(reads),
        "insert ms": inserted,
        "search ms": search,
        "after ms": searched(library),
        "index MB": indexed - before,
        "removed MB": removed - indexed,
    }


def main(sizes: list[int]) -> None:
    for number, size in enumerate(sizes):
        command = [sys.executable, __file__, "measure", str(size)]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        if not number:
            print("  ".join(f"{key:>10}" for key in row))
        print("  ".join(f"{value:>10,.3f}" for value in row.values()))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["measure", size]:
            print(json.dumps(measure(int(size))))
        case sizes:
            main([int(size) for size in sizes] or list(SIZES))

"""What durability costs, and whether it stays flat: ``python tests/benchmarks/bench_store.py [sizes]``.

Each size runs in a process of its own, so that memory is that of one library. ``fsync`` is the baseline that
a commit is compared with: appending the same bytes to a file in the same folder, and syncing it. ``cpu`` is
the processor time of a commit, which a slow disk does not hide.
"""

import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from io import BufferedWriter
from pathlib import Path
from typing import Any

from flex_dspy.libraries.experience import Commit, Experience, Insert, Merge, Precedent, Rule, Tally
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore

SIZES = (1_000, 10_000, 100_000)
COMMITS = 300


def lesson(i: int) -> Experience:
    """An entry of about 2 kB: three rules, four precedents."""
    do, product, reactants = "when so, do exactly this " * 3, "CC(=O)Oc1ccccc1C(=O)O" * 2, "CC(=O)O.Oc1ccccc1"
    return Experience(
        zone="golden",
        method=f"Strategy {i}: " + "disconnect where the fragments are known. " * 7,
        rules=tuple(Rule(f"rule {i}.{j}: {do}", (f"example {i}",)) for j in range(3)),
        trajectory="step by step " * 40,
        precedents=tuple(Precedent(f"ex-{i}-{k}", product, reactants) for k in range(4)),
    )


def commit(step: int, known: list[str]) -> Commit:
    new = lesson(10**7 + step)
    edit = Insert(new) if step % 2 else Merge(known[step % len(known)], new, add_rules=new.rules[:1])
    shown = tuple(known[(step * 7 + i) % len(known)] for i in range(5))
    return Commit("run", step, (edit,), Tally(shown=shown, helped=shown[:2]))


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def spread(times: list[float]) -> tuple[float, float]:
    """Mean and 99th percentile, in milliseconds."""
    return statistics.fmean(times) * 1e3, statistics.quantiles(times, n=100)[98] * 1e3


def prepare(folder: Path, size: int) -> None:
    entries = [replace(lesson(i), created_at=i, updated_at=i) for i in range(1, size + 1)]
    ExperienceLibrary(entries, task="bench").save(folder / "library.json")


def measure(folder: Path) -> dict[str, float]:
    before, start = resident_bytes(), time.perf_counter()
    store = LibraryStore(folder / "library.json")
    opened, size = time.perf_counter() - start, len(store.library)
    memory = (resident_bytes() - before) / size / 1e3
    commits, syncs, processor = measure_commits(store, folder / "baseline")
    (mean, p99), (sync, sync_p99) = spread(commits), spread(syncs)
    return {
        "entries": size,
        "commit ms": mean,
        "p99": p99,
        "fsync ms": sync,
        "fsync p99": sync_p99,
        "ratio": mean / sync,
        "cpu ms": processor * 1e3,
        "checkpoint s": seconds(store.checkpoint),
        "open s": opened,
        "MB/1000": memory,
        "file MB": store.path.stat().st_size / 1e6,
    }


def measure_commits(store: LibraryStore, baseline: Path) -> tuple[list[float], list[float], float]:
    """Seconds of each commit, of each sync of as many bytes, and of the processor for a commit."""
    known = [entry.id for entry in store.library][:1_000]
    store.commit([commit(1, known)])  # makes the journal
    commits, syncs, processor = [], [], 0.0
    with baseline.open("ab") as file:
        for step in range(2, COMMITS + 2):
            change, at = commit(step, known), store._journal.position.offset
            processor -= time.process_time()
            commits.append(seconds(partial(store.commit, [change])))
            processor += time.process_time()
            file.write(b"x" * (store._journal.position.offset - at))
            syncs.append(seconds(partial(flush, file)))
    return commits, syncs, processor / COMMITS


def flush(file: BufferedWriter) -> None:
    file.flush()
    os.fsync(file.fileno())


def in_process(what: str, *arguments: object) -> str:
    command = [sys.executable, __file__, what, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def cell(key: str, value: float) -> str:
    return f"{value:>{max(len(key), 7)},.{0 if key == 'entries' else 2}f}"


def main(sizes: list[int]) -> None:
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
            in_process("prepare", folder, size)
            rows.append(json.loads(in_process("measure", folder)))
            if len(rows) == 1:
                print("  ".join(f"{key:>7}" for key in rows[0]))
            print("  ".join(cell(key, value) for key, value in rows[-1].items()))
    least, most = rows[0], rows[-1]
    growth = most["cpu ms"] / least["cpu ms"]
    sizes_text = f"{most['entries']:,} entries costs {growth:.2f} of one at {least['entries']:,}"
    print(f"beside the disk's part, a commit at {sizes_text}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["prepare", folder, size]:
            prepare(Path(folder), int(size))
        case ["measure", folder]:
            print(json.dumps(measure(Path(folder))))
        case sizes:
            main([int(size) for size in sizes] or list(SIZES))

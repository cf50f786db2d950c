"""Scopes as a boundary: leaks in random queries of every reading path, and the cost of a view.

    .venv/bin/python -m tests.benchmarks.bench_scopes --entries 10000 --scopes 100 --queries 10000

Every entry names its scope in each of its texts (``owner-017``), and every query names other scopes as well. An answer
leaks if it names a scope that the reader was not given.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections.abc import Callable, Iterator

from flex_dspy.core import representations
from flex_dspy.libraries.diffing import diff
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.release_format import write_release
from flex_dspy.search.nearest import nearest_lessons
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.serving.access import Access
from flex_dspy.serving.library_tools import LibraryTools

WORDS = [  # few, so that entries of all scopes share them
    "dice",
    "coin",
    "card",
    "urn",
    "chance",
    "sum",
    "odd",
    "even",
    "prime",
    "angle",
    "circle",
    "root",
    "line",
    "limit",
    "series",
    "graph",
]
_OWNER = re.compile(r"owner-\w+")


def entry(number: int, scope: str, rng: random.Random) -> Experience:
    """An entry that names its scope everywhere."""
    owner = f"owner-{scope or 'shared'}"
    said = " ".join(rng.choices(WORDS, k=6))
    return Experience(
        rng.choice(("golden", "warning", "mixed")),
        f"{said} {owner}",
        (Rule(f"{rng.choice(WORDS)} {number} {owner}", (f"{said} {owner}",)), Rule(f"Use {said}.")),
        trajectory=f"{said}: {owner}",
        category=f"{rng.choice(WORDS)} {owner}",
        precedents=(Precedent(f"{number}", f"{said} {number} {owner}", owner),),
        scope=scope,
    )


def make(entries: int, scopes: int, seed: int = 0) -> ExperienceLibrary:
    """A library of this many scopes and shared entries, the same number in each; half of it arrives by commits."""
    rng = random.Random(seed)
    names = ["", *(f"{number:03}" for number in range(scopes))]
    made = [entry(number, names[number % len(names)], rng) for number in range(entries)]
    library = ExperienceLibrary(made[: entries // 2], task="t")
    for number, each in enumerate(made[entries // 2 :], 1):
        library = library.apply(Commit("bench", number, (Insert(each),)))
    return library


class Held:
    """A library that does not change, as ``LibraryTools`` wants it."""

    source = "bench"

    def __init__(self, library: ExperienceLibrary) -> None:
        self._library = library

    def snapshot(self) -> ExperienceLibrary:
        """The library."""
        return self._library


def reading_paths(library: ExperienceLibrary) -> dict[str, Callable[[Access, str, str], str]]:
    """The paths by which a reader gets at entries: from access, query and an id to all text that comes out."""

    def retrieve(access: Access, query: str, _: str) -> str:
        retriever = ExperienceRetriever(library, k=8, views=["lexical", "precedents"], scopes=access.reads, tally=5)
        found = retriever(query)
        return " ".join([found.experiences, *found.passages, *(hit.why() for hit in found.hits)])

    def serve(tool: str) -> Callable[[Access, str, str], str]:
        def call(access: Access, query: str, entry_id: str) -> str:
            tools = LibraryTools(Held(library), access=lambda: access)  # type: ignore[arg-type]
            try:
                if tool == "search":
                    return tools.search(query)
                if tool == "statistics":
                    return tools.statistics()
                return getattr(tools, tool)([entry_id] if tool != "entry" else entry_id)
            except Exception as error:  # an entry of another scope is refused: what does the refusal say?
                return str(error)

        return call

    def nearest(access: Access, query: str, _: str) -> str:
        lesson = Experience("golden", query, (Rule(f"Use {query}."),), scope=access.reads[0])
        own = library.scoped(access.reads[0], shared=False)
        return " ".join(found.text() for found in nearest_lessons(own, lesson, 5))

    views: dict[str, Callable[[ExperienceLibrary], str]] = {
        "file": lambda view: view.to_json(),
        "release file": write_release,
        "page": lambda view: representations.page(view, title="t", limit=5),
        "difference": lambda view: representations.page(diff(ExperienceLibrary(task="t"), view), limit=5),
        "iteration": lambda view: " ".join(each.text() for each in view),
    }
    tools = ("search", "read_rules", "read_trajectories", "entry", "statistics")
    return {
        "retriever": retrieve,
        "nearest (updater)": nearest,
        **{f"MCP {tool}": serve(tool) for tool in tools},
        **{name: lambda access, query, entry_id, show=show: show(access.view(library)) for name, show in views.items()},
    }


def leaks(library: ExperienceLibrary, path: Callable[[Access, str, str], str], queries: int, seed: int = 1) -> int:
    """The number of answers that name a scope that the reader was not given."""
    rng = random.Random(seed)
    scopes = [scope for scope in library.scopes if scope]
    ids = [each.id for each in library]
    found = 0
    for _ in range(queries):
        reads = tuple(rng.sample(scopes, rng.choice((1, 1, 1, 2))))
        query = " ".join([*rng.choices(WORDS, k=4), *(f"owner-{scope}" for scope in rng.sample(scopes, 3))])
        said = set(_OWNER.findall(path(Access(reads), query, rng.choice(ids))))
        found += bool(said - {f"owner-{scope}" for scope in (*reads, "shared")})
    return found


def costs(library: ExperienceLibrary, queries: int) -> Iterator[tuple[str, float]]:
    """Processor time of a view and of its first search, and of a search in several libraries."""
    scope = library.scopes[-1]
    start = time.process_time()
    view = library.scoped(scope)
    yield "view, first time [ms]", 1e3 * (time.process_time() - start)
    start = time.process_time()
    ExperienceRetriever(library, views=["lexical"], scopes=(scope,)).hits("dice", 8)
    yield "first search of a view: its index is built [ms]", 1e3 * (time.process_time() - start)
    start = time.process_time()
    for _ in range(1000):
        library.scoped(scope)
    yield "view, again [us]", 1e3 * (time.process_time() - start)
    alone = ExperienceLibrary(list(view), task="t")
    unscoped = ExperienceLibrary([each.of_scope("") for each in library], task="t")
    for name, held, scopes in (
        ("search: a view", library, (scope,)),
        ("search: a library of its entries alone", alone, (scope,)),
        ("search: all entries, no scopes", unscoped, ()),
    ):
        retriever = ExperienceRetriever(held, views=["lexical"], scopes=scopes)
        retriever.hits("dice", 8)
        rng, start = random.Random(2), time.process_time()
        for _ in range(queries):
            retriever.hits(" ".join(rng.choices(WORDS, k=4)), 8)
        yield f"{name} [ms]", 1e3 * (time.process_time() - start) / queries
    for name, held in (("scopes", library), ("no scopes", unscoped)):
        start, rng = time.process_time(), random.Random(3)
        for number in range(200):
            held = held.apply(Commit("cost", number + 1, (Insert(entry(10**6 + number, "", rng)),)))
        yield f"commit: {name} [us]", 1e6 * (time.process_time() - start) / 200


def main() -> None:
    """Print the leaks of each path, and the costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--scopes", type=int, default=100)
    parser.add_argument("--queries", type=int, default=10_000)
    options = parser.parse_args()
    library = make(options.entries, options.scopes)
    print(json.dumps({"entries": len(library), "scopes": len(library.scopes)}))
    for name, value in costs(library, 300):
        print(f"{name}: {value:.3f}", flush=True)
    for name, read in reading_paths(library).items():
        start = time.perf_counter()
        count = leaks(library, read, options.queries)
        print(f"{name}: {count} leaks in {options.queries} queries, {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()

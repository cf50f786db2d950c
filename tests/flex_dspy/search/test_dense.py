"""The dense view: exact at every snapshot, each text embedded once, vectors kept beside the library."""

import asyncio
import copy
import gc
import random
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dspy
import numpy as np
import pytest

from flex_dspy.core.errors import ConfigurationError, LibraryFormatError
from flex_dspy.libraries.experience import Commit, Edit, Experience, Insert, Merge, Precedent, Remove, Revise
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.dense import DenseIndex, Vectors
from flex_dspy.search.indexes import Match, index_of
from flex_dspy.search.reading import pinned
from flex_dspy.search.retrieval import ExperienceRetriever

WORDS = ["count", "odd", "even", "prime", "ring", "amide", "ester", "path", "circle", "die", "root", "sum"]


class WordCounts:
    """An embedder that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> Any:
        self.asked.append(list(texts))
        return np.array([[text.count(word) for word in WORDS] for text in texts], dtype=np.float32)


def lesson(text: str, *problems: str, **fields: Any) -> Experience:
    cases = tuple(Precedent(f"ex-{problem}", problem, "a") for problem in problems)
    return Experience(zone="golden", method=text, precedents=cases, **fields)


def committed(library: ExperienceLibrary, *edits: Edit) -> ExperienceLibrary:
    return library.apply(Commit("", 0, edits))


def search(library: ExperienceLibrary, vectors: Vectors, text: str, depth: int, skip: str | None = None) -> list[Match]:
    own = frozenset({skip} - {None})
    return index_of(library, vectors.kind, lambda: DenseIndex(vectors)).search(library, text, depth, skip=own)


def cosine(one: str, other: str) -> float:
    a, b = (np.array([text.count(word) for word in WORDS], float) for text in (one, other))
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b) or 1))


def brute_force(library: ExperienceLibrary, query: str, skip: str | None) -> dict[str, float]:
    scores = {}
    for entry in library:
        texts = [entry.text(), *(case.problem for case in entry.precedents[:8])]
        score = max((cosine(query, text) for text in texts if text.strip() and text != skip), default=0)
        if score > 0:
            scores[entry.id] = score
    return scores


def random_text(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randrange(1, 9)))


def random_line(seed: int, commits: int = 15) -> list[ExperienceLibrary]:
    rng = random.Random(seed)
    line = [ExperienceLibrary(task="t")]
    for _ in range(commits):
        new = lesson(random_text(rng), *(random_text(rng) for _ in range(rng.randrange(5))))
        known = [entry.id for entry in line[-1]]
        edits: list[Edit] = [Insert(new)]
        if known and rng.random() < 0.6:
            target = rng.choice(known)
            edits = [
                rng.choice(
                    [
                        Merge(target, new, add_rules=new.rules),
                        Merge(target, new, method=random_text(rng)),
                        Remove(target),
                        Revise(target, method=random_text(rng)),
                    ]
                )
            ]
        line.append(committed(line[-1], *edits))
    return line


@pytest.mark.parametrize("seed", range(12))
def test_it_is_the_nearest_vector_of_each_entry_at_every_snapshot(seed: int) -> None:
    line = random_line(seed)
    vectors = Vectors(dspy.Embedder(WordCounts()))
    rng = random.Random(seed)
    search(line[-1], vectors, "odd", 3)  # the index has read the whole line before the first question
    for library in [*line, *line[::-1]]:
        query, depth = random_text(rng), rng.randrange(1, 9)
        skip = rng.choice([None, query, *(case.problem for entry in library for case in entry.precedents)])
        expected = brute_force(library, query, skip)
        found = {match.entry_id: match.score for match in search(library, vectors, query, 10**6, skip)}
        assert found == pytest.approx(expected, rel=1e-6)
        ordered = sorted(found, key=lambda entry_id: (-found[entry_id], entry_id))
        assert [match.entry_id for match in search(library, vectors, query, depth, skip)] == ordered[:depth]


@pytest.mark.parametrize("seed", range(6))
def test_the_order_of_arrival_is_no_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table: dict[str, Any] = {}

    def noise(texts: Sequence[str]) -> Any:
        return np.array([table.setdefault(text, rng.standard_normal(33)) for text in texts])

    entries = [lesson(f"lesson {i}", *(f"case {i % 7} {j}" for j in range(i % 4))) for i in range(40)]
    expected = None
    for _ in range(3):
        random.Random(seed).shuffle(entries)
        library = ExperienceLibrary(entries)
        found = [search(library, Vectors(dspy.Embedder(noise)), "query", depth) for depth in (1, 7, 40)]
        expected = expected or found
        assert found == expected


def test_a_text_is_embedded_once_in_batches_whatever_library_it_is_in() -> None:
    model = WordCounts()
    vectors = Vectors(dspy.Embedder(model, batch_size=10))
    entries = [lesson(f"odd {i}", "a prime sum") for i in range(24)]
    library = ExperienceLibrary(entries)
    search(library, vectors, "odd", 3)
    assert [len(batch) for batch in model.asked] == [10, 10, 5, 1]  # 24 lessons, one problem, the query
    search(ExperienceLibrary(entries[::-1]), vectors, "odd", 3)
    search(committed(library, Remove(entries[0].id), Insert(entries[0])), vectors, "odd", 3)
    assert [len(batch) for batch in model.asked[4:]] == [1, 1]
    assert len(vectors) == 25


def test_what_has_many_rows_does_not_crowd_out_the_rest() -> None:
    entries = [lesson(f"odd {i}", *(f"odd prime {i} {j}" for j in range(8))) for i in range(9)]
    found = search(ExperienceLibrary(entries), Vectors(dspy.Embedder(WordCounts())), "odd prime", 6)
    assert [match.entry_id for match in found] == sorted(entry.id for entry in entries)[:6]


@pytest.mark.parametrize(
    "model",
    [
        lambda texts: np.zeros(len(texts)),
        lambda texts: np.full((len(texts), 3), np.nan),
        lambda texts: np.ones((len(texts), 2 + ("query" in texts[0]))),
        lambda texts: np.ones((len(texts) + 1, 2)),
    ],
)
def test_what_are_no_vectors_is_an_error(model: Any) -> None:
    with pytest.raises(ConfigurationError, match="embedder"):
        search(ExperienceLibrary([lesson("a")]), Vectors(dspy.Embedder(model)), "query", 3)


def test_a_failed_embedding_is_asked_for_again() -> None:
    calls = []

    def flaky(texts: Sequence[str]) -> Any:
        calls.append(len(texts))
        if len(calls) == 1:
            raise TimeoutError
        return np.ones((len(texts), 2))

    library, vectors = ExperienceLibrary([lesson("a"), lesson("b")]), Vectors(dspy.Embedder(flaky))
    with pytest.raises(TimeoutError):
        search(library, vectors, "query", 3)
    assert len(search(library, vectors, "query", 3)) == 2


# -- beside the library --------------------------------------------------------------------------------------


def test_saved_vectors_are_not_made_again(tmp_path: Path) -> None:
    library = ExperienceLibrary([lesson(f"odd prime {i}", f"case {i}") for i in range(20)])
    vectors = Vectors(dspy.Embedder(WordCounts()))
    expected = search(library, vectors, "odd", 9)
    vectors.save(tmp_path / "v.npz")
    model = WordCounts()
    loaded = Vectors.load(tmp_path / "v.npz", dspy.Embedder(model))
    assert search(library, loaded, "odd", 9) == expected
    assert model.asked == [["odd"]]
    assert list(tmp_path.iterdir()) == [tmp_path / "v.npz"]


def test_a_file_of_another_embedder_or_of_none_is_refused(tmp_path: Path) -> None:
    vectors = Vectors(dspy.Embedder(WordCounts()))
    vectors.numbers(["odd"])
    vectors.save(tmp_path / "v.npz")
    with pytest.raises(ConfigurationError, match="made by embedder 'WordCounts'"):
        Vectors.load(tmp_path / "v.npz", dspy.Embedder("openai/text-embedding-3-small"))
    whole = (tmp_path / "v.npz").read_bytes()
    for broken in (b"", whole[:100], b"{}"):
        (tmp_path / "v.npz").write_bytes(broken)
        with pytest.raises(LibraryFormatError, match=r"v\.npz"):
            Vectors.load(tmp_path / "v.npz", dspy.Embedder(WordCounts()))


# -- in a retriever ------------------------------------------------------------------------------------------


def retriever(*entries: Experience, **settings: Any) -> ExperienceRetriever:
    settings = {"views": ["dense"], "embedder": dspy.Embedder(WordCounts()), **settings}
    return ExperienceRetriever(ExperienceLibrary(list(entries)), **settings)


def test_the_own_case_is_no_reason_to_be_found() -> None:
    shared = lesson("ring", "an odd prime", "an amide")
    other = lesson("odd", "a die")
    hits = retriever(shared, other, lesson("own", "an odd prime")).hits("an odd prime", 5)
    assert [hit.experience.id for hit in hits] == [other.id]
    hits = retriever(shared, other, exclude_self=False).hits("an odd prime", 5)
    assert hits[0].experience.id == shared.id
    assert hits[0].why() == "dense rank 1 (1.000); golden x 1; score 0.0164"


def test_saved_state_names_the_embedder_and_holds_no_vector() -> None:
    saved = retriever(lesson("odd")).dump_state()
    assert saved["embedder"] == "WordCounts"
    fresh = ExperienceRetriever(embedder=dspy.Embedder(WordCounts()))
    fresh.load_state(saved)
    assert fresh.views == ["dense"]
    with pytest.raises(ConfigurationError, match="embedder 'WordCounts'"):
        ExperienceRetriever().load_state(saved)
    with pytest.raises(ConfigurationError, match="needs an embedder"):
        ExperienceRetriever(views=["dense"])


def test_a_copy_shares_the_vectors() -> None:
    model = WordCounts()
    first = retriever(lesson("odd"), lesson("even"), embedder=dspy.Embedder(model))
    first("odd")
    count = len(model.asked)
    copied = copy.deepcopy(first)
    assert copied.vectors is first.vectors
    copied.k = 1
    assert first.k == 8
    copied("even")
    assert model.asked[count:] == [["even"]]


def test_retrievers_with_one_embedder_share_its_vectors() -> None:
    embedder = dspy.Embedder(WordCounts())
    first = retriever(embedder=embedder)
    assert retriever(embedder=embedder).vectors is first.vectors
    assert retriever(embedder=dspy.Embedder(WordCounts())).vectors is not first.vectors
    ended = weakref.ref(first.vectors)  # type: ignore[arg-type]
    del first
    gc.collect()
    assert ended() is None


def test_an_embedder_at_work_does_not_hold_up_the_event_loop() -> None:
    threads = []

    def embed(texts: Sequence[str]) -> Any:
        threads.append(threading.current_thread())
        return np.ones((len(texts), 2))

    async def both() -> list[str]:
        searching = retriever(lesson("odd"), embedder=dspy.Embedder(embed))
        with pinned(searching.library) as reading:
            await searching.acall("odd")
            await searching.ahits("odd", 1)
        return reading.shown

    assert len(asyncio.run(both())) == 1
    assert threading.main_thread() not in threads
    assert len(threads) == 3  # the lesson, and each query

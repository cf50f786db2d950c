"""What one client may ask of a server, and that the others are served whatever it asks."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPDeprecationWarning
from rdkit import Chem

from flex_dspy.core.errors import LimitError
from flex_dspy.evaluation.usage_log import UsageLog
from flex_dspy.libraries.experience import Experience, Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.metrics.molecules import MAX_ATOMS, MAX_LENGTH, canonical_smiles, fingerprint
from flex_dspy.serving.call_limits import THREADS, CallLimits, Calls, TokenBucket
from flex_dspy.serving.library_tools import LibraryTools
from flex_dspy.serving.mcp_server import mcp_server
from flex_dspy.tracking.followed import FollowedLibrary

AMIDE = Experience("golden", "Cut the amide bond.", precedents=(Precedent("e1", "CC(=O)NC", "CC(=O)O.CN"),))
LIBRARY = ExperienceLibrary([AMIDE], task="uspto50k")
HOSTILE = ["C=C=" * 4_990 + "C", "C1CC1" * 3_999, "c1" + "c" * 3_996 + "1", "C" * (MAX_ATOMS + 1)]


class Slow(FollowedLibrary):
    """A library whose reading ends when it is told to, or after a minute."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, every=0)
        self.reading, self.go_on = threading.Event(), threading.Event()

    def snapshot(self) -> ExperienceLibrary:
        self.reading.set()
        assert self.go_on.wait(60)
        return super().snapshot()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    LIBRARY.save(tmp_path / "amides.json")
    return tmp_path / "amides.json"


@pytest.fixture
def slow(path: Path) -> Iterator[Slow]:
    library = Slow(path)
    yield library
    library.go_on.set()


async def text(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    return "\n".join(part.text for part in result.content)


# -- others are served meanwhile ---------------------------------------------------------------------------


def test_a_ping_is_answered_while_another_client_searches(slow: Slow) -> None:
    async def talk() -> str:
        server = mcp_server(LibraryTools(slow))
        async with Client(server) as one, Client(server, mode="legacy") as two:
            search = asyncio.create_task(text(one, "search", query="CC(=O)NC"))
            await asyncio.to_thread(slow.reading.wait, 60)
            with pytest.warns(MCPDeprecationWarning):  # newer clients have none
                await two.send_ping()
            await two.list_tools()
            assert not search.done()
            slow.go_on.set()
            return await search

    assert AMIDE.id in asyncio.run(talk())


def test_a_search_that_takes_too_long_is_an_error_that_says_so(slow: Slow) -> None:
    async def talk() -> str:
        async with Client(mcp_server(LibraryTools(slow), limits=CallLimits(seconds=0.1))) as client:
            return await text(client, "search", query="CC(=O)NC")

    assert "longer than 0.1 s and was given up" in asyncio.run(talk())


def test_calls_that_never_end_take_no_more_than_half_of_the_threads() -> None:
    go_on = threading.Event()
    started = threading.Semaphore(0)

    def stuck() -> str:
        started.release()
        assert go_on.wait(60)
        return "late"

    async def talk() -> None:
        calls = Calls(CallLimits(seconds=0.2))
        answers = await asyncio.gather(*(calls.run("one", stuck) for _ in range(THREADS)), return_exceptions=True)
        assert all(isinstance(answer, LimitError) for answer in answers)
        assert [started.acquire(timeout=0) for _ in range(THREADS)].count(True) == THREADS // 2
        with pytest.raises(LimitError):  # its threads are not free yet
            await calls.run("one", lambda: "answer")
        assert await calls.run("two", lambda: "answer") == "answer"
        go_on.set()
        for _ in range(THREADS // 2):  # the threads end, and the client has its turns again
            await asyncio.wait_for(calls._turns("one").acquire(), 60)

    try:
        asyncio.run(talk())
    finally:
        go_on.set()


def test_an_error_of_a_call_is_the_callers() -> None:
    def fail() -> str:
        raise TimeoutError("a lock")

    with pytest.raises(TimeoutError, match="a lock"):
        asyncio.run(Calls().run("", fail))


# -- how often ---------------------------------------------------------------------------------------------


def test_a_bucket_lets_through_as_many_a_minute_as_it_says() -> None:
    now = 0.0
    bucket = TokenBucket(6, lambda: now)
    assert [bucket.take() for _ in range(8)] == [0.0] * 6 + [10.0, 10.0]
    now = 4.0
    assert bucket.take() == pytest.approx(6.0)
    now = 10.0
    assert (bucket.take(), bucket.take()) == (0.0, 10.0)
    now = 1_000.0  # a pause saves up a minute's worth and no more
    assert [bucket.take() for _ in range(7)].count(0.0) == 6


def test_outcomes_are_limited_and_what_is_refused_is_not_recorded(path: Path) -> None:
    async def talk() -> list[str]:
        tools = LibraryTools(FollowedLibrary(path, every=0), UsageLog(path))
        async with Client(mcp_server(tools, limits=CallLimits(outcomes_per_minute=3))) as client:
            said = [await text(client, "record_outcome", solved=True, relied_on=[AMIDE.id]) for _ in range(5)]
            assert AMIDE.id in await text(client, "search", query="CC(=O)NC")  # reading has its own limit
            return said

    said = asyncio.run(talk())
    assert [one.startswith("recorded") for one in said] == [True, True, True, False, False]
    assert "a client may record 3 outcomes a minute: try again in" in said[-1]
    assert len(UsageLog(path).read()) == 3


def test_readings_are_limited_whichever_tool_or_resource(path: Path) -> None:
    async def talk() -> str:
        async with Client(
            mcp_server(LibraryTools(FollowedLibrary(path)), limits=CallLimits(calls_per_minute=2))
        ) as one:
            await one.read_resource("flex-dspy://statistics")
            await text(one, "read_rules", ids=[AMIDE.id])
            return await text(one, "search", query="amide")

    assert "a client may make 2 calls a minute" in asyncio.run(talk())


# -- how large ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smiles", HOSTILE, ids=range(len(HOSTILE)))
def test_a_molecule_that_is_too_large_never_reaches_rdkit(
    path: Path, smiles: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = LibraryTools(FollowedLibrary(path))
    assert AMIDE.id in tools.search("CC(=O)NCC")  # what is known is indexed
    read = Chem.MolFromSmiles

    def refuse_large(text: str, *settings: Any) -> Chem.Mol:
        assert len(text) <= MAX_LENGTH
        return read(text, *settings)

    monkeypatch.setattr(Chem, "MolFromSmiles", refuse_large)
    assert canonical_smiles(smiles) is None
    assert fingerprint(smiles) is None
    assert "lesson" in tools.search(smiles[:20_000])
    assert "Cut the amide bond." in tools.read_rules([AMIDE.id], smiles[:20_000])

"""Clients with scopes of their own: what a token lets one read and write, and what it keeps from the others."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import dspy
import pytest
from mcp import Client

from flex_dspy.commands.actions import serve
from flex_dspy.commands.options.serve import AccessOptions, HttpOptions, ServedLibrary
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.learning.online import OnlineLearner
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.serving.access import Access, named_scope
from flex_dspy.serving.library_tools import LibraryTools, outcome_log
from flex_dspy.serving.mcp_server import mcp_server
from flex_dspy.serving.tokens import clients_of_environment, parse_clients
from flex_dspy.tracking.followed import FollowedLibrary
from tests.benchmarks.bench_clients import FamilyCritic, FamilyUpdater, run

TOKEN = "a-token-0123456789-0123456789"
ALL = Experience("golden", "Dice: count the complement.")
MINE = Experience("golden", "Dice of mine.", scope="mine")
YOURS = Experience("golden", "Dice of yours: secret.", scope="yours")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "dice.json"
    ExperienceLibrary([ALL, MINE, YOURS], task="dice").save(path)
    return path


def talk(path: Path, access: Access, say: Callable[[Client], Awaitable[Any]], learner: Any = None) -> Any:
    async def main() -> Any:
        tools = LibraryTools(FollowedLibrary(path, 0), outcome_log(path), learner=learner, access=lambda: access)
        async with Client(mcp_server(tools)) as client:
            return await say(client)

    return asyncio.run(main())


async def call(client: Client, tool: str, **arguments: Any) -> tuple[bool, str]:
    result = await client.call_tool(tool, arguments)
    return result.is_error, "\n".join(part.text for part in result.content)


def test_a_client_meets_what_it_may_read_and_no_more(path: Path) -> None:
    async def say(client: Client) -> None:
        found = (await call(client, "search", query="dice secret"))[1]
        assert ALL.id in found
        assert MINE.id in found
        assert "(2 of 2 lessons)" in found
        for tool in ("read_rules", "read_trajectories"):
            known, unknown = [await call(client, tool, ids=[i]) for i in (YOURS.id, "0" * 16)]
            assert known == (True, unknown[1].replace("0" * 16, YOURS.id))
        assert (await call(client, "record_outcome", solved=True, relied_on=[YOURS.id]))[0]
        figures = (await client.read_resource("flex-dspy://statistics")).contents[0].text
        assert '"entries": 2' in figures

    talk(path, Access(("mine",)), say)


def test_an_observation_is_learned_in_the_scope_of_its_client(path: Path) -> None:
    async def say(client: Client) -> None:
        asked = {"problem": "Case 3 of owner-mine", "answer": "3", "solved": True, "id": "request 1"}
        for _ in range(2):  # the second counts as the first
            assert await call(client, "observe", **asked) == (False, "kept: a lesson will be learned from it")
        refused, said = await call(client, "observe", **{**asked, "id": "request 2"}, read=[YOURS.id])
        assert refused
        assert "there is no lesson" in said

    with OnlineLearner(
        dspy.Predict("problem -> answer"), library=path, critic=FamilyCritic(), updater=FamilyUpdater()
    ) as learner:
        talk(path, Access(writes="mine"), say, learner)
        learner.flush(30)
    library = ExperienceLibrary.load(path)
    assert [e.method for e in library.scoped("mine", shared=False)] == [MINE.method, "family 3 owner-mine"]
    assert len(library) == 4


def test_who_may_not_write_teaches_nothing(path: Path) -> None:
    async def say(client: Client) -> tuple[bool, str]:
        return await call(client, "observe", problem="p", answer="a", solved=True)

    with OnlineLearner(dspy.Predict("problem -> answer"), library=path, critic=FamilyCritic()) as learner:
        refused, said = talk(path, Access(("mine",)), say, learner)
    assert refused
    assert "may read lessons and teach none" in said


def test_two_clients_learn_at_once(tmp_path: Path) -> None:
    found = asyncio.run(run(tmp_path, 40))
    assert found.pop("entries") == 10  # five families in each scope
    assert {name: found[name] for name in found if name not in ("calls", "seconds")} == {
        "refused": 0,
        "answers crossed": 0,
        "prompts crossed": 0,
        "scopes with a loss": 0,
        "entries crossed": 0,
    }


# -- where the scopes are said -----------------------------------------------------------------------------


def test_a_token_line_says_scopes(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = f"a:{TOKEN} read=mine,org write=mine\nb:{TOKEN}x write=shared\n{TOKEN}y\n"
    monkeypatch.setenv("LIBRARY_TOKENS", lines)
    clients = clients_of_environment("LIBRARY_TOKENS")
    assert clients.accesses == {
        "a": Access(("mine", "org"), "mine"),
        "b": Access((), ""),
        "client-3": Access((), None),
    }
    assert clients.access() == Access()  # of nobody
    assert TOKEN not in repr(clients)


@pytest.mark.parametrize(
    "words", ["read", "read=", "read=a b", "read=a read=b", "write=a,b", "own=a", f"read={TOKEN}!", "read=a b:" + TOKEN]
)
def test_a_line_with_other_words_is_refused_without_showing_it(words: str) -> None:
    with pytest.raises(ConfigurationError, match="line 1: must be") as caught:
        parse_clients(f"a:{TOKEN} {words}", "tokens")
    assert TOKEN not in str(caught.value)


def test_a_client_has_the_same_scopes_in_all_its_lines() -> None:
    with pytest.raises(ConfigurationError, match="line 2: a has other scopes"):
        parse_clients(f"a:{TOKEN} read=x\na:{TOKEN}2 read=y", "tokens")
    with pytest.raises(ConfigurationError, match="variable NO_SUCH_TOKENS: holds no token"):
        clients_of_environment("NO_SUCH_TOKENS")


def test_options_that_do_not_fit_together_are_refused(path: Path, tmp_path: Path) -> None:
    limits = serve.ServerLimits()
    for library, http, access, problem in (
        (ServedLibrary(str(path), read_only=True, learn_with="m"), HttpOptions(), AccessOptions(), "--read-only"),
        (ServedLibrary(str(path)), HttpOptions(token_variable="T"), AccessOptions(), "over HTTP"),
        (
            ServedLibrary(str(path)),
            HttpOptions("0", token_file=tmp_path, token_variable="T"),
            AccessOptions(),
            "exclude",
        ),
        (ServedLibrary(str(path)), HttpOptions("0", token_variable="T"), AccessOptions(("a",)), "with the tokens"),
        (ServedLibrary(str(path)), HttpOptions(), AccessOptions(("a b",)), "a scope is"),
    ):
        with pytest.raises(ConfigurationError, match=problem):
            serve.run(library, http, access, limits)
    assert named_scope("shared") == ""

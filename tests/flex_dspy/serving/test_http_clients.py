"""A server over HTTP that knows its clients by their tokens, asked by the SDK's own client."""

import asyncio
import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from flex_dspy import cli
from flex_dspy.commands.actions import serve
from flex_dspy.commands.options.serve import HttpOptions, ServedLibrary, ServerLimits
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.evaluation.usage_log import UsageLog
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.serving.call_limits import CallLimits
from flex_dspy.serving.mcp_server import listening, refuse_open_address
from flex_dspy.serving.tokens import Clients

ALICE, BOB, WRONG = ("alice-token-0123456789", "bob-token-0123456789", "wrong-token-0123456789")
DICE = Experience("golden", "Count the complement.", category="dice")


class Served:
    """A server that runs: its address, its library, and what it said on stderr once it has ended."""

    def __init__(self, folder: Path) -> None:
        self.library = folder / "dice.json"
        ExperienceLibrary([DICE], task="dice").save(self.library)
        tokens = folder / "tokens"
        tokens.write_text(f"alice:{ALICE}\nbob:{BOB}\n")
        tokens.chmod(0o600)
        command = [sys.executable, "-m", "flex_dspy.cli", "serve", "--mcp", str(self.library), "--http", "127.0.0.1:0"]
        options = ["--token-file", str(tokens), "--outcomes-per-minute", "3"]
        pipes: dict[str, Any] = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL}
        self.process = subprocess.Popen([*command, *options], **pipes)
        self.said = self.process.stderr.readline().decode()
        self.url = self.said.split()[-1]

    def end(self) -> str:
        self.process.terminate()
        self.said += self.process.communicate(timeout=60)[1].decode()
        return self.said


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("served"))
    try:
        yield server
    finally:
        said = server.end()
        server.process.stderr.close()
    assert not any(token in said for token in (ALICE, BOB, WRONG))


@contextlib.asynccontextmanager
async def connected(served: Served, token: str) -> AsyncIterator[Client]:
    async with (
        create_mcp_http_client({"Authorization": f"Bearer {token}"}) as http_client,
        Client(streamable_http_client(served.url, http_client=http_client)) as client,
    ):
        yield client


async def record(client: Client) -> str:
    result = await client.call_tool("record_outcome", {"solved": True, "relied_on": [DICE.id]})
    return "\n".join(part.text for part in result.content)


def answer(served: Served, **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of the answer to a handshake."""
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
    kinds = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    connection = http.client.HTTPConnection(served.url.split("/")[2], timeout=60)
    try:
        connection.request("POST", "/mcp", body, {**kinds, **headers})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read().decode()
    finally:
        connection.close()


def test_a_client_with_its_token_is_served_within_its_own_limits(served: Served) -> None:
    async def talk() -> tuple[list[str], str]:
        async with connected(served, ALICE) as alice, connected(served, BOB) as bob:
            found = await alice.call_tool("search", {"query": "complement"})
            assert DICE.id in found.content[0].text
            return [await record(alice) for _ in range(5)], await record(bob)

    alices, bobs = asyncio.run(talk())
    assert [said.startswith("recorded") for said in alices] == [True, True, True, False, False]
    assert "a client may record 3 outcomes a minute: try again in" in alices[-1]
    assert bobs.startswith("recorded")
    assert len(UsageLog(served.library).read()) == 4


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": f"Bearer {WRONG}"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {ALICE}"},
        {"Authorization": f"Bearer alice:{ALICE}"},
        {"Authorization": f"Bearer {ALICE}x"},
        {"Mcp-Session-Id": ALICE},
    ],
)
def test_without_a_right_token_nothing_is_answered(served: Served, headers: dict[str, str]) -> None:
    status, answered, body = answer(served, **headers)
    assert status == 401
    assert answered["www-authenticate"].startswith("Bearer ")
    assert "resource_metadata" not in answered["www-authenticate"]  # there is no authorization server
    assert ALICE not in body
    assert WRONG not in body


def test_the_sdks_client_is_turned_away_too(served: Served) -> None:
    async def talk() -> None:
        async with connected(served, WRONG) as client:
            await client.list_tools()

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(talk())
    assert caught.group_contains(MCPError, match="Server returned an error response")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1.evil.example"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
    ],
)
def test_a_right_token_opens_nothing_to_a_page_of_another_host(
    served: Served, headers: dict[str, str], status: int
) -> None:
    assert answer(served, Authorization=f"Bearer {ALICE}", **headers)[0] == status


def test_a_request_that_is_too_large_is_refused(served: Served) -> None:
    assert answer(served, Authorization=f"Bearer {ALICE}", Padding="x" * 1_000)[0] == 200
    connection = http.client.HTTPConnection(served.url.split("/")[2], timeout=60)
    try:
        kinds = {"Content-Type": "application/json", "Authorization": f"Bearer {ALICE}"}
        connection.request("POST", "/mcp", " " * 1_000_000, kinds)
        assert connection.getresponse().status == 413
    finally:
        connection.close()


@pytest.mark.skipif(not Path("/proc").exists(), reason="only Linux shows it so")
def test_the_tokens_stand_in_no_argument_of_the_process(served: Served) -> None:
    shown = (
        Path(f"/proc/{served.process.pid}/cmdline").read_bytes()
        + Path(f"/proc/{served.process.pid}/environ").read_bytes()
    )
    assert ALICE.encode() not in shown


# -- the command -------------------------------------------------------------------------------------------


def run(*arguments: str) -> None:
    """``flex-dspy serve``, whose errors are raised."""
    cli.call(["serve", "--mcp", *arguments])


@pytest.fixture
def library(tmp_path: Path) -> str:
    ExperienceLibrary([DICE], task="dice").save(tmp_path / "dice.json")
    return str(tmp_path / "dice.json")


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "0:0"])
def test_without_tokens_it_listens_at_this_machine_alone(library: str, address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"say who may use the server by --token-file FILE"):
        run(library, "--http", address, "--allowed-host", "name.example")


def test_with_tokens_it_may_listen_anywhere_under_names_that_are_given() -> None:
    clients = Clients({b"": "alice"})
    with listening("0.0.0.0", 0) as listener:
        refuse_open_address(listener, "0.0.0.0", ["name.example"], clients)
        with pytest.raises(ConfigurationError, match="--allowed-host NAME"):
            refuse_open_address(listener, "0.0.0.0", [], clients)
        with pytest.raises(ConfigurationError, match="--token-file FILE"):  # whatever the name is resolved to
            refuse_open_address(listener, "localhost", [], None)


def test_a_token_file_needs_http(library: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--token-file is for a server over HTTP"):
        run(library, "--token-file", str(tmp_path / "tokens"))


def test_a_server_for_reading_alone_has_no_tool_that_writes(library: str) -> None:
    async def names(*, read_only: bool) -> list[str]:
        served = ServedLibrary(library, read_only=read_only)
        async with Client(serve.make_server(served, ServerLimits(), None)) as client:
            return [tool.name for tool in (await client.list_tools()).tools]

    assert "record_outcome" in asyncio.run(names(read_only=False))
    assert asyncio.run(names(read_only=True)) == ["search", "read_rules", "read_trajectories"]


def test_the_defaults_of_the_command_are_those_of_the_code() -> None:
    given = ServerLimits()
    assert CallLimits(given.calls_per_minute, given.outcomes_per_minute, given.time_limit) == CallLimits()
    assert HttpOptions().token_file is None
    assert not ServedLibrary("dice.json").read_only

"""Two MCP clients of two scopes, learning and searching at once: nothing lost, nothing crossed.

    .venv/bin/python -m tests.benchmarks.bench_clients --calls 1000

Both send the same problems in the same words, so that a lesson of one would be merged into the other's if it could.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import dspy
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from flex_dspy.learning.online import OnlineLearner
from flex_dspy.libraries.experience import Experience, Insert, Merge, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.programs import Critic, Updater
from flex_dspy.serving.call_limits import CallLimits
from flex_dspy.serving.library_tools import LibraryTools, outcome_log
from flex_dspy.serving.mcp_server import mcp_server
from flex_dspy.serving.tokens import parse_clients
from flex_dspy.tracking.followed import FollowedLibrary

FAMILIES = 10
TOKENS = {"team-a": "a-token-of-the-first-team-0123456789", "team-b": "a-token-of-another-team-0123456789"}
_OWNER = re.compile(r"owner-[\w-]+")


class FamilyCritic(Critic):
    """A lesson of the problem's family; it keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.crossed = 0

    async def aforward(self, precedent: Any, trajectory: Any = None, *, shown: Any = ()) -> dspy.Prediction:
        own = set(_OWNER.findall(precedent.problem))
        self.crossed += any(set(_OWNER.findall(entry.text())) - own for entry in shown)
        family = f"family {int(re.findall(r'[0-9]+', precedent.problem)[0]) % FAMILIES}"
        rules = (Rule(f"Do as {family} does."),)
        return dspy.Prediction(
            experience=Experience("golden", f"{family} {min(own)}", rules, category=family, precedents=(precedent,))
        )


class FamilyUpdater(Updater):
    """Merges into whatever it is shown of the family."""

    def __init__(self) -> None:
        super().__init__()
        self.crossed = 0

    async def aforward(self, lesson: Any, nearest: Any) -> dspy.Prediction:
        self.crossed += sum(entry.scope != lesson.scope for entry in nearest)
        same = [entry for entry in nearest if entry.category == lesson.category]
        return dspy.Prediction(edit=Merge(same[0].id, lesson) if same else Insert(lesson))


async def use(url: str, app: Any, scope: str, calls: int) -> tuple[int, int]:
    """Teach and search in turn as a client; the number of refusals, and of answers that name the other scope."""
    refused = crossed = 0
    headers = {"Authorization": f"Bearer {TOKENS[scope]}"}
    transport = httpx2.ASGITransport(app=app)
    async with (
        httpx2.AsyncClient(transport=transport, headers=headers, timeout=120) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        for number in range(calls):
            if number % 2 == 0:
                problem = f"Case {number} of owner-{scope}"
                asked = {"problem": problem, "answer": str(number), "solved": True, "id": f"request {number}"}
                result = await client.call_tool("observe", asked)
            else:
                query = {"query": f"family {number % FAMILIES} owner-team-a owner-team-b"}
                result = await client.call_tool("search", query)
            said = "\n".join(part.text for part in result.content)
            refused += result.is_error
            crossed += bool(set(_OWNER.findall(said)) - {f"owner-{scope}"})
    return refused, crossed


async def run(folder: Path, calls: int) -> dict[str, Any]:
    """Let both clients make half of the calls each, at the same time."""
    path = folder / "library.json"
    LibraryStore(path, task="cases").checkpoint()
    clients = parse_clients("\n".join(f"{name}:{token} write={name}" for name, token in TOKENS.items()), "tokens")
    critic, updater = FamilyCritic(), FamilyUpdater()
    learner = OnlineLearner(dspy.Predict("problem -> answer"), library=path, critic=critic, updater=updater)
    tools = LibraryTools(FollowedLibrary(path, every=0), outcome_log(path), learner=learner, access=clients.access)
    server = mcp_server(tools, clients, CallLimits(10**6, 10**6, 120))
    app = server.streamable_http_app(json_response=True, stateless_http=True, host="127.0.0.1")
    start = time.perf_counter()
    async with app.router.lifespan_context(app):
        uses = [use("http://127.0.0.1:8000/mcp", app, scope, calls // 2) for scope in TOKENS]
        results = await asyncio.gather(*uses)
    seconds = time.perf_counter() - start
    await asyncio.to_thread(learner.flush, 600)
    await asyncio.to_thread(learner.close)
    return {
        "calls": calls,
        "seconds": round(seconds, 1),
        "refused": sum(refused for refused, _ in results),
        "answers crossed": sum(crossed for _, crossed in results),
        "prompts crossed": critic.crossed + updater.crossed,
        **account(ExperienceLibrary.load(path), calls // 2),
    }


def account(library: ExperienceLibrary, calls: int) -> dict[str, int]:
    """Observations that are lost or twice in their scope, and entries that hold something of another."""
    wrong = 0
    for scope in TOKENS:
        entries = list(library.scoped(scope, shared=False))
        learned = sorted(precedent.problem for entry in entries for precedent in entry.precedents)
        wrong += learned != sorted(f"Case {number} of owner-{scope}" for number in range(0, calls, 2))
    owners = [set(_OWNER.findall(f"{entry.text()} {entry.precedents}")) for entry in library]
    crossed = sum(names != {f"owner-{entry.scope}"} for names, entry in zip(owners, library, strict=True))
    return {"scopes with a loss": wrong, "entries crossed": crossed, "entries": len(library)}


def main() -> None:
    """Print what became of the calls."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000)
    print(asyncio.run(run(Path(mkdtemp()), parser.parse_args().calls)))


if __name__ == "__main__":
    main()

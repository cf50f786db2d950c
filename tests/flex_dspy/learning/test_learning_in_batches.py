"""Learning through a batch endpoint: the library of a run without, each call paid once, whatever cuts the run short."""

import json
from pathlib import Path

import dspy
import pytest
from tenacity import wait_none

from flex_dspy.core.errors import BudgetError
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.batch_endpoint import BatchEndpoint, BatchStatus, LiteLLMEndpoint
from flex_dspy.models.batches import Batches
from flex_dspy.models.lm import language_model
from flex_dspy.models.spending import Ledger, Usage
from flex_dspy.programs import Actor, Critic, Updater
from flex_dspy.search.retrieval import ExperienceRetriever
from tests.llm_batches import DeskEndpoint, Fate
from tests.llm_server import LLMServer
from tests.scripted import problems, right, student

pytestmark = pytest.mark.usefixtures("no_figures")

TRAIN = problems(16)


class KilledError(BaseException):
    """Ends a run as a signal would: nothing handles it."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("API_KEY", "none")
    monkeypatch.setattr("flex_dspy.models.lm.BACKOFF", wait_none())
    with LLMServer(student) as running:
        yield running


def learn(server: LLMServer, path: Path, endpoint: BatchEndpoint | None, ledger: Ledger, **settings) -> str:
    """Learn in a process of its own, as far as it can be told: no cache in memory, new models. Returns the hash."""
    dspy.configure_cache(enable_disk_cache=True, disk_cache_dir=str(path.parent / "cache"))
    collector = Batches(poll_seconds=0.001, quiet_seconds=0.01, endpoint=lambda model, client: endpoint)
    at_once = language_model("openai/test", api_base=server.url)
    teacher = at_once if endpoint is None else language_model("openai/test", api_base=server.url, batches=collector)
    critic, updater = Critic(), Updater()
    critic.set_lm(teacher)
    updater.set_lm(teacher)
    given = {"max_rollouts": 1, "window": 8, "concurrency": 8, "checkpoint_every": 8, "progress": False, **settings}
    optimizer = ForwardLearning(right, library=path, critic=critic, updater=updater, ledger=ledger, **given)
    with dspy.context(lm=at_once):
        optimizer.compile(Actor("problem -> answer: int", ExperienceRetriever(views=["lexical"])), trainset=TRAIN)
    return ExperienceLibrary.load(path).hash


@pytest.fixture
def plain(server, tmp_path) -> tuple[str, int]:
    """Hash and number of calls of a run without batches."""
    (tmp_path / "plain").mkdir()
    found = learn(server, tmp_path / "plain" / "library.json", None, Ledger())
    calls = len(server.requests)
    server.requests.clear()
    return found, calls


def test_the_library_is_the_one_of_a_run_without_batches(server, tmp_path, plain):
    ledger = Ledger()
    server.batches.fates = [Fate(looks=3), Fate(status="expired", answered=1), Fate()]
    assert learn(server, tmp_path / "library.json", DeskEndpoint(server.batches), ledger) == plain[0]
    assert ledger.total.calls == server.usage["all"].calls == plain[1]
    in_batches = sum(len(batch.lines) for batch in server.batches.batches)
    assert in_batches > len(server.of("critic"))
    assert len(server.batches.batches) < len(server.of("critic"))


def test_study_goes_through_batches_alone(server, tmp_path):
    learn(server, tmp_path / "library.json", DeskEndpoint(server.batches), Ledger(), study=True)
    asked_again = len(server.requests) - sum(len(batch.lines) for batch in server.batches.batches)
    assert len(server.of("critic")) == len(TRAIN)
    assert asked_again == 0


class Mortal(DeskEndpoint):
    """An endpoint whose process is killed at the n-th look at a batch, in the end of which it leaves all batches."""

    def __init__(self, server: LLMServer, looks: int) -> None:
        super().__init__(server.batches)
        self.looks = looks

    async def status(self, batch_id: str) -> BatchStatus:
        """Where a batch stands, as long as the process lives."""
        self.looks -= 1
        if not self.looks:
            raise KilledError
        return await super().status(batch_id)


def test_a_run_that_is_killed_pays_nothing_twice(server, tmp_path, plain):
    server.batches.fates = [Fate(looks=2)]
    path = tmp_path / "library.json"
    charged = kills = 0
    for looks in (1, 3, 4, 5):  # a busy machine fills its batches, and the last run may end with fewer looks
        ledger = Ledger()
        try:
            learn(server, path, Mortal(server, looks), ledger)
        except KilledError:
            kills += 1
        charged += ledger.by_role.get("critic", Usage()).calls
    assert kills >= 3
    ledger = Ledger()
    assert learn(server, path, DeskEndpoint(server.batches), ledger) == plain[0]
    bodies = [json.dumps(line["body"]) for batch in server.batches.batches for line in batch.lines]
    assert len(set(bodies)) == len(bodies)
    charged += ledger.by_role.get("critic", Usage()).calls
    assert charged == len(server.of("critic")) == len(TRAIN)


def test_a_budget_ends_the_run_and_a_larger_one_goes_on(server, tmp_path, plain):
    path, small, large = tmp_path / "library.json", Ledger(budget_tokens=20_000), Ledger()
    with pytest.raises(BudgetError, match="is spent"):
        learn(server, path, DeskEndpoint(server.batches), small)
    assert small.total.calls == server.usage["all"].calls < plain[1]
    assert learn(server, path, DeskEndpoint(server.batches), large) == plain[0]
    assert small.total.calls + large.total.calls == server.usage["all"].calls == plain[1]


@pytest.mark.slow
def test_the_same_through_litellm(server, tmp_path, plain):
    ledger, client = Ledger(), {"api_base": server.url, "api_key": "none"}
    server.batches.fates = [Fate(), Fate(is_reply_lost=True), Fate()]
    found = learn(server, tmp_path / "library.json", LiteLLMEndpoint("openai/test", client), ledger)
    assert found == plain[0]
    assert ledger.total.calls == server.usage["all"].calls == plain[1]

"""A budget that is kept: calls stop at the cap, what is under way is counted, and a larger budget goes on."""

from pathlib import Path

import dspy
import pytest

from flex_dspy.core.errors import BudgetError
from flex_dspy.evaluation.evaluate import evaluate
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.models.lm import language_model
from flex_dspy.models.prices import Price
from flex_dspy.models.spending import Ledger
from flex_dspy.programs import Actor
from flex_dspy.search.retrieval import ExperienceRetriever
from tests.llm_faults import Latency
from tests.llm_server import LLMServer, Received
from tests.scripted import problems, right, student

pytestmark = pytest.mark.usefixtures("no_figures")

CONCURRENCY = 8
TRAIN = problems(60)
# About a third of what learning from all of them takes.
BUDGETS = [{"budget_tokens": 60_000}, {"budget_usd": 0.10, "prices": {"openai/test": Price.per_million(1, 10)}}]


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("API_KEY", "none")
    dspy.configure_cache(disk_cache_dir=str(tmp_path / "cache"))
    with LLMServer(student, latency=Latency(median=0.01)) as running:
        dspy.configure(lm=language_model("openai/test", api_base=running.url))
        yield running


def learn(path: Path, ledger: Ledger) -> ForwardLearning:
    optimizer = ForwardLearning(
        right, library=path, ledger=ledger, concurrency=CONCURRENCY, checkpoint_every=30, progress=False
    )
    optimizer.compile(actor(), trainset=TRAIN)
    return optimizer


def actor(library: ExperienceLibrary | None = None) -> Actor:
    return Actor("problem -> answer: int", ExperienceRetriever(library, views=["lexical"]))


def spent(server: LLMServer) -> tuple[int, int, int]:
    usage = server.usage["all"]
    return usage.calls, usage.prompt_tokens, usage.completion_tokens


def after_the_cap(requests: list[Received], ledger: Ledger) -> int:
    """How many answers came after those that used up the budget."""
    total = 0.0
    answered = sorted(requests, key=lambda request: request.at + request.seconds)
    for number, request in enumerate(answered, start=1):
        prompt, completion = request.usage
        if ledger.budget_tokens is not None:
            total += (prompt + completion) / ledger.budget_tokens
        else:
            total += (prompt + 10 * completion) / 1e6 / (ledger.budget_usd or 0)
        if total >= 1:
            return len(answered) - number
    raise AssertionError("the budget was never spent")


# Hundreds of requests: the quick tests keep the budget in tokens.
@pytest.mark.parametrize(
    "budget", [BUDGETS[0], pytest.param(BUDGETS[1], marks=pytest.mark.slow)], ids=lambda b: next(iter(b))
)
def test_spending_stops_at_the_cap_and_a_larger_budget_goes_on(server, tmp_path, budget):
    path, ledger = tmp_path / "cut short" / "library.json", Ledger(**budget)
    with pytest.raises(BudgetError, match="is spent"):
        learn(path, ledger)
    total = ledger.total
    assert (total.calls, total.prompt_tokens, total.completion_tokens) == spent(server)
    assert after_the_cap(server.requests, ledger) <= CONCURRENCY
    done = LibraryStore(path).library.seen
    assert 0 < done < len(TRAIN)
    assert ExperienceLibrary.load(path).hash

    before = spent(server)
    larger = Ledger()
    learn(path, larger)
    requests = [request.digest for request in server.requests]
    assert len(requests) == len(set(requests))
    assert tuple(a + b for a, b in zip(before, _counts(larger), strict=True)) == spent(server)

    # It is the library of a run that was never stopped, and took no more requests.
    dspy.configure_cache(disk_cache_dir=str(tmp_path / "another cache"))
    server.requests.clear()
    learn(tmp_path / "whole" / "library.json", Ledger())
    assert (tmp_path / "whole" / "library.json").read_bytes() == path.read_bytes()
    assert {request.digest for request in server.requests} == set(requests)


def _counts(ledger: Ledger) -> tuple[int, int, int]:
    return ledger.total.calls, ledger.total.prompt_tokens, ledger.total.completion_tokens


def test_a_ledgers_file_counts_over_several_runs(server, tmp_path):
    file, path = tmp_path / "spending.jsonl", tmp_path / "library.json"
    for tokens in (30_000, 60_000):
        with pytest.raises(BudgetError):
            learn(path, Ledger(file, budget_tokens=tokens))
        assert _counts(Ledger(file)) == spent(server)
    asked = len(server.requests)
    with pytest.raises(BudgetError):  # spent before the first call
        learn(path, Ledger(file, budget_tokens=60_000))
    assert len(server.requests) == asked


def test_each_role_is_charged_what_it_asked(server, tmp_path):
    ledger = Ledger()
    learn(tmp_path / "library.json", ledger)
    for role in ("actor", "verifier", "critic", "updater"):
        usage, counted = ledger.by_role[role], server.usage[role]
        assert (usage.calls, usage.prompt_tokens) == (counted.calls, counted.prompt_tokens)
        assert usage.completion_tokens == counted.completion_tokens


def test_evaluation_keeps_within_a_budget(server):
    ledger = Ledger(budget_tokens=10_000)
    with pytest.raises(BudgetError):
        evaluate(actor(), TRAIN, right, concurrency=CONCURRENCY, progress=False, ledger=ledger)
    assert _counts(ledger) == spent(server)
    assert after_the_cap(server.requests, ledger) <= CONCURRENCY

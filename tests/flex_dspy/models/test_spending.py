"""Tokens and money, by role."""

import asyncio
import json
import threading
import time

import dspy
import pytest

from flex_dspy.core.errors import BudgetError, ConfigurationError, RunError
from flex_dspy.models.prices import Price
from flex_dspy.models.spending import Ledger, Usage, charge_to, check_budget

PRICES = {"openai/test": Price.per_million(10, 20, cached=1)}


@pytest.fixture
def question(lm, llm_server):
    """A predictor whose answer costs something."""
    llm_server.script = lambda role, inputs, messages: {"answer": "42"}
    return dspy.Predict("question -> answer")


def told(server) -> Usage:
    usage = server.usage["all"]
    return Usage(usage.calls, usage.prompt_tokens, usage.completion_tokens)


def counts(usage: Usage) -> tuple[int, int, int]:
    return usage.calls, usage.prompt_tokens, usage.completion_tokens


def test_a_block_is_charge_to_its_role(question, llm_server):
    ledger = Ledger(prices=PRICES)
    with ledger.role("critic") as account:
        question(question="a")
        first = account.total
        question(question="b")
    question(question="c")  # nobody's
    assert ledger.by_role.keys() == {"critic"}
    assert first.calls == 1
    assert account.total == ledger.total
    prompt = sum(request.usage[0] for request in llm_server.requests[:2])
    written = sum(request.usage[1] for request in llm_server.requests[:2])
    assert counts(ledger.total) == (2, prompt, written)
    assert ledger.total.usd == pytest.approx(prompt * 10e-6 + written * 20e-6)


def test_of_nested_roles_the_inner_one_pays_once(question, llm_server):
    ledger = Ledger()
    with ledger.role("actor") as outer:
        question(question="a")
        with ledger.role("verifier") as inner:
            question(question="b")
        with charge_to("critic"):
            question(question="c")
    assert {name: usage.calls for name, usage in ledger.by_role.items()} == {"actor": 1, "verifier": 1, "critic": 1}
    assert (outer.total.calls, inner.total.calls) == (3, 1)
    assert counts(ledger.total) == counts(told(llm_server))


def test_two_ledgers_each_count(question):
    every, one = Ledger(), Ledger(budget_tokens=1)
    with every.role("run"), one.role("actor"):
        question(question="a")
    assert every.total.calls == one.total.calls == 1
    with every.role("run"), pytest.raises(BudgetError), one.role("actor"):
        pass


def test_charge_to_without_a_ledger_does_nothing(question):
    with charge_to("critic"):
        assert question(question="a").answer == "42"


def test_asyncio_tasks_and_gather(question, llm_server):
    ledger = Ledger()

    async def role(name: str, times: int) -> int:
        with ledger.role(name) as account:
            await asyncio.gather(*(question.acall(question=f"{name} {n}") for n in range(times)))
        return account.total.calls

    async def all_roles() -> list[int]:
        return await asyncio.gather(role("actor", 7), role("critic", 3))

    assert asyncio.run(all_roles()) == [7, 3]
    assert {name: usage.calls for name, usage in ledger.by_role.items()} == {"actor": 7, "critic": 3}
    assert counts(ledger.total) == counts(told(llm_server))


def test_threads_of_dspy_and_of_asyncio(question, llm_server):
    ledger = Ledger(budget_tokens=10**9)
    pairs = [(question, dspy.Example(question=f"{n}").with_inputs("question")) for n in range(6)]
    with ledger.role("actor") as account:
        dspy.Parallel(num_threads=3, disable_progress_bar=True)(pairs)
        asyncio.run(asyncio.to_thread(question, question="one more"))
    assert account.total.calls == 7
    assert counts(ledger.total) == counts(told(llm_server))


def test_a_budget_reaches_the_threads_of_dspy():
    refused = []

    class Asks(dspy.Module):
        def forward(self, question):
            try:
                check_budget()
            except BudgetError as error:
                refused.append(error)
            return dspy.Prediction()

    ledger = Ledger(budget_tokens=1)
    with ledger.role("actor"):
        ledger.charge("actor", "m", {"prompt_tokens": 5})
        example = dspy.Example(question="a").with_inputs("question")
        dspy.Parallel(num_threads=2, disable_progress_bar=True)([(Asks(), example)] * 2)
    assert len(refused) == 2


def test_usage_tracking_around_and_within_still_works(question, llm_server):
    ledger = Ledger()
    with dspy.track_usage() as around, ledger.role("actor") as account:
        question(question="a")
        with dspy.track_usage() as within:
            question(question="b")
    total = told(llm_server)
    assert counts(account.total) == counts(total)
    assert around.get_total_tokens()["openai/test"]["prompt_tokens"] == total.prompt_tokens
    assert within.get_total_tokens()["openai/test"]["prompt_tokens"] == llm_server.requests[1].usage[0]


def test_a_programs_own_usage_is_still_told(question):
    class Program(dspy.Module):
        def __init__(self):
            super().__init__()
            self.ask = question

        def forward(self, **inputs):
            with ledger.role("actor"):
                return self.ask(**inputs)

    ledger = Ledger()
    dspy.configure(track_usage=True)
    used = Program()(question="a").get_lm_usage()
    assert used["openai/test"]["prompt_tokens"] == ledger.total.prompt_tokens > 0


def test_an_answer_that_cannot_be_read_is_paid_all_the_same(question, llm_server):
    llm_server.script = lambda role, inputs, messages: "no field at all"
    ledger = Ledger()
    with ledger.role("actor"), pytest.raises(dspy.utils.exceptions.AdapterParseError):
        question(question="a")
    assert counts(ledger.total) == counts(told(llm_server))
    assert ledger.total.calls == 2  # the second is DSPy's own, for JSON


def test_what_is_in_the_cache_costs_nothing(llm_server):
    llm_server.script = lambda role, inputs, messages: "42"
    lm = dspy.LM("openai/test", api_base=llm_server.url, api_key="k")
    ledger = Ledger()
    with ledger.role("actor"):
        lm("6*7?")
        lm("6*7?")
    assert ledger.total.calls == 1


def test_answers_that_do_not_say_what_they_took():
    ledger = Ledger(prices=PRICES)
    ledger.charge("actor", "openai/test", {})
    ledger.charge("actor", "openai/test", {"prompt_tokens": 1_000_000, "completion_tokens": 0})
    ledger.charge("critic", "offline/chemist", {})  # free, so there is nothing to say
    assert ledger.total == Usage(3, 1_000_000, 0, 10.0, unpriced=1, unreported=1)
    assert "10.0000+" in ledger.table()
    assert "1 answers did not say what they took" in ledger.table()


# -- budgets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "message"),
    [({"budget_usd": 0.6}, r"\$0.60 is spent \(60.0k tokens, \$0.60\)"), ({"budget_tokens": 60_000}, "60,000 tokens")],
)
def test_a_budget_that_is_spent(budget, message):
    ledger = Ledger(prices=PRICES, **budget)
    ledger.charge("actor", "openai/test", {"prompt_tokens": 50_000, "completion_tokens": 0})
    check_budget()  # no block, no budget
    with ledger.role("actor"):
        check_budget()
        ledger.charge("actor", "openai/test", {"prompt_tokens": 10_000, "completion_tokens": 0})
        with pytest.raises(BudgetError, match=message):
            check_budget()
    with pytest.raises(BudgetError, match=message), ledger.role("critic"):
        pass


@pytest.mark.parametrize("name", ["budget_usd", "budget_tokens"])
def test_a_budget_is_positive(name):
    with pytest.raises(ConfigurationError, match=f"{name} must be positive, got 0"):
        Ledger(**{name: 0})
    for number in (float("nan"), float("inf")):
        with pytest.raises(ConfigurationError, match=f"{name} must be positive, got {number}"):
            Ledger(**{name: number})


def test_a_budget_in_money_needs_prices():
    with pytest.raises(ConfigurationError, match=r"no price is known for a/b, so .* --price"):
        Ledger(budget_usd=1, prices=PRICES).check_prices(["openai/test", "a/b", "a/b", "offline/chemist"])
    Ledger(budget_tokens=1).check_prices(["a/b"])


# -- the file ----------------------------------------------------------------------------------------------


def spend(ledger: Ledger, times: int = 1, role: str = "actor") -> None:
    for _ in range(times):
        ledger.charge(role, "openai/test", {"prompt_tokens": 10, "completion_tokens": 1})


def test_a_resumed_run_goes_on_counting(tmp_path):
    path = tmp_path / "spending.jsonl"
    before = Ledger(path, prices=PRICES)
    spend(before, 3)
    spend(before, 1, "critic")
    again = Ledger(path, prices=PRICES, budget_tokens=44)
    assert again.by_role == before.by_role
    with pytest.raises(BudgetError):
        again.check()
    spend(again)
    assert Ledger(path).total.calls == 5


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_a_line_cut_short_by_a_kill_spoils_no_other(tmp_path, cut):
    path = tmp_path / "spending.jsonl"
    spend(Ledger(path), 2)
    path.write_bytes(path.read_bytes()[:-cut])
    kept = 2 if cut == 1 else 1  # of the whole line only its end is gone
    again = Ledger(path)
    assert again.total.calls == kept
    spend(again)
    assert Ledger(path).total.calls == kept + 1


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "spending.jsonl"
    spend(Ledger(path), 1)
    path.write_text(path.read_text() + '{"role": "actor"}\n')
    with pytest.raises(RunError, match=r"spending.jsonl: line 2 is no record"):
        Ledger(path)


def test_two_ledgers_on_one_file_and_many_threads_lose_nothing(tmp_path):
    path = tmp_path / "spending.jsonl"
    ledgers = [Ledger(path), Ledger(path)]
    threads = [threading.Thread(target=spend, args=(ledger, 200)) for ledger in ledgers for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ledger.total.calls for ledger in ledgers] == [600, 600]
    assert Ledger(path).total.calls == 1_200
    assert all(json.loads(line)["model"] == "openai/test" for line in path.read_text().splitlines())


def test_a_charge_costs_little(tmp_path):
    ledger = Ledger(tmp_path / "spending.jsonl", prices=PRICES)
    spend(ledger)
    begun = time.process_time()
    spend(ledger, 1_000)
    assert (time.process_time() - begun) / 1_000 < 200e-6  # 20 us on an idle machine


# -- what is shown -----------------------------------------------------------------------------------------


def test_table_and_metrics():
    ledger = Ledger(prices=PRICES)
    assert ledger.table() == ""
    ledger.charge("critic", "openai/test", {"prompt_tokens": 1_000_000, "completion_tokens": 100_000})
    ledger.charge("actor", "a/b", {"prompt_tokens": 1, "completion_tokens": 2})
    assert ledger.table().splitlines() == [
        "role    calls  prompt tokens  completion tokens       USD",
        "actor       1              1                  2   unknown",
        "critic      1      1,000,000            100,000   12.0000",
        "all         2      1,000,001            100,002  12.0000+",
    ]
    assert ledger.metrics() == {
        "spend_usd": 12.0,
        "spend_tokens": 1_100_003.0,
        "spend_calls": 2.0,
        "spend_tokens_critic": 1_100_000.0,
        "spend_usd_critic": 12.0,
        "spend_tokens_actor": 3.0,
        "spend_usd_actor": 0.0,
    }


@pytest.mark.parametrize(
    ("usage", "text"),
    [
        (Usage(), "0 tokens"),
        (Usage(1, 900, 99, 0.0), "999 tokens"),
        (Usage(1, 1_500, 0, 3.4), "1.5k tokens, $3.40"),
        (Usage(2, 1_200_000, 0, 3.4, unpriced=1), "1.2M tokens, $3.40+"),
    ],
)
def test_usage_as_text(usage, text):
    assert str(usage) == text

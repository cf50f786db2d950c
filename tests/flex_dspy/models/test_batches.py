"""Calls through a batch endpoint: one batch for many, each answer paid once, at its price, whatever becomes of it."""

import asyncio
import copy
from collections.abc import Sequence
from pathlib import Path

import dspy
import pytest
from tenacity import wait_none

from flex_dspy.commands.actions import roles
from flex_dspy.commands.options.shared import ModelOptions
from flex_dspy.core.errors import BudgetError, ConfigurationError, RunError
from flex_dspy.models.batch_calls import at_once
from flex_dspy.models.batch_endpoint import read_answers
from flex_dspy.models.batches import Batches
from flex_dspy.models.lm import LanguageModel, language_model
from flex_dspy.models.prices import Price, list_price
from flex_dspy.models.spending import Ledger
from tests.llm_batches import DeskEndpoint, Fate
from tests.llm_server import Fault, LLMServer

QUESTIONS = [f"case {number}" for number in range(5)]
HALF = {"openai/test": Price.per_million(1, 10, batch=0.5)}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setenv("API_KEY", "none")
    monkeypatch.setattr("flex_dspy.models.lm.BACKOFF", wait_none())


@pytest.fixture
def server(llm_server: LLMServer) -> LLMServer:
    llm_server.script = lambda role, inputs, messages: {"answer": inputs["question"].upper()}
    return llm_server


def batches(server: LLMServer, path: Path | None = None) -> Batches:
    return Batches(
        path, poll_seconds=0.001, quiet_seconds=0.01, endpoint=lambda model, client: DeskEndpoint(server.batches)
    )


def model(server: LLMServer, collector: Batches | None = None, **options) -> LanguageModel:
    given = {"batches": collector or batches(server), "cache": False, **options}
    return language_model("openai/test", api_base=server.url, **given)


async def ask(lm: dspy.LM, questions: Sequence[str] = QUESTIONS) -> list[str | BaseException]:
    """The answer to each question, or its error; all are asked at once."""
    program = dspy.Predict("question -> answer")
    program.set_lm(lm)
    calls = (program.acall(question=question) for question in questions)
    found = await asyncio.gather(*calls, return_exceptions=True)
    return [each.answer if isinstance(each, dspy.Prediction) else each for each in found]


def spent(ledger: Ledger) -> tuple[int, int, int]:
    return ledger.total.calls, ledger.total.prompt_tokens, ledger.total.completion_tokens


def counted(server: LLMServer) -> tuple[int, int, int]:
    usage = server.usage["all"]
    return usage.calls, usage.prompt_tokens, usage.completion_tokens


RIGHT = [question.upper() for question in QUESTIONS]


def test_calls_share_a_batch_at_half_the_price(server):
    ledger = Ledger(prices=HALF)
    with ledger.role("critic"):
        assert asyncio.run(ask(model(server))) == RIGHT
    assert [len(batch.lines) for batch in server.batches.batches] == [5]
    assert spent(ledger) == counted(server)
    _, prompt, completion = counted(server)
    assert ledger.total.usd == pytest.approx((prompt + 10 * completion) / 2e6)

    in_batches = [request.body for request in server.requests]
    ledger_at_once = Ledger(prices=HALF)
    with ledger_at_once.role("critic"):
        assert asyncio.run(ask(language_model("openai/test", api_base=server.url, cache=False))) == RIGHT
    assert sorted(map(str, in_batches)) == sorted(str(request.body) for request in server.requests[5:])
    assert ledger_at_once.total.usd == pytest.approx(2 * ledger.total.usd)


def test_an_answer_in_the_cache_needs_no_batch(server):
    lm = model(server, cache=True)
    assert asyncio.run(ask(lm)) == asyncio.run(ask(lm)) == RIGHT
    assert len(server.requests) == 5
    assert len(lm.history) == 10


def test_copies_of_a_model_share_its_batches(server):
    lm = model(server)
    copies = [lm.copy(rollout_id=1, temperature=0.7), copy.deepcopy(lm)]
    assert all(each.batches is lm.batches for each in copies)

    async def ask_all():
        return await asyncio.gather(*(ask(each) for each in [lm, *copies]))

    assert asyncio.run(ask_all()) == [RIGHT] * 3
    assert len(server.batches.batches) == 1
    assert [request.body.get("temperature") for request in server.requests].count(0.7) == 5


def test_a_saved_model_knows_nothing_of_batches():
    lm = language_model("openai/test", batch=True)
    assert lm.dump_state() == language_model("openai/test").dump_state()
    assert copy.copy(lm).batches is lm.batches


def test_what_others_wait_for_is_asked_at_once(server):
    lm = model(server)
    with at_once():
        assert asyncio.run(ask(lm, ["a"])) == ["A"]
    program = dspy.Predict("question -> answer")
    program.set_lm(lm)
    assert program(question="b").answer == "B"
    assert not server.batches.batches


@pytest.mark.parametrize(
    ("fate", "batch_sizes"),
    [
        (Fate(status="expired", answered=3), [5, 2]),
        (Fate(lost=(1,)), [5, 1]),
        (Fate(is_reply_lost=True), [5]),
    ],
    ids=["expired", "a line is missing", "the reply was lost"],
)
def test_only_what_has_no_answer_is_asked_again(server, fate, batch_sizes):
    server.batches.fates = [fate, Fate()]
    ledger = Ledger()
    with ledger.role("critic"):
        assert asyncio.run(ask(model(server))) == RIGHT
    assert [len(batch.lines) for batch in server.batches.batches] == batch_sizes
    lost = len(fate.lost)  # the provider worked on them, and its answer is gone
    assert ledger.total.calls + lost == server.usage["all"].calls


def test_a_line_that_failed_for_a_passing_reason_is_asked_again(server):
    failures = [Fault(429), Fault(500), Fault(400)]
    server.script = lambda role, inputs, messages: failures.pop(0) if failures else {"answer": "yes"}
    found = asyncio.run(ask(model(server), QUESTIONS[:3]))
    assert found[:2] == ["yes", "yes"]
    assert isinstance(found[2], dspy.LMInvalidRequestError)
    assert [len(batch.lines) for batch in server.batches.batches] == [3, 2]


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_batch_that_was_refused_or_cancelled_is_not_sent_again(server, status):
    server.batches.fates = [Fate(status=status, answered=0)]
    found = asyncio.run(ask(model(server)))
    assert {type(each) for each in found} == {dspy.LMInvalidRequestError}
    assert f"batch-0: {status}" in str(found[0])
    assert len(server.batches.batches) == 1


def test_a_server_without_batches_says_so(server):
    server.batches.reply = lambda method, path, content: Fault(404, "no such path").reply()
    found = asyncio.run(ask(model(server, retries=0), ["a"]))
    assert isinstance(found[0], dspy.LMError)
    assert "no such path" in str(found[0])


# -- a process that is killed ------------------------------------------------------------------------------


def killed(server: LLMServer, path: Path, ledger: Ledger) -> None:
    """A process that ends while its batch is under way."""

    async def ask_for_a_while():
        with ledger.role("critic"):
            asking = asyncio.ensure_future(ask(model(server, batches(server, path))))
            while not server.batches.batches:
                await asyncio.sleep(0.001)
            asking.cancel()

    server.batches.fates = [Fate(looks=None), Fate()]
    asyncio.run(ask_for_a_while())


def test_the_next_process_takes_the_batch_up_again(server, tmp_path):
    path, first, second = tmp_path / "batches.jsonl", Ledger(), Ledger()
    killed(server, path, first)
    server.batches.batches[0].fate = Fate()
    with second.role("critic"):
        assert asyncio.run(ask(model(server, batches(server, path)))) == RIGHT
    assert len(server.batches.batches) == 1
    assert first.total.calls == 0
    assert spent(second) == counted(server)

    # Killed again before the answers were committed: they are there, and were paid for.
    third = Ledger()
    with third.role("critic"):
        assert asyncio.run(ask(model(server, batches(server, path)))) == RIGHT
    assert (third.total.calls, len(server.requests)) == (0, 5)
    assert "case" not in path.read_text()  # neither prompts nor answers


def test_a_batch_that_was_never_sent_is_sent(server, tmp_path):
    path = tmp_path / "batches.jsonl"
    killed(server, path, Ledger())
    server.batches.batches.clear()
    server.batches.fates = [Fate()]
    path.write_text(path.read_text().splitlines()[0] + "\n")  # killed before it was sent
    lm = model(server, batches(server, path), retries=0)
    assert asyncio.run(ask(lm)) == RIGHT
    assert len(server.batches.batches) == 1


def test_a_call_that_was_cancelled_waits_for_the_same_batch(server):
    collector = batches(server)

    async def twice():
        server.batches.fates = [Fate(looks=None)]
        asking = asyncio.ensure_future(ask(model(server, collector)))
        while not server.batches.batches:
            await asyncio.sleep(0.001)
        asking.cancel()
        await asyncio.wait([asking])
        server.batches.batches[0].fate = Fate()
        return await ask(model(server, collector))

    assert asyncio.run(twice()) == RIGHT
    assert len(server.batches.batches) == 1


def test_a_line_that_was_cut_short_is_passed_over_and_a_damaged_one_is_named(tmp_path):
    path = tmp_path / "batches.jsonl"
    whole = b'{"label":"a","requests":["x-0"]}\n'
    path.write_bytes(whole + b'{"label":"a","batch":"b')
    journal = Batches(path).journal
    assert (journal.label_of("x-0"), journal.batch_of("a")) == ("a", None)
    journal.sent("a", "batch-7")
    assert Batches(path).journal.batch_of("a") == "batch-7"
    path.write_bytes(whole + b"{}\n" + whole)
    with pytest.raises(RunError, match="line 2 is no record of a batch"):
        Batches(path)


def test_a_batch_that_cannot_be_noted_is_not_sent(server, tmp_path):
    found = asyncio.run(ask(model(server, batches(server, tmp_path / "none" / "batches.jsonl")), ["a"]))
    assert isinstance(found[0], BudgetError)
    assert not server.batches.batches


# -- settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["anthropic/claude-sonnet-4-5", "offline/chemist", "gemini/gemini-2.5-pro"])
def test_models_without_such_batches_are_refused(name):
    with pytest.raises(ConfigurationError, match="batches"):
        language_model(name, batch=True)


def test_numbers_are_checked():
    with pytest.raises(ConfigurationError, match="poll_seconds must be positive"):
        Batches(poll_seconds=0)


def test_the_command_line_names_the_roles():
    lms = roles.models(ModelOptions(lm="openai/gpt-4o", batch="critic,updater"))
    assert [role for role, lm in lms.items() if lm.batches is not None] == ["critic", "updater"]
    assert lms["critic"] is lms["updater"]
    assert lms["actor"] is lms["verifier"]


def test_list_prices_say_what_a_batch_costs():
    assert list_price("openai/gpt-4o").batch == 0.5
    assert list_price("openai/gpt-3.5-turbo-16k").batch == 1.0


def test_lines_that_cannot_be_read_answer_nothing():
    lines = [b"", b"[]", b'{"custom_id":"a"}', b'{"custom_id":"b","response":{"body":{}}}', b"{"]
    assert read_answers(lines) == {}

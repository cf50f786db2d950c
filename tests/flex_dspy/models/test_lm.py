"""Language models by name."""

import asyncio
import copy
import json
import logging
import time
from dataclasses import dataclass
from typing import Any

import dspy
import pytest
from dspy.utils.exceptions import (
    ContextWindowExceededError,
    LMAuthError,
    LMBillingError,
    LMInvalidRequestError,
    LMNotConfiguredError,
    LMRateLimitError,
    LMUnsupportedModelError,
)
from tenacity import wait_none

from flex_dspy.core.errors import BudgetError, ConfigurationError
from flex_dspy.models.failures import is_transient, retry_after
from flex_dspy.models.limits import Limits
from flex_dspy.models.lm import LanguageModel, is_offline, language_model
from flex_dspy.models.spending import Ledger
from tests.llm_faults import Fault
from tests.llm_server import LLMServer

BACKENDS = ("native", "litellm")
# litellm's own types, described at its first call.
pytestmark = pytest.mark.filterwarnings("ignore:Item '.*' on TypedDict class:UserWarning")


@dataclass(frozen=True)
class First:
    """The first few comings of a request meet this fault."""

    kind: str
    times: int = 1

    def draw(self, digest: str, times: int) -> str:
        return self.kind if times <= self.times else ""


@pytest.fixture
def server(llm_server: LLMServer) -> LLMServer:
    llm_server.script = lambda role, inputs, messages: {"answer": "42"}
    return llm_server


def asked(lm: dspy.LM) -> str:
    with dspy.context(lm=lm):
        return dspy.Predict("question -> answer")(question="6*7?").answer


@pytest.mark.parametrize("name", ["offline", "offline/", "offline/chemist"])
def test_the_tasks_offline_expert(name):
    lm = language_model(name, expert="chemist")
    assert lm.model == "offline/chemist"
    assert is_offline(lm)
    assert lm.cache is False


@pytest.mark.parametrize(
    ("name", "expert", "message"),
    [
        ("offline", None, "no offline expert for this task yet"),
        ("offline/alchemist", "chemist", "no offline expert 'alchemist'"),
        ("offline", "alchemist", "no offline expert 'alchemist'"),
    ],
)
def test_an_expert_that_does_not_exist(name, expert, message):
    with pytest.raises(ConfigurationError, match=f"{message}.*--lm openai/"):
        language_model(name, expert=expert)


@pytest.mark.parametrize("name", ["", "openai/"])
def test_what_is_no_model_string(name):
    with pytest.raises(ConfigurationError, match="no model string"):
        language_model(name)


def test_key_and_address_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("API_KEY", "from-the-environment")
    monkeypatch.setenv("BASE_URL", server.url)
    lm = language_model("openai/some-model", temperature=0.5, max_tokens=100)
    assert not is_offline(lm)
    assert asked(lm) == "42"
    (request,) = server.requests
    assert request.headers["authorization"] == "Bearer from-the-environment"
    assert request.body["model"] == "some-model"
    assert request.body["temperature"] == 0.5
    assert 100 in (request.body.get("max_tokens"), request.body.get("max_completion_tokens"))


def test_a_given_address_goes_before_the_environments(server, monkeypatch):
    monkeypatch.setenv("API_KEY", "k")
    monkeypatch.setenv("BASE_URL", "http://127.0.0.1:9/v1")
    assert asked(language_model("openai/some-model", api_base=server.url)) == "42"


def test_settings_that_are_not_given_are_not_sent(server, monkeypatch):
    monkeypatch.setenv("API_KEY", "k")
    asked(language_model("openai/some-model", api_base=server.url))
    assert not {"temperature", "max_tokens", "max_completion_tokens"} & set(server.requests[0].body)


def test_the_key_is_in_no_saved_program(server, monkeypatch, tmp_path):
    monkeypatch.setenv("API_KEY", "very-secret")
    program = dspy.Predict("question -> answer")
    program.set_lm(language_model("openai/some-model", api_base=server.url))
    program.save(tmp_path / "program.json")
    saved = (tmp_path / "program.json").read_text()
    assert json.loads(saved)["lm"]["model"] == "openai/some-model"
    assert "very-secret" not in saved


# -- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gpt-4o", "openai/gpt-4o"),
        ("claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        ("opnai/gpt-4o", "openai/gpt-4o"),
    ],
)
def test_a_name_that_is_nearly_right(name, meant):
    with pytest.raises(ConfigurationError, match=f"did you mean '{meant}'"):
        language_model(name)


def test_a_servers_own_model_needs_a_provider_too():
    with pytest.raises(ConfigurationError, match="is openai/meta-lama/Llama-3"):
        language_model("meta-lama/Llama-3", api_base="http://127.0.0.1:9/v1")


@pytest.mark.parametrize("name", ["openai/ft:gpt-4o:me", "together_ai/some/model", "anthropic:claude-sonnet-4-5"])
def test_names_that_are_right(name, caplog):
    assert language_model(name).model == name
    assert not caplog.records


def test_a_model_that_looks_misspelt_is_told(caplog):
    language_model("openai/gpt-4oo")
    assert "did you mean 'openai/gpt-4o'?" in caplog.text
    caplog.clear()
    language_model("openai/gpt-4oo", api_base="http://127.0.0.1:9/v1")  # a server may call its models as it likes
    assert not caplog.records


def test_what_a_reasoning_model_refuses_is_said_at_once():
    with pytest.raises(ConfigurationError, match=r"openai/o3 cannot be set up so:.*max_tokens >= 16000"):
        language_model("openai/o3", max_tokens=100)


@pytest.mark.parametrize(
    ("name", "backend", "message"),
    [
        ("together_ai/some/model", "native", "no client of its own for together_ai/some/model"),
        ("openai/gpt-4o", "lm15", "there is no backend 'lm15': say auto, native, litellm"),
    ],
)
def test_a_backend_that_cannot_be(name, backend, message):
    with pytest.raises(ConfigurationError, match=message):
        language_model(name, backend=backend)


# -- calls, by both backends -------------------------------------------------------------------------------


@pytest.fixture
def patient(monkeypatch):
    """No waiting between attempts."""
    monkeypatch.setattr("flex_dspy.models.lm.BACKOFF", wait_none())


@pytest.fixture(params=BACKENDS)
def backend(request) -> str:
    return request.param


@pytest.fixture(params=["sync", "async"])
def ask(request):
    def ask(lm: dspy.LM, prompt: str = "6*7?") -> Any:
        return lm(prompt) if request.param == "sync" else asyncio.run(lm.acall(prompt))

    return ask


@pytest.fixture
def model(server, backend, monkeypatch):
    monkeypatch.setenv("API_KEY", "k")
    server.script = lambda role, inputs, messages: "42"

    def model(**settings: Any) -> dspy.LM:
        return language_model("openai/m", api_base=server.url, backend=backend, **settings).copy(cache=False)

    return model


def test_both_backends_answer(server, model, ask):
    assert ask(model()) == ["42"]
    assert server.requests[0].headers["authorization"] == "Bearer k"


@pytest.mark.parametrize("kind", ["500", "502", "503", "drop", "cut", "half of the JSON", "not JSON", "429"])
def test_what_passes_is_tried_again(kind, server, model, ask, patient):
    server.faults = First(kind, 2)
    assert ask(model()) == ["42"]
    assert len(server.requests) == 3


def test_a_server_that_hangs_is_left_and_asked_again(server, model, ask, patient):
    server.faults = First("hang")
    assert ask(model(timeout=0.2)) == ["42"]
    assert len(server.requests) == 2


def test_the_last_failure_is_raised(server, model, ask, patient):
    server.faults = First("429", 99)
    with pytest.raises(LMRateLimitError):
        ask(model(retries=2))
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(401, code="invalid_api_key"), LMAuthError),
        (Fault(403), LMAuthError),
        (Fault(402), LMBillingError),
        (Fault(429, "You exceeded your current quota", code="insufficient_quota"), LMBillingError),
        (Fault(404, code="model_not_found"), LMUnsupportedModelError),
        (Fault(404), LMInvalidRequestError),
        (Fault(400), LMInvalidRequestError),
        (Fault(400, "too long", code="context_length_exceeded"), ContextWindowExceededError),
        (Fault(400, "prompt is too long: 9001 tokens > 8192 maximum", code="bad"), ContextWindowExceededError),
        (Fault(400, "maximum context length is 8192 tokens", code="bad"), ContextWindowExceededError),
    ],
)
def test_what_does_not_pass_is_raised_at_once(fault, error, server, model, ask, patient):
    server.script = lambda *_: fault
    with pytest.raises(error) as raised:
        ask(model())
    assert raised.value.status == fault.status
    assert len(server.requests) == 1


def test_a_hint_is_waited_for_by_all_who_share_the_limits(server, model, ask):
    server.script = lambda *_: "42" if len(server.requests) > 1 else Fault(429, retry_after=1)
    limits = Limits()
    assert ask(model(limits=limits)) == ["42"]
    first, second = server.requests
    assert second.at - first.at >= 0.9
    limits.pause(0.3)
    ask(model(limits=limits), "another question")
    assert server.requests[2].at - second.at >= 0.25


def test_a_hint_of_hours_is_not_waited_for(server, model, ask):
    server.script = lambda *_: Fault(429, retry_after=7_200)
    with pytest.raises(LMRateLimitError) as raised:
        ask(model())
    assert retry_after(raised.value) == 7_200
    assert not is_transient(raised.value)


def test_usage_is_counted_on_both_backends(server, model, ask):
    ledger = Ledger()
    with ledger.role("actor"):
        ask(model())
    told = server.usage["all"]
    spent = ledger.total
    assert (spent.calls, spent.prompt_tokens, spent.completion_tokens) == (
        told.calls,
        told.prompt_tokens,
        told.completion_tokens,
    )
    assert spent.unreported == 0


def test_an_answer_without_usage_is_counted_as_such(server, model, ask):
    server.faults = First("no usage")
    ledger = Ledger()
    with ledger.role("actor"):
        ask(model())
    assert (ledger.total.calls, ledger.total.unreported) == (1, 1)


def test_a_key_that_is_missing_is_no_reason_to_wait(server, backend, ask, patient):
    lm = language_model("openai/m", api_base=server.url, backend=backend)
    with pytest.raises(LMNotConfiguredError):
        ask(lm)
    assert not server.requests


def test_the_providers_own_key_without_the_common_one(server, backend, ask, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "own")
    server.script = lambda *_: "42"
    ask(language_model("openai/m", api_base=server.url, backend=backend))
    assert server.requests[0].headers["authorization"] == "Bearer own"


# -- limits and budgets ------------------------------------------------------------------------------------


@pytest.fixture
def native(server, monkeypatch):
    monkeypatch.setenv("API_KEY", "k")
    server.script = lambda role, inputs, messages: "42"

    def native(**settings: Any) -> dspy.LM:
        return language_model("openai/m", api_base=server.url, **settings)

    return native


def test_every_attempt_waits_its_turn(server, native, ask, patient):
    server.faults = First("500", 2)
    ask(native(limits=Limits(requests_per_minute=600 / 2)))  # five a second, a burst of five
    ask(native(limits=Limits(requests_per_minute=150)), "again")  # one every 0.4 s, a burst of two and a half
    second = server.requests[3:]
    assert len(second) == 3
    assert second[-1].at - second[0].at >= 0.15


def test_what_is_in_the_cache_waits_for_nothing_and_costs_nothing(server, native, ask):
    limits = Limits(requests_per_minute=0.1, tokens_per_minute=1)
    lm = native(limits=limits)
    ledger = Ledger()
    begun = time.monotonic()
    with ledger.role("actor"):
        for _ in range(3):
            assert ask(lm) == ["42"]
    assert time.monotonic() - begun < 2
    assert len(server.requests) == ledger.total.calls == 1


def test_a_program_finds_its_answers_in_the_cache_too(server, native):
    server.script = lambda role, inputs, messages: {"answer": "42"}
    program = dspy.Predict("question -> answer")
    program.set_lm(native(limits=Limits(requests_per_minute=0.1)))

    async def twice() -> list[str]:
        return [(await program.acall(question="6*7?")).answer for _ in range(2)]

    begun = time.monotonic()
    assert asyncio.run(twice()) == ["42", "42"]
    assert len(server.requests) == 1
    assert time.monotonic() - begun < 5


def test_concurrency_of_calls(server, native):
    server.latency = lambda digest, times: 0.02
    lm = native(limits=Limits(concurrency=2))

    async def many() -> None:
        await asyncio.gather(*(lm.acall(f"question {n}") for n in range(8)))

    asyncio.run(many())
    assert server.most_in_flight == 2
    assert len(server.requests) == 8


def test_a_token_limit_learns_from_what_was_used(server, native):
    limits = Limits(tokens_per_minute=10**9)
    native(limits=limits)("a question")
    told = server.usage["all"].completion_tokens
    with limits.turn() as turn:
        assert turn.reserved == told


def test_a_budget_that_is_spent_refuses_the_next_call(server, native, ask):
    ledger = Ledger(budget_tokens=1)
    lm = native()
    with ledger.role("actor"):
        ask(lm)
        with pytest.raises(BudgetError, match="1 tokens is spent"):
            ask(lm, "another")
    assert len(server.requests) == 1


def test_a_budget_that_is_spent_while_a_call_waits_refuses_it(server, native):
    lm = native(limits=Limits(concurrency=1))
    server.latency = lambda digest, times: 0.05

    async def two() -> list[Any]:
        return await asyncio.gather(lm.acall("one"), lm.acall("two"), return_exceptions=True)

    with Ledger(budget_tokens=1).role("actor"):
        outcomes = asyncio.run(two())
    assert [type(outcome) for outcome in outcomes] == [list, BudgetError]
    assert len(server.requests) == 1


def test_a_copy_shares_limits_and_keeps_retries(native):
    limits = Limits(60)
    lm = native(limits=limits, retries=2)
    for copied in (lm.copy(temperature=0.3), copy.deepcopy(lm), copy.copy(lm)):
        assert isinstance(copied, LanguageModel)
        assert copied.limits is limits
        assert copied.retries == 2
    assert lm.copy(temperature=0.3).kwargs["temperature"] == 0.3


def test_a_saved_program_loads_a_plain_model_anywhere(native, tmp_path, server, monkeypatch):
    monkeypatch.setenv("API_KEY", "very-secret")
    program = dspy.Predict("question -> answer")
    program.set_lm(native(limits=Limits(60), retries=4, temperature=0.5))
    program.save(tmp_path / "program.json")
    again = dspy.Predict("question -> answer")
    again.load(tmp_path / "program.json")
    assert type(again.lm) is dspy.LM
    assert (again.lm.model, again.lm.num_retries, again.lm.kwargs["temperature"]) == ("openai/m", 4, 0.5)
    text = (tmp_path / "program.json").read_text()
    assert "very-secret" not in text
    assert "limits" not in text


def test_a_retry_is_told_and_the_key_is_not(native, server, patient, caplog, monkeypatch):
    monkeypatch.setenv("API_KEY", "very-secret")
    caplog.set_level(logging.DEBUG, "flex_dspy")
    server.faults = First("500")
    native()("6*7?")
    assert "attempt 1 of 7" in caplog.text
    assert "very-secret" not in caplog.text

"""What this project knows of DSPy's inside. A failure here names what a new DSPy breaks."""

import asyncio
import copy
import json
import warnings

import dspy
import pytest

from flex_dspy.core import dspy_internals as internals
from tests.llm_server import LLMServer

# DSPy's adapters send messages so, and the cache is asked for them; only a caller from outside is warned.
pytestmark = pytest.mark.filterwarnings("ignore:Passing OpenAI-style message:DeprecationWarning")

MESSAGES = [{"role": "user", "content": "6*7?"}]


class Listener(internals.UsageListener):
    def __init__(self) -> None:
        super().__init__()
        self.received: list[tuple[str, dict]] = []

    def receive(self, model, usage):
        self.received.append((model, usage))


class Engine:
    def complete(self, request):
        raise AssertionError("nobody asks")

    def dump_state(self):
        return {}


class AsyncEngine(Engine):
    async def complete(self, request):
        raise AssertionError("nobody asks")


@pytest.fixture
def lm(llm_server: LLMServer) -> dspy.LM:
    llm_server.script = lambda role, inputs, messages: {"answer": "42"}
    return dspy.LM("openai/test", api_base=llm_server.url, api_key="k", num_retries=0)


# -- settings ----------------------------------------------------------------------------------------------


def test_settings_hold_a_key_of_ours():
    """Else ledgers, pinned libraries and the tools for experience reach nothing that DSPy calls."""
    assert internals.own_settings() == {}
    with internals.own_settings_within({"a": 1}), dspy.context(max_errors=3):
        assert internals.own_settings() == {"a": 1}
    assert internals.own_settings() == {}


def test_a_stream_is_seen():
    """Else a call whose answer is shown already is retried, and the reader sees it twice."""
    assert not internals.is_streamed()
    with dspy.context(send_stream=object()):
        assert internals.is_streamed()


def test_progress_of_a_stream_is_watched():
    """Else an unreadable answer that a reader has seen in part is asked for again."""
    with internals.watch_stream() as progress:
        assert progress.emitted is False


# -- usage -------------------------------------------------------------------------------------------------


def test_a_listener_is_told_of_an_answer(lm):
    """Else nothing is charged, and no budget is kept."""
    listener = Listener()
    with internals.usage_reported_to(listener):
        assert internals.usage_tracker() is listener
        lm(messages=MESSAGES, cache=False)
    ((model, usage),) = listener.received
    assert model == "openai/test"
    assert usage["prompt_tokens"] > 0
    assert usage["completion_tokens"] > 0
    assert internals.usage_tracker() is None


def test_a_listener_is_told_by_a_tracker_within_its_block(lm):
    """Else a program that tracks its own usage is charged to nobody."""
    listener = Listener()
    with internals.usage_reported_to(listener), dspy.track_usage():
        lm(messages=MESSAGES, cache=False)
        assert listener.received == []
    assert [model for model, _ in listener.received] == ["openai/test"]


def test_a_listener_is_one_on_all_threads():
    """Else what ``dspy.Parallel`` asks is charged to copies."""
    listener = Listener()
    assert copy.deepcopy(listener) is listener


# -- the cache ---------------------------------------------------------------------------------------------


def test_a_cached_answer_is_found_and_forgotten(lm, llm_server):
    """Else cached calls wait for limits, and an unreadable answer is served from the cache for ever."""
    lm = lm.copy(cache=True)
    question = [{"role": "user", "content": "of test_a_cached_answer_is_found_and_forgotten"}]
    assert not internals.is_cached(lm, None, question, {}, asynchronous=False)
    lm(messages=question)
    assert internals.is_cached(lm, None, question, {}, asynchronous=False)
    assert not internals.is_cached(lm, None, question, {"temperature": 0.7}, asynchronous=False)
    internals.forget_answer(lm, question, {}, asynchronous=False)
    assert not internals.is_cached(lm, None, question, {}, asynchronous=False)
    lm(messages=question)
    assert len(llm_server.requests) == 2


def test_an_asynchronous_answer_is_found_and_forgotten(lm):
    lm = lm.copy(cache=True)
    question = [{"role": "user", "content": "of test_an_asynchronous_answer_is_found_and_forgotten"}]
    asyncio.run(lm.acall(messages=question))
    assert internals.is_cached(lm, None, question, {}, asynchronous=True)
    internals.forget_answer(lm, question, {}, asynchronous=True)
    assert not internals.is_cached(lm, None, question, {}, asynchronous=True)


# -- models and providers ----------------------------------------------------------------------------------


def test_the_asynchronous_engine_of_a_model():
    """Else a model with a synchronous engine is called on the event loop, and offline workers are never ended."""
    engine = AsyncEngine()
    assert internals.async_engine_of(dspy.LM("offline/x", engine=Engine(), async_engine=engine)) is engine
    assert internals.async_engine_of(dspy.LM("offline/x", engine=Engine())) is None
    assert not isinstance(dspy.LM("offline/x", engine=Engine()).engine, str)
    assert isinstance(dspy.LM("openai/gpt-4o").engine, str)


@pytest.mark.parametrize(("hint", "seconds"), [("12", 12.0), (1.5, 1.5), (None, None), ("soon", None)])
def test_retry_after(hint, seconds):
    """Else a provider that says when to come back is asked too early."""
    assert internals.read_retry_after(hint) == seconds


def test_the_table_of_models():
    """Else no price and no context window is known, and misspelt models are not noticed."""
    assert internals.model_table()["gpt-4o"]["litellm_provider"] == "openai"
    facts = internals.model_facts("openai", "gpt-4o")
    assert facts.get("max_input_tokens", 0) > 1_000
    assert 0 < internals.token_rate(facts, "input_cost_per_token") < 1e-3
    assert internals.token_rate(internals.model_facts("openai", "no-such-model"), "input_cost_per_token") is None


def test_who_answers_to_a_name():
    """Else key and address of a model are not known before it is asked."""
    resolution = internals.resolve_model("anthropic/claude-sonnet-4-5")
    assert resolution.provider.startswith("anthropic")
    assert "ANTHROPIC_API_KEY" in resolution.env_key
    assert internals.address_of_provider(resolution.provider).startswith("https://api.anthropic.com")
    assert internals.resolve_model("no-such-provider/x") is None
    assert internals.address_of_provider("no-such-provider") is None


def test_the_providers_that_dspy_knows():
    """Else each model string costs the import of litellm, which takes five seconds."""
    assert {"openai", "anthropic"} <= {name.removesuffix("-chat") for name in internals.native_providers()}
    assert internals.litellm_prefixes()


def test_the_class_of_a_saved_model():
    """Else a saved program names a class that DSPy does not load."""
    assert dspy.LM("openai/gpt-4o").dump_state().get("_dspy_lm_class", internals.PLAIN_LM_CLASS) == (
        internals.PLAIN_LM_CLASS
    )
    module, _, name = internals.PLAIN_LM_CLASS.rpartition(".")
    assert (dspy.LM.__module__, dspy.LM.__name__) == (module, name)


# -- adapters and predictors -------------------------------------------------------------------------------


def test_values_and_optional_types():
    """Else structured answers, and rows of a user's file, are not read."""
    assert internals.parse_value("[1, 2]", list[int]) == [1, 2]
    assert internals.annotation_allows_none(int | None)
    assert not internals.annotation_allows_none(int)


def test_fields_are_described():
    """Else verifier, critic and updater are told another text of the task, and answer otherwise."""
    signature = dspy.Signature("question: str -> answer: int")
    assert internals.field_descriptions(signature.output_fields).startswith("1. `answer` (int)")


def test_the_way_back_to_json():
    """Else an answer that cannot be read twice is not asked for as JSON."""
    fallback = internals.json_fallback(dspy.ChatAdapter())
    assert isinstance(fallback, dspy.JSONAdapter)


def test_copies_of_a_predictor_keep_its_mark():
    """Else the steps of a program have no names in a trajectory."""
    one, other = dspy.Predict("a -> b"), dspy.Predict("a -> b")
    assert internals.predictor_mark(one) == internals.predictor_mark(copy.deepcopy(one))
    assert internals.predictor_mark(one) != internals.predictor_mark(other)


# -- the sandbox -------------------------------------------------------------------------------------------


def test_a_sandbox_that_has_not_begun_is_killed_without_harm():
    """Else a program that an actor wrote may run for ever."""
    interpreter = dspy.PythonInterpreter()
    assert interpreter.deno_process is None
    internals.kill_interpreter(interpreter)


# -- requests that are sent elsewhere ----------------------------------------------------------------------


def test_a_client_of_chat_completions_hands_its_request_to_a_function():
    """Else a model in batches asks its provider directly, or nobody."""
    sent = []

    async def send(body):
        sent.append(json.loads(body))
        message = {"role": "assistant", "content": "42"}
        answer = {"choices": [{"index": 0, "finish_reason": "stop", "message": message}], "model": "test"}
        return 200, json.dumps({**answer, "usage": {"prompt_tokens": 3, "completion_tokens": 1}}).encode()

    request = dspy.lm15.Request(model="test", messages=(dspy.lm15.Message.user("6*7?"),))
    response = asyncio.run(internals.chat_client(send).complete(request))
    assert (response.message.text, response.usage.input_tokens) == ("42", 3)
    assert sent == [{"model": "test", "messages": MESSAGES}]


def test_an_error_that_comes_back_is_one_of_the_client():
    async def refuse(body):
        return 429, b'{"error": {"message": "slow down"}}'

    request = dspy.lm15.Request(model="test", messages=(dspy.lm15.Message.user("6*7?"),))
    with pytest.raises(dspy.lm15.RateLimitError, match="slow down"):
        asyncio.run(internals.chat_client(refuse).complete(request))


def test_messages_of_an_adapter_may_be_passed_on(lm):
    """Else each call in a batch warns of what DSPy itself does."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with internals.passed_on(lm, MESSAGES):
            assert lm(messages=MESSAGES)
        with pytest.raises(DeprecationWarning, match="OpenAI-style message"):
            lm(messages=MESSAGES)

"""DSPy's private and undocumented names. Every use of one in this project goes through this module.

``tests/flex_dspy/core/test_dspy_internals.py`` holds a contract test for each use. A test that fails there names what
breaks here when DSPy changes, and another test refuses such names elsewhere. Names that ``import dspy`` offers, such as
``dspy.LMError`` or ``dspy.Module.named_sub_modules``, are public and are used where they are needed.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from types import SimpleNamespace
from typing import Any, Protocol, cast

import dspy
from dspy.adapters.utils import annotation_allows_none, get_field_description_string, parse_value
from dspy.utils.usage_tracker import UsageTracker

# DSPy and litellm fetch a list of prices from the network at their first use, unless this says otherwise.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

# How a saved program names the class of a plain language model.
PLAIN_LM_CLASS = "dspy.clients.lm.LM"

_OWN_KEY = "flex_dspy"

__all__ = [
    "PLAIN_LM_CLASS",
    "UsageListener",
    "address_of_provider",
    "annotation_allows_none",
    "async_engine_of",
    "chat_client",
    "field_descriptions",
    "forget_answer",
    "is_cached",
    "is_streamed",
    "json_fallback",
    "kill_interpreter",
    "litellm_prefixes",
    "model_facts",
    "model_table",
    "native_providers",
    "own_settings",
    "own_settings_within",
    "parse_value",
    "passed_on",
    "predictor_mark",
    "read_retry_after",
    "resolve_model",
    "token_rate",
    "usage_reported_to",
    "usage_tracker",
    "watch_stream",
]


# -- settings ----------------------------------------------------------------------------------------------


def own_settings() -> Mapping[str, Any]:
    """The values that this project keeps among DSPy's settings; see ``flex_dspy.core.ambient``."""
    values: Mapping[str, Any] = dspy.settings.get(_OWN_KEY, {})
    return values


def own_settings_within(values: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Within this block, ``own_settings`` are these: on this thread, in its tasks, on threads of ``dspy.Parallel``."""
    context: AbstractContextManager[None] = dspy.context(**{_OWN_KEY: values})
    return context


def is_streamed() -> bool:
    """Whether a reader is given parts of an answer as they arrive."""
    return dspy.settings.send_stream is not None


class StreamProgress(Protocol):
    """The state of a streamed call.

    Attributes:
        emitted: Whether a reader of the stream has seen a part of the answer.
    """

    emitted: bool


def watch_stream() -> AbstractContextManager[StreamProgress]:
    """Within this block, ``emitted`` says whether a reader of a stream has seen a part of an answer."""
    from dspy.clients.call_context import adapter_fallback_scope

    scope: AbstractContextManager[StreamProgress] = adapter_fallback_scope()
    return scope


# -- usage -------------------------------------------------------------------------------------------------


def usage_tracker() -> UsageTracker | None:
    """The tracker that DSPy reports answers to."""
    tracker: UsageTracker | None = dspy.settings.usage_tracker
    return tracker


def usage_reported_to(listener: UsageListener) -> AbstractContextManager[None]:
    """Within this block, DSPy reports each paid answer to a listener."""
    context: AbstractContextManager[None] = dspy.context(usage_tracker=listener)
    return context


class UsageListener(UsageTracker):
    """Is told of each answer as it comes, also from within ``dspy.track_usage`` and ``dspy.Parallel``."""

    def __init__(self) -> None:
        super().__init__()
        self.usage_data = _ForwardedUsage(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> UsageListener:
        """Return the same object: ``dspy.Parallel`` gives each thread a copy of the tracker."""
        return self

    def add_usage(self, lm: str, usage_entry: dict[str, Any]) -> None:
        """Take one answer's usage from DSPy."""
        self.receive(lm, self._flatten_usage_entry(usage_entry))

    def receive(self, model: str, usage: dict[str, Any]) -> None:
        """Called with one answer's usage.

        Args:
            model: The model string.
            usage: ``prompt_tokens``, ``completion_tokens`` and more, as DSPy reports them.
        """
        raise NotImplementedError


class _ForwardedUsage(dict[str, Any]):
    """Receives the entries that ``dspy.track_usage`` appends at the end of a block within ours."""

    def __init__(self, listener: UsageListener) -> None:
        super().__init__()
        self._listener = listener

    def __missing__(self, model: str) -> SimpleNamespace:
        def extend(entries: list[dict[str, Any]]) -> None:
            for entry in entries:
                self._listener.add_usage(model, entry)

        return SimpleNamespace(extend=extend)


# -- the cache ---------------------------------------------------------------------------------------------


def is_cached(lm: dspy.LM, prompt: Any, messages: Any, settings: Mapping[str, Any], *, asynchronous: bool) -> bool:
    """Whether DSPy has the answer to a request in its cache.

    Args:
        lm: The model.
        prompt: A prompt, where no messages are given.
        messages: Chat messages.
        settings: The settings of the call.
        asynchronous: Whether it is an asynchronous call: DSPy keeps the two apart.
    """
    from dspy.clients.execution import IGNORED_CACHE_KEYS

    request = _cache_request(lm, prompt, messages, settings, asynchronous=asynchronous)
    return request is not None and dspy.cache.get(request, IGNORED_CACHE_KEYS) is not None


def forget_answer(
    lm: dspy.LM, messages: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], *, asynchronous: bool
) -> None:
    """Take the answer to a request out of DSPy's cache, so that the next such request is sent.

    Args:
        lm: The model.
        messages: Chat messages.
        settings: The settings of the call.
        asynchronous: Whether it was an asynchronous call.
    """
    from dspy.clients.execution import IGNORED_CACHE_KEYS

    request = _cache_request(lm, None, messages, settings, asynchronous=asynchronous)
    if request is None:
        return
    key = dspy.cache.cache_key(request, IGNORED_CACHE_KEYS)
    with dspy.cache._lock:  # DSPy's own threads read the memory at the same time
        dspy.cache.memory_cache.pop(key, None)
    dspy.cache.disk_cache.pop(key, None)


def _cache_request(
    lm: dspy.LM, prompt: Any, messages: Any, settings: Mapping[str, Any], *, asynchronous: bool
) -> dict[str, Any] | None:
    """A request in the form by which DSPy's cache knows it; None for a call that is not cached."""
    from dspy.clients.execution import prepare

    call = prepare(lm, prompt, messages, dict(settings), asynchronous=asynchronous)
    if not call.cache:
        return None
    request: dict[str, Any] = call.key(lm, asynchronous)
    return request


# -- models and providers ----------------------------------------------------------------------------------


def async_engine_of(lm: Any) -> Any | None:
    """The asynchronous engine that a model was made with; None where it has none."""
    return getattr(lm, "_async_engine_spec", None)


def read_retry_after(hint: Any) -> float | None:
    """A Retry-After header, or a number, as seconds; None where it cannot be read."""
    from dspy.clients._http import retry_after_seconds

    seconds = retry_after_seconds(hint)
    return None if seconds is None else float(seconds)


def model_table() -> Mapping[str, Mapping[str, Any]]:
    """DSPy's table of models: provider, prices and context window, by model string."""
    from dspy.clients.model_metadata import _load

    return {name: entry for name, entry in _load().items() if isinstance(entry, dict)}


def model_facts(provider: str, model: str) -> Any:
    """The entry of a model in DSPy's table."""
    from dspy.clients.model_metadata import model_info

    return model_info(provider, model)


def token_rate(facts: Any, name: str) -> float | None:
    """A price of a model's entry, in USD a token; None where it has none."""
    from dspy.clients.model_metadata import rate

    price: float | None = rate(facts, name)
    return price


class Resolution(Protocol):
    """Provider and key by which DSPy's own client reaches a model.

    Attributes:
        provider: The provider's name.
        env_key: The environment variables that may hold its key.
    """

    provider: str
    env_key: Any


def resolve_model(name: str) -> Resolution | None:
    """The provider that DSPy's own client would ask; None where only litellm knows the model."""
    from dspy.clients.backend_selection import select_backend

    try:
        return cast("Resolution | None", select_backend(dspy.LM(name)).resolution)
    except (dspy.lm15.LM15Error, ValueError):
        return None


def address_of_provider(provider: str) -> str | None:
    """The address of a provider that DSPy has a client for; None where it has none."""
    from dspy._vendor.lm15.registry import lookup

    definition = lookup(provider)
    if definition is None:
        return None
    default = next((field.default for field in fields(definition.adapter) if field.name == "base_url"), None)
    return str(definition.access.base_url or default or "") or None


@functools.cache
def native_providers() -> frozenset[str]:
    """The providers that DSPy has clients for."""
    from dspy._vendor.lm15.registry import PROVIDERS

    return frozenset(PROVIDERS)


@functools.cache
def litellm_prefixes() -> frozenset[str]:
    """The providers that DSPy leaves to litellm, as far as DSPy lists them."""
    from dspy._vendor.lm15.router import LITELLM_PROVIDER_PREFIXES

    return frozenset(LITELLM_PROVIDER_PREFIXES)


def chat_client(send: Callable[[bytes], Awaitable[tuple[int, bytes]]]) -> dspy.lm15.AsyncOpenAIChatLM:
    """DSPy's client of chat completions, whose requests a function sends.

    Args:
        send: Takes the body of a request; returns status and body of the answer.
    """
    return dspy.lm15.AsyncOpenAIChatLM(api_key="sent elsewhere", transport=_Transport(send))


def passed_on(lm: dspy.LM, messages: Any) -> AbstractContextManager[None]:
    """Within this block a model may be asked with the messages of one of DSPy's adapters, and DSPy warns of nothing."""
    from dspy.clients._deprecation import adapter_message_call

    context: AbstractContextManager[None] = adapter_message_call(lm, messages)
    return context


class _Transport:
    """Hands a request of lm15's clients to a function."""

    def __init__(self, send: Callable[[bytes], Awaitable[tuple[int, bytes]]]) -> None:
        self._send = send

    @contextlib.asynccontextmanager
    async def stream(self, request: Any) -> AsyncIterator[SimpleNamespace]:
        """Send one request; its answer is read whole."""
        status, body = await self._send(request.body)

        async def read() -> bytes:
            return body

        yield SimpleNamespace(status=status, reason="", headers=[], http_version="HTTP/1.1", read=read)


# -- adapters and predictors -------------------------------------------------------------------------------


def field_descriptions(named: Mapping[str, Any]) -> str:
    """The fields of a signature as DSPy's adapters describe them in a prompt."""
    text: str = get_field_description_string(named)
    return text


def json_fallback(adapter: dspy.ChatAdapter) -> Any:
    """The adapter by which a chat adapter asks again for JSON."""
    return adapter._make_json_adapter_fallback()


def predictor_mark(predictor: dspy.Predict) -> str:
    """A mark that a predictor shares with its copies, of which rollouts and ``dspy.BestOfN`` make many."""
    mark: str = predictor.stage
    return mark


# -- the sandbox -------------------------------------------------------------------------------------------


def kill_interpreter(interpreter: dspy.PythonInterpreter) -> None:
    """End the process of a sandbox at once, whatever it is doing."""
    if interpreter.deno_process is not None:
        interpreter.deno_process.kill()

"""Wraps DSPy's private and undocumented names. The project uses such names only in this module.

``tests/flex_dspy/core/test_dspy_internals.py`` holds a contract test for each use. If DSPy changes, a failing test
names the function here that breaks. Another test rejects such names in other modules. Names that ``import dspy``
offers, such as ``dspy.LMError`` or ``dspy.Module.named_sub_modules``, are public and are used directly.
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

# Without this setting, DSPy and litellm download a list of prices at their first use.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

# Name of the class of a plain language model in a saved program.
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
    """Values that this project stores in DSPy's settings; see ``flex_dspy.core.ambient``."""
    values: Mapping[str, Any] = dspy.settings.get(_OWN_KEY, {})
    return values


def own_settings_within(values: Mapping[str, Any]) -> AbstractContextManager[None]:
    """Context manager that sets ``own_settings``: on this thread, in its tasks, on threads of ``dspy.Parallel``."""
    context: AbstractContextManager[None] = dspy.context(**{_OWN_KEY: values})
    return context


def is_streamed() -> bool:
    """Whether answers are streamed to a reader in parts."""
    return dspy.settings.send_stream is not None


class StreamProgress(Protocol):
    """The state of a streamed call.

    Attributes:
        emitted: Whether a reader of the stream has received a part of the answer.
    """

    emitted: bool


def watch_stream() -> AbstractContextManager[StreamProgress]:
    """Context manager that watches a stream: ``emitted`` says whether a reader has received a part of an answer."""
    from dspy.clients.call_context import adapter_fallback_scope

    scope: AbstractContextManager[StreamProgress] = adapter_fallback_scope()
    return scope


# -- usage -------------------------------------------------------------------------------------------------


def usage_tracker() -> UsageTracker | None:
    """The tracker that DSPy reports answers to."""
    tracker: UsageTracker | None = dspy.settings.usage_tracker
    return tracker


def usage_reported_to(listener: UsageListener) -> AbstractContextManager[None]:
    """Context manager: within the block, DSPy reports each paid answer to a listener."""
    context: AbstractContextManager[None] = dspy.context(usage_tracker=listener)
    return context


class UsageListener(UsageTracker):
    """Receives the usage of each answer when it arrives, also in ``dspy.track_usage`` and ``dspy.Parallel``."""

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
        """Receive the usage of one answer.

        Args:
            model: The model string.
            usage: ``prompt_tokens``, ``completion_tokens`` and more, as DSPy reports them.
        """
        raise NotImplementedError


class _ForwardedUsage(dict[str, Any]):
    """Receives the entries that an inner block of ``dspy.track_usage`` appends at its end."""

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
        prompt: A prompt, if there are no messages.
        messages: Chat messages.
        settings: The settings of the call.
        asynchronous: Whether it is an asynchronous call. DSPy caches synchronous and asynchronous calls separately.
    """
    from dspy.clients.execution import IGNORED_CACHE_KEYS

    request = _cache_request(lm, prompt, messages, settings, asynchronous=asynchronous)
    return request is not None and dspy.cache.get(request, IGNORED_CACHE_KEYS) is not None


def forget_answer(
    lm: dspy.LM, messages: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], *, asynchronous: bool
) -> None:
    """Remove the answer to a request from DSPy's cache, so that the next equal request is sent to the model.

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
    with dspy.cache._lock:  # DSPy's threads read the memory cache at the same time
        dspy.cache.memory_cache.pop(key, None)
    dspy.cache.disk_cache.pop(key, None)


def _cache_request(
    lm: dspy.LM, prompt: Any, messages: Any, settings: Mapping[str, Any], *, asynchronous: bool
) -> dict[str, Any] | None:
    """Request in the form that DSPy's cache uses as its key; None for a call that is not cached."""
    from dspy.clients.execution import prepare

    call = prepare(lm, prompt, messages, dict(settings), asynchronous=asynchronous)
    if not call.cache:
        return None
    request: dict[str, Any] = call.key(lm, asynchronous)
    return request


# -- models and providers ----------------------------------------------------------------------------------


def async_engine_of(lm: Any) -> Any | None:
    """Asynchronous engine of a model; None if it has none."""
    return getattr(lm, "_async_engine_spec", None)


def read_retry_after(hint: Any) -> float | None:
    """Seconds from a Retry-After header or a number; None if it cannot be read."""
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
    """Price from a model's entry, in USD for one token; None if the entry has no such price."""
    from dspy.clients.model_metadata import rate

    price: float | None = rate(facts, name)
    return price


class Resolution(Protocol):
    """Provider and key with which DSPy's own client calls a model.

    Attributes:
        provider: The provider's name.
        env_key: The environment variables that may hold its key.
    """

    provider: str
    env_key: Any


def resolve_model(name: str) -> Resolution | None:
    """Provider that DSPy's own client would call; None if only litellm supports the model."""
    from dspy.clients.backend_selection import select_backend

    try:
        return cast("Resolution | None", select_backend(dspy.LM(name)).resolution)
    except (dspy.lm15.LM15Error, ValueError):
        return None


def address_of_provider(provider: str) -> str | None:
    """Address of a provider in DSPy's own clients; None if DSPy has no client for it."""
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
    """Make DSPy's client of chat completions with a function that sends its requests.

    Args:
        send: Takes the body of a request and returns the status and the body of the answer.
    """
    return dspy.lm15.AsyncOpenAIChatLM(api_key="sent elsewhere", transport=_Transport(send))


def passed_on(lm: dspy.LM, messages: Any) -> AbstractContextManager[None]:
    """Context manager for calling a model with an adapter's messages, without a warning from DSPy."""
    from dspy.clients._deprecation import adapter_message_call

    context: AbstractContextManager[None] = adapter_message_call(lm, messages)
    return context


class _Transport:
    """Passes requests of lm15's clients to a function."""

    def __init__(self, send: Callable[[bytes], Awaitable[tuple[int, bytes]]]) -> None:
        self._send = send

    @contextlib.asynccontextmanager
    async def stream(self, request: Any) -> AsyncIterator[SimpleNamespace]:
        """Send one request and read its whole answer."""
        status, body = await self._send(request.body)

        async def read() -> bytes:
            return body

        yield SimpleNamespace(status=status, reason="", headers=[], http_version="HTTP/1.1", read=read)


# -- adapters and predictors -------------------------------------------------------------------------------


def field_descriptions(named: Mapping[str, Any]) -> str:
    """Text that describes the fields of a signature, as DSPy's adapters write it in a prompt."""
    text: str = get_field_description_string(named)
    return text


def json_fallback(adapter: dspy.ChatAdapter) -> Any:
    """Adapter that a chat adapter uses for its second request, for JSON."""
    return adapter._make_json_adapter_fallback()


def predictor_mark(predictor: dspy.Predict) -> str:
    """Mark that is equal for a predictor and its copies, such as the copies that ``dspy.BestOfN`` makes."""
    mark: str = predictor.stage
    return mark


# -- the sandbox -------------------------------------------------------------------------------------------


def kill_interpreter(interpreter: dspy.PythonInterpreter) -> None:
    """Kill the process of a sandbox immediately, even while it runs code."""
    if interpreter.deno_process is not None:
        interpreter.deno_process.kill()

"""DSPy's private names: each use stands here, and a contract test says what breaks when DSPy changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import dspy


class StreamProgress(Protocol):
    """What a reader of a stream has seen of a call."""

    emitted: bool


def watch_stream() -> AbstractContextManager[StreamProgress]:
    """Within this block, ``emitted`` says whether a reader of a stream has seen a part of an answer."""
    from dspy.clients.call_context import adapter_fallback_scope

    scope: AbstractContextManager[StreamProgress] = adapter_fallback_scope()
    return scope


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

    request = _cached_request(lm, prompt, messages, settings, asynchronous=asynchronous)
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

    request = _cached_request(lm, None, messages, settings, asynchronous=asynchronous)
    if request is None:
        return
    key = dspy.cache.cache_key(request, IGNORED_CACHE_KEYS)
    with dspy.cache._lock:  # DSPy's own threads read the memory at the same time
        dspy.cache.memory_cache.pop(key, None)
    dspy.cache.disk_cache.pop(key, None)


def _cached_request(
    lm: dspy.LM, prompt: Any, messages: Any, settings: Mapping[str, Any], *, asynchronous: bool
) -> dict[str, Any] | None:
    """A request in the form by which DSPy's cache knows it; None for a call that is not cached."""
    from dspy.clients.execution import prepare

    call = prepare(lm, prompt, messages, dict(settings), asynchronous=asynchronous)
    if not call.cache:
        return None
    request: dict[str, Any] = call.key(lm, asynchronous)
    return request

"""Language models by name, the offline experts among them.

What a ``LanguageModel`` adds to ``dspy.LM``: it waits for its provider's limits, retries what is worth it, and does not
ask once a budget is spent.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import dspy
from dspy.utils.exceptions import (
    ContextWindowExceededError,
    LMConfigurationError,
    LMError,
    LMInvalidRequestError,
    LMNotConfiguredError,
    LMProviderError,
    LMServerError,
    LMUnexpectedError,
    is_retryable_lm_error,
)
from dspy.utils.usage_tracker import UsageTracker
from tenacity import AsyncRetrying, RetryCallState, Retrying, stop_after_attempt, wait_random, wait_random_exponential
from tenacity.retry import retry_if_exception

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.secrets import redact_error, redact_url, url_secrets
from flex_dspy.core.tokens import tokens
from flex_dspy.models.dspy_internals import is_cached
from flex_dspy.models.limits import Limits, Turn
from flex_dspy.models.providers import address_of, check_name, is_native, key_variables
from flex_dspy.models.spending import within_budget

logger = logging.getLogger(__name__)

OFFLINE = "offline"
EXPERTS = ("chemist", "mathematician", "biologist")

Backend = Literal["auto", "native", "litellm"]
_ENGINES = {"auto": "auto", "native": "lm15", "litellm": "litellm"}

# Without a hint: a random wait, up to twice as long each time (Brooker, "Exponential Backoff And Jitter", AWS, 2015).
BACKOFF = wait_random_exponential(multiplier=1, max=60)
LONGEST_HINT = 600.0  # seconds; a provider that asks for more wants us back another day


def language_model(
    name: str,
    *,
    expert: str | None = None,
    api_base: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    timeout: float = 600.0,
    retries: int = 6,
    limits: Limits | None = None,
    backend: Backend = "auto",
    cache: bool = True,
) -> dspy.LM:
    """The model with this name.

    Args:
        name: ``offline`` for the task's offline expert, ``offline/chemist`` for that one, else any model string
            that DSPy or litellm understands (``openai/gpt-4o``, ``anthropic/claude-sonnet-4-5``, ...).
        expert: The task's offline expert, if it has one.
        api_base: Address of an OpenAI-compatible server; the variable ``BASE_URL`` is honoured too. The key comes
            from ``API_KEY``, or from the provider's own variable.
        temperature: Sampling temperature.
        max_tokens: Most tokens of one answer.
        timeout: Seconds to wait for a server that sends nothing.
        retries: How often a call is repeated that failed for a passing reason.
        limits: What the model waits for; share one ``Limits`` among the models of one endpoint.
        backend: ``native`` for DSPy's own clients, ``litellm``, or ``auto``: native where it can be.
        cache: Whether an answer that DSPy has in its cache will do.

    Raises:
        ConfigurationError: If there is no such expert, or the name is no model string, or the model cannot be
            set up so.
    """
    if name == OFFLINE or name.startswith(OFFLINE + "/"):
        return _offline(name.partition("/")[2] or expert)
    settings: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, "timeout": timeout}
    if base := api_base or os.environ.get("BASE_URL"):
        if not base.startswith(("http://", "https://")):  # not repeated: it may begin with a password
            raise ConfigurationError("the server's address must begin with http:// or https://")
        settings["api_base"] = base
    if key := os.environ.get("API_KEY"):
        settings["api_key"] = key
    if backend not in _ENGINES:
        raise ConfigurationError(f"there is no backend {backend!r}: say {', '.join(_ENGINES)}")
    check_name(name, address=base)
    if backend == "native" and not is_native(name):
        raise ConfigurationError(f"DSPy has no client of its own for {name}: leave the backend to auto")
    try:
        return LanguageModel(name, limits=limits, retries=retries, engine=_ENGINES[backend], cache=cache, **settings)
    except ValueError as error:
        raise ConfigurationError(f"{name!r} is no model string: {error}") from error
    except LMConfigurationError as error:
        raise ConfigurationError(f"{name} cannot be set up so: {error}") from error


class LanguageModel(dspy.LM):
    """A ``dspy.LM`` that waits for limits, retries, and keeps within a budget.

    Args:
        model: The model string.
        limits: What it waits for; by default only for what the provider asks by Retry-After.
        retries: How often a call is repeated that failed for a passing reason. Every attempt waits its turn.
        **settings: Those of ``dspy.LM``.
    """

    def __init__(self, model: str, *, limits: Limits | None = None, retries: int = 6, **settings: Any) -> None:
        super().__init__(model, num_retries=0, **settings)
        self.limits = Limits() if limits is None else limits
        self.retries = retries

    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """Ask; see ``dspy.LM``.

        Raises:
            BudgetError: If a budget is spent.
        """
        within_budget()
        ask = functools.partial(super().__call__, prompt, messages=messages, **kwargs)
        if self.limits.active and is_cached(self, prompt, messages, kwargs, asynchronous=False):  # no need to wait
            return ask()

        def attempt() -> Any:
            with self.limits.turn(*self._expected(prompt, messages, kwargs)) as turn, _attempt(self, turn):
                return ask()

        return Retrying(**self._policy())(attempt)

    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """The same, asynchronously."""
        within_budget()
        ask = functools.partial(super().acall, prompt, messages=messages, **kwargs)
        known = functools.partial(is_cached, self, prompt, messages, kwargs, asynchronous=True)
        if self.limits.active and await asyncio.to_thread(known):
            return await ask()

        async def attempt() -> Any:
            async with self.limits.aturn(*self._expected(prompt, messages, kwargs)) as turn:
                with _attempt(self, turn):
                    return await ask()

        return await AsyncRetrying(**self._policy())(attempt)

    def dump_state(self) -> dict[str, Any]:
        """The state of a plain ``dspy.LM``, which loads anywhere; limits belong to the machine, not to a program."""
        state = _without_secrets(super().dump_state())
        return {**state, "_dspy_lm_class": "dspy.clients.lm.LM", "num_retries": self.retries}

    # What is pickled, as MLflow pickles programs, may go anywhere: the key, and what is secret in the address, stay,
    # and are looked up where it is loaded.
    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {**state, "kwargs": _without_secrets(state["kwargs"])}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if key := os.environ.get("API_KEY"):
            self.kwargs.setdefault("api_key", key)
        base = os.environ.get("BASE_URL")
        if base and redact_url(base) == self.kwargs.get("api_base"):
            self.kwargs["api_base"] = base

    def __deepcopy__(self, memo: dict[int, Any]) -> LanguageModel:
        new = object.__new__(type(self))
        memo[id(self)] = new
        new.__setstate__(copy.deepcopy({**self.__getstate__(), "kwargs": self.kwargs}, memo))
        return new

    def _expected(self, prompt: Any, messages: Any, kwargs: dict[str, Any]) -> tuple[int, int | None]:
        """An estimate of the tokens sent, and the most that come back."""
        if "tokens_per_minute" not in self.limits.bounds:
            return 0, None
        texts = [str(prompt)] if messages is None else [str(message.get("content", "")) for message in messages]
        settings = {**self.kwargs, **kwargs}
        return sum(map(tokens, texts)), settings.get("max_tokens") or settings.get("max_completion_tokens")

    def _policy(self) -> dict[str, Any]:
        """When to ask again: never where a reader has seen part of the answer already."""
        attempts = 1 if dspy.settings.send_stream is not None else self.retries + 1
        return {
            "retry": retry_if_exception(is_transient),
            "stop": stop_after_attempt(attempts),
            "wait": self._wait,
            "before_sleep": self._tell,
            "reraise": True,
        }

    def _wait(self, state: RetryCallState) -> float:
        """Seconds until the next attempt; a provider's hint is waited for by all who share the limits."""
        hint = retry_after(_failure(state))
        if hint is None:
            return BACKOFF(state)
        self.limits.pause(hint)
        return wait_random(hint, 1.25 * hint)(state)  # those who were refused do not come back all at once

    def _tell(self, state: RetryCallState) -> None:
        error = _failure(state)
        logger.info("%s: %s, attempt %d of %d", self.model, error, state.attempt_number, self.retries + 1)


def _without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A model's settings as they may be written down."""
    kept = {name: value for name, value in settings.items() if name != "api_key"}
    addresses = {name: redact_url(kept[name]) for name in ("api_base", "base_url") if kept.get(name)}
    return kept | addresses


def _failure(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    return error or RuntimeError("no failure")


class _Metering(UsageTracker):
    """Tells a turn what its call took, and the tracker around it."""

    def __init__(self, turn: Turn, outer: UsageTracker | None) -> None:
        super().__init__()
        self._turn = turn
        self._outer = outer

    def add_usage(self, lm: str, usage_entry: dict[str, Any]) -> None:
        """Count one answer."""
        counts = [usage_entry.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")]
        if any(counts):
            self._turn.used(*counts)
        if self._outer is not None:
            self._outer.add_usage(lm, usage_entry)


@contextlib.contextmanager
def _attempt(lm: dspy.LM, turn: Turn) -> Iterator[None]:
    """One attempt, at its turn."""
    within_budget()  # which may have been spent meanwhile
    with dspy.context(usage_tracker=_Metering(turn, dspy.settings.usage_tracker)):
        try:
            yield
        except LMError as error:
            redact_error(error, secrets_of(lm))
            if (named := _by_its_words(error)) is None:
                raise
            raise named from error


def secrets_of(lm: dspy.LM) -> list[str]:
    """What a request may have been sent with: keys, and what is secret in the address."""
    keys = (lm.kwargs.get("api_key"), *map(os.environ.get, key_variables(lm)))
    return [*filter(None, keys), *url_secrets(address_of(lm))]


# Servers that speak OpenAI's language without its error codes say it in words only.
_OVERFLOW = re.compile(
    r"context.{0,3}(length|window|size)|prompt is too long|input (is|was)? ?too long|too many input tokens",
    re.IGNORECASE,
)
# litellm reports a key that is missing as a fault of the server.
_NO_KEY = re.compile(r"missing credentials|api_key client option must be set|missing \S+ ?api.?key", re.IGNORECASE)


def _by_its_words(error: LMError) -> LMError | None:
    """The error that it is, where neither the provider's code nor DSPy's class says so."""
    details = {"model": error.model, "message": error.message, "status": error.status, "provider": error.provider}
    if type(error) is LMInvalidRequestError and _OVERFLOW.search(error.message):
        return ContextWindowExceededError(**details)
    if isinstance(error, LMServerError) and _NO_KEY.search(error.message):
        return LMNotConfiguredError(**details)
    return None


def is_transient(error: BaseException) -> bool:
    """Whether it is worth to ask again.

    Beside what DSPy calls retryable: an answer cut short, or a proxy's page in place of JSON, which DSPy's own
    clients report as a provider's error with status 200; and a connection lost where no client expected it.
    """
    if not isinstance(error, LMError) or (retry_after(error) or 0.0) > LONGEST_HINT:
        return False
    if type(error) is LMProviderError:
        return error.status == 200
    if type(error) is LMUnexpectedError:
        cause = error.__cause__
        library = type(cause).__module__.partition(".")[0]
        return library in _CLIENTS or isinstance(cause, OSError | EOFError | json.JSONDecodeError)
    return is_retryable_lm_error(error)


_CLIENTS = ("httpx", "httpcore", "aiohttp")


def is_outage(error: BaseException) -> bool:
    """Whether a model could not be reached, or its server failed: that says nothing about the question.

    A custom model raises whatever its own client raises: a lost connection or a timeout is an ``OSError``.
    """
    return is_transient(error) or isinstance(error, OSError)


def retry_after(error: BaseException | None) -> float | None:
    """Seconds after which a provider asks to be asked again; None where it does not say.

    Of litellm's errors DSPy drops the header: it is found on the error that litellm raised.
    """
    from dspy.clients._http import retry_after_seconds

    while error is not None:
        headers = getattr(error, "litellm_response_headers", None) or {}
        for hint in (getattr(error, "retry_after", None), headers.get("retry-after")):
            if (seconds := retry_after_seconds(hint)) is not None:
                return float(seconds)
        error = error.__cause__
    return None


def _offline(expert: str | None) -> dspy.LM:
    if expert not in EXPERTS:
        what = f"no offline expert {expert!r}" if expert else "no offline expert for this task yet"
        raise ConfigurationError(f"there is {what}: name a language model with --lm, e.g. --lm openai/gpt-4o")
    from flex_dspy.offline.engine import AsyncOfflineEngine, OfflineEngine

    engines = {"engine": OfflineEngine(expert), "async_engine": AsyncOfflineEngine(expert=expert)}
    return dspy.LM(f"{OFFLINE}/{expert}", **engines, cache=False)


def is_offline(lm: dspy.LM) -> bool:
    """Whether a model is one of the offline experts."""
    return str(lm.model).startswith(OFFLINE + "/")


def close(lm: dspy.LM) -> None:
    """End the worker processes of an offline expert; they start again when they are needed.

    Without this they end with the process, or when the model is no longer referred to.
    """
    engine = getattr(lm, "_async_engine_spec", None)
    if engine is not None and is_offline(lm):
        engine.close()

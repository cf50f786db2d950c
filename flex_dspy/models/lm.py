"""Language models by name, including the offline experts.

A ``LanguageModel`` is a ``dspy.LM`` that waits for its provider's limits, retries calls after transient errors, and
makes no more calls after a budget is spent.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

import dspy
from tenacity import AsyncRetrying, RetryCallState, Retrying, stop_after_attempt, wait_random
from tenacity.retry import retry_if_exception

from flex_dspy.core.dspy_internals import (
    PLAIN_LM_CLASS,
    UsageListener,
    async_engine_of,
    is_cached,
    is_streamed,
    usage_reported_to,
    usage_tracker,
)
from flex_dspy.core.entry_points import find_points, load_point
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.secrets import redact_error, redact_url, url_secrets
from flex_dspy.core.settings import accepts
from flex_dspy.core.tokens import tokens
from flex_dspy.models.batch_calls import BatchCall, ask_in_batch, client_of, is_batch_allowed
from flex_dspy.models.batches import Batches
from flex_dspy.models.failures import BACKOFF, is_transient, reclassify, retry_after
from flex_dspy.models.limits import Limits, Turn
from flex_dspy.models.providers import address_of, check_name, is_native, key_variables
from flex_dspy.models.settings import OFFLINE, Backend, ModelSettings
from flex_dspy.models.spending import check_budget

logger = logging.getLogger(__name__)

# Group of entry points: the part of a model's name after the slash leads to its two engines.
ENGINES = "flex_dspy.engines"

_ENGINES: dict[Backend, str] = {"auto": "auto", "native": "lm15", "litellm": "litellm"}


@accepts(ModelSettings)
def language_model(
    name: str | None = None,
    *,
    expert: str | None = None,
    limits: Limits | None = None,
    batches: Batches | None = None,
    settings: ModelSettings | None = None,
    **options: Any,
) -> dspy.LM:
    """Return the model with this name.

    The key comes from the environment variable ``API_KEY``, or from the provider's own.

    Args:
        name: ``offline`` for the task's offline expert, ``offline/chemist`` for a certain expert, or any model string
            that DSPy or litellm understands (``openai/gpt-4o``, ``anthropic/claude-sonnet-4-5``, ...).
        expert: The task's offline expert, if it has one.
        limits: Limits that the models of one endpoint share; by default the model has its own limits from the
            settings.
        batches: Sends the calls of all models that share it through their provider's batch endpoint. None makes a new
            object if the settings say ``batch``; otherwise there are no batches.
        settings: The settings to start from.
        **options: Fields of ``ModelSettings``, by name.

    Raises:
        ConfigurationError: If there is no such expert, or the name is not a model string, or the model cannot be
            set up with these options.

    Example:
        >>> language_model("openai/qwen", temperature=0).kwargs["temperature"]
        0.0
    """
    if "api_key" in options:
        raise ConfigurationError(
            "a key is no option, so that it reaches no file: set the environment variable API_KEY, or "
            "the provider's own"
        )
    chosen = ModelSettings.resolve(settings, options if name is None else {"name": name, **options})
    if batches is None and chosen.batch:
        batches = Batches()
    if chosen.name == OFFLINE or chosen.name.startswith(OFFLINE + "/"):
        if batches is not None:
            raise ConfigurationError("an offline expert cannot be asked in batches: leave out batch (--batch)")
        return _offline(chosen.name.partition("/")[2] or expert)
    if not chosen.api_base and (base := os.environ.get("BASE_URL")):
        chosen = chosen.with_options(api_base=base)
    check_name(chosen.name, address=chosen.api_base)
    if chosen.backend == "native" and not is_native(chosen.name):
        raise ConfigurationError(f"DSPy has no client of its own for {chosen.name}: leave the backend to auto")
    own = Limits(chosen.requests_per_minute, chosen.tokens_per_minute, chosen.max_concurrency)
    return _online(chosen, own if limits is None else limits, batches)


def _online(chosen: ModelSettings, limits: Limits, batches: Batches | None) -> LanguageModel:
    name = chosen.name
    settings: dict[str, Any] = {field: getattr(chosen, field) for field in ("temperature", "max_tokens", "timeout")}
    if chosen.api_base:
        settings["api_base"] = chosen.api_base
    if key := os.environ.get("API_KEY"):
        settings["api_key"] = key
    engine = _ENGINES[chosen.backend]
    try:
        own: dict[str, Any] = {"limits": limits, "retries": chosen.retries, "batches": batches}
        return LanguageModel(name, engine=engine, cache=chosen.cache, **own, **settings)
    except ValueError as error:
        raise ConfigurationError(f"{name!r} is no model string: {error}") from error
    except dspy.LMConfigurationError as error:
        raise ConfigurationError(f"{name} cannot be set up so: {error}") from error


class LanguageModel(dspy.LM):
    """A ``dspy.LM`` that waits for limits, retries, and keeps within a budget.

    Args:
        model: The model string.
        limits: The limits that it waits for; by default only Retry-After.
        retries: How often a call is repeated after a transient error. Every attempt waits for its turn.
        batches: Sends asynchronous calls through the provider's batch endpoint, where limits do not apply. None sends
            each call immediately, as synchronous and streamed calls always are.
        **settings: Settings of ``dspy.LM``.

    Raises:
        ConfigurationError: If batches are wanted, but the provider has no usable batch endpoint.
    """

    def __init__(
        self,
        model: str,
        *,
        limits: Limits | None = None,
        retries: int = 6,
        batches: Batches | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(model, num_retries=0, **settings)
        self.limits = Limits() if limits is None else limits
        self.retries = retries
        self.batches = batches
        if batches is not None:
            batches.make_endpoint(model, client_of(self))  # fails early if there can be none

    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """Ask the model; see ``dspy.LM``.

        Raises:
            BudgetError: If a budget is spent.
        """
        check_budget()
        ask = functools.partial(super().__call__, prompt, messages=messages, **kwargs)
        if self.limits.active and is_cached(self, prompt, messages, kwargs, asynchronous=False):  # no need to wait
            return ask()

        def attempt() -> Any:
            with self.limits.turn(*self._estimate(prompt, messages, kwargs)) as turn, _attempt(self, _Metering(turn)):
                return ask()

        return Retrying(**self._policy())(attempt)

    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """Asynchronous version of ``__call__``. With batches, it waits for its batch."""
        check_budget()
        if self.batches is not None and is_batch_allowed():
            return await self._acall_in_batch(self.batches, prompt, messages, kwargs)
        ask = functools.partial(super().acall, prompt, messages=messages, **kwargs)
        known = functools.partial(is_cached, self, prompt, messages, kwargs, asynchronous=True)
        if self.limits.active and await asyncio.to_thread(known):
            return await ask()

        async def attempt() -> Any:
            async with self.limits.aturn(*self._estimate(prompt, messages, kwargs)) as turn:
                with _attempt(self, _Metering(turn)):
                    return await ask()

        return await AsyncRetrying(**self._policy())(attempt)

    async def _acall_in_batch(self, batches: Batches, prompt: Any, messages: Any, kwargs: Mapping[str, Any]) -> Any:
        async def attempt() -> Any:
            call = BatchCall(self, batches)
            with _attempt(self, call):
                return await ask_in_batch(call, prompt, messages, kwargs)

        return await AsyncRetrying(**self._policy())(attempt)

    def dump_state(self) -> dict[str, Any]:
        """The state of a plain ``dspy.LM``, which loads anywhere. Limits are not saved: they belong to the machine."""
        state = _without_secrets(super().dump_state())
        return {**state, "_dspy_lm_class": PLAIN_LM_CLASS, "num_retries": self.retries}

    # A pickled program, such as one in MLflow, may go anywhere. It therefore holds neither the key nor secret parts of
    # the address; they are looked up again where it is loaded.
    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {**state, "kwargs": _without_secrets(state["kwargs"]), "batches": None}  # they have one journal

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
        own = {"kwargs": self.kwargs, "batches": self.batches}
        new.__setstate__(copy.deepcopy({**self.__getstate__(), **own}, memo))
        return new

    def _estimate(self, prompt: Any, messages: Any, kwargs: dict[str, Any]) -> tuple[int, int | None]:
        """An estimate of the tokens sent, and the largest number of tokens of the answer."""
        if "tokens_per_minute" not in self.limits.bounds:
            return 0, None
        texts = [str(prompt)] if messages is None else [str(message.get("content", "")) for message in messages]
        settings = {**self.kwargs, **kwargs}
        return sum(map(tokens, texts)), settings.get("max_tokens") or settings.get("max_completion_tokens")

    def _policy(self) -> dict[str, Any]:
        """The retry policy: never retry if a user has already seen part of the answer."""
        attempts = 1 if is_streamed() else self.retries + 1
        return {
            "retry": retry_if_exception(is_transient),
            "stop": stop_after_attempt(attempts),
            "wait": self._wait,
            "before_sleep": self._tell,
            "reraise": True,
        }

    def _wait(self, state: RetryCallState) -> float:
        """Seconds until the next attempt. If the provider gives a hint, all models that share the limits wait."""
        hint = retry_after(_failure(state))
        if hint is None:
            return BACKOFF(state)
        self.limits.pause(hint)
        return wait_random(hint, 1.25 * hint)(state)  # so that refused calls do not all return together

    def _tell(self, state: RetryCallState) -> None:
        error = _failure(state)
        logger.info("%s: %s, attempt %d of %d", self.model, error, state.attempt_number, self.retries + 1)


def _without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A model's settings without secrets."""
    kept = {name: value for name, value in settings.items() if name != "api_key"}
    addresses = {name: redact_url(kept[name]) for name in ("api_base", "base_url") if kept.get(name)}
    return kept | addresses


def _failure(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    return error or RuntimeError("no failure")


class _Metering(UsageListener):
    """Reports the usage of a call to its turn, and to the outer tracker."""

    def __init__(self, turn: Turn) -> None:
        super().__init__()
        self._turn = turn
        self._outer = usage_tracker()

    def receive(self, model: str, usage: dict[str, Any]) -> None:
        """Count one answer."""
        counts = [usage.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")]
        if any(counts):
            self._turn.settle(*counts)
        if self._outer is not None:
            self._outer.add_usage(model, usage)


@contextlib.contextmanager
def _attempt(lm: dspy.LM, listener: UsageListener) -> Iterator[None]:
    """Make one attempt within the block, and report its usage to the listener."""
    check_budget()  # it may have been spent in the meantime
    with usage_reported_to(listener):
        try:
            yield
        except dspy.LMError as error:
            redact_error(error, secrets_of(lm))
            if (exact := reclassify(error)) is None:
                raise
            raise exact from error


def secrets_of(lm: dspy.LM) -> list[str]:
    """The secrets that a request may hold: keys, and secret parts of the address."""
    keys = (lm.kwargs.get("api_key"), *map(os.environ.get, key_variables(lm)))
    return [*filter(None, keys), *url_secrets(address_of(lm))]


def _offline(expert: str | None) -> dspy.LM:
    make_engines = load_point(find_points(ENGINES)[OFFLINE][0])
    engine, async_engine = make_engines(expert)
    return dspy.LM(f"{OFFLINE}/{expert}", engine=engine, async_engine=async_engine, cache=False)


def is_offline(lm: dspy.LM) -> bool:
    """Whether a model is one of the offline experts."""
    return str(lm.model).startswith(OFFLINE + "/")


def close(lm: dspy.LM) -> None:
    """Stop the worker processes of an offline expert; they start again when they are needed.

    Otherwise they stop with the main process, or when the model is garbage-collected.
    """
    engine = async_engine_of(lm)
    if engine is not None and is_offline(lm):
        engine.close()

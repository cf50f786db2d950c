"""One call of a language model that goes through its provider's batch endpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import dspy
from dspy import lm15

from flex_dspy.core.ambient import Ambient
from flex_dspy.core.dspy_internals import UsageListener, chat_client, is_streamed, passed_on, usage_tracker
from flex_dspy.core.errors import FlexError
from flex_dspy.models.batches import Batches
from flex_dspy.models.spending import AT_BATCH_PRICE

_AT_ONCE = Ambient("at once", False)
_CLIENT = ("api_key", "api_base", "base_url", "timeout")  # settings that do not belong to a request


def at_once() -> AbstractContextManager[None]:
    """Context manager: within it no call goes into a batch, because other work waits for the answers."""
    return _AT_ONCE.within(True)


def is_batch_allowed() -> bool:
    """Whether a call may wait for a batch: it is not streamed, and it is not within ``at_once``."""
    return not _AT_ONCE.get() and not is_streamed()


def client_of(lm: dspy.LM) -> dict[str, Any]:
    """The settings for a model's batch endpoint: ``api_key`` and ``api_base``, if they are given."""
    address = lm.kwargs.get("api_base") or lm.kwargs.get("base_url")
    given = {"api_key": lm.kwargs.get("api_key"), "api_base": address}
    return {name: value for name, value in given.items() if value}


async def ask_in_batch(call: BatchCall, prompt: Any, messages: Any, settings: Mapping[str, Any]) -> Any:
    """Ask a model in a batch, through DSPy: its cache, history and callbacks work as for any call.

    Args:
        call: The call.
        prompt: A prompt, if no messages are given.
        messages: Chat messages.
        settings: The settings of the call.

    Raises:
        BudgetError: If the batch cannot be recorded.
        LMError: If the provider reports an error.
    """
    own = call.lm
    sampling = {name: value for name, value in own.kwargs.items() if name not in _CLIENT}
    lm = dspy.LM(
        own.model,
        own.model_type,
        cache=own.cache,
        callbacks=own.callbacks,
        num_retries=0,
        engine=_NoEngine(),
        async_engine=call,
        **sampling,
    )
    lm.history = own.history
    try:
        with AT_BATCH_PRICE.within(True), passed_on(lm, messages):
            return await lm.acall(prompt, messages=messages, **settings)
    except dspy.LMError:
        if call.fault is not None:  # DSPy reports it as an error of the model
            raise call.fault from None
        raise


class BatchCall(UsageListener):
    """One call: the engine that DSPy asks, and the listener that receives its usage.

    Usage is not passed on if an earlier process has already charged the same answer.

    Args:
        lm: The model.
        batches: Collects the calls.

    Attributes:
        fault: An error of this package, which DSPy must not report as the model's.
    """

    def __init__(self, lm: dspy.LM, batches: Batches) -> None:
        super().__init__()
        self.lm = lm
        self.fault: FlexError | None = None
        self._batches = batches
        self._request = ""
        self._outer = usage_tracker()

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """Ask in a batch. The answer is read like an answer over HTTP."""
        wire_name = str(self.lm.model).partition("/")[2]
        return await chat_client(self._send).complete(replace(request, model=wire_name))

    async def _send(self, body: bytes) -> tuple[int, bytes]:
        try:
            self._request, answer = await self._batches.ask(str(self.lm.model), client_of(self.lm), json.loads(body))
        except FlexError as error:
            self.fault = error
            raise
        return answer.status, answer.body

    def receive(self, model: str, usage: dict[str, Any]) -> None:
        """Take the usage of the answer."""
        journal = self._batches.journal
        if self._request and journal.is_charged(self._request):
            return
        if self._outer is not None:
            self._outer.add_usage(model, usage)
        if self._request:
            journal.charge(self._request)


class _NoEngine:
    """Placeholder for the synchronous engine that DSPy requires. It is never called."""

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Refuse the call."""
        raise NotImplementedError("a batch is asked asynchronously")

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
    """Within this block nothing is put into a batch, because others wait for the answers."""
    return _AT_ONCE.within(True)


def is_batch_allowed() -> bool:
    """Whether a call may wait for a batch: nobody reads its stream, and it is not within ``at_once``."""
    return not _AT_ONCE.get() and not is_streamed()


def client_of(lm: dspy.LM) -> dict[str, Any]:
    """The settings by which a model's batch endpoint is reached: ``api_key`` and ``api_base``, where they are given."""
    address = lm.kwargs.get("api_base") or lm.kwargs.get("base_url")
    given = {"api_key": lm.kwargs.get("api_key"), "api_base": address}
    return {name: value for name, value in given.items() if value}


async def ask_in_batch(call: BatchCall, prompt: Any, messages: Any, settings: Mapping[str, Any]) -> Any:
    """Ask a model in a batch, through DSPy: its cache, history and callbacks work as for any call.

    Args:
        call: The call.
        prompt: A prompt, where no messages are given.
        messages: Chat messages.
        settings: The settings of the call.

    Raises:
        BudgetError: If the batch cannot be noted.
        LMError: If the provider says so.
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
    """One call: the engine that DSPy asks, and the listener that it reports the usage to.

    Usage is not passed on where an earlier process has charged the same answer.

    Args:
        lm: The model.
        batches: Collects the calls.

    Attributes:
        fault: An error of ours.
    """

    def __init__(self, lm: dspy.LM, batches: Batches) -> None:
        super().__init__()
        self.lm = lm
        self.fault: FlexError | None = None
        self._batches = batches
        self._request = ""
        self._outer = usage_tracker()

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """Ask in a batch. The answer is read as one that came over HTTP."""
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
    """Stands where DSPy wants a synchronous engine; nobody asks it."""

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Refuse."""
        raise NotImplementedError("a batch is asked asynchronously")

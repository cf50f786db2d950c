"""Calling programs from wherever the caller stands: with or without an event loop, sync or async program."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Coroutine
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import dspy
from dspy.utils.exceptions import (
    LMAuthError,
    LMBillingError,
    LMConfigurationError,
    LMUnsupportedModelError,
)

from flex_dspy.adapter import RememberingChatAdapter
from flex_dspy.errors import ConfigurationError, LibraryError, ModelError

T = TypeVar("T")
_ADAPTER = RememberingChatAdapter()

# What no other example would survive either. Everything else that a model does wrong is one example's failure.
_MODEL_FAULTS = (LMAuthError, LMBillingError, LMConfigurationError, LMUnsupportedModelError)
_OUR_FAULTS = (ConfigurationError, LibraryError, ModelError)


def raise_if_systemic(error: Exception) -> None:
    """Let an error through that is not one example's own, as this project's error.

    Raises:
        ModelError: For a wrong key, an unpaid bill, an unknown model or a wrong setting of one.
        FlexError: Whatever of these it was already.
    """
    if isinstance(error, _OUR_FAULTS):
        raise error
    if isinstance(error, _MODEL_FAULTS):
        raise ModelError(f"the model cannot be used as it is set up: {error}") from error


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; inside a running loop (a notebook) on a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(coroutine))
        except BaseException as error:  # re-raised in the caller's thread
            failure.append(error)

    # dspy keeps its settings in context variables, which a plain thread would not see.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,))
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


async def call(program: dspy.Module, **inputs: Any) -> dspy.Prediction:
    """Call a program on the event loop if it can, else on a thread."""
    if hasattr(program, "aforward"):
        return await program.acall(**inputs)
    return await asyncio.to_thread(program, **inputs)


def lean() -> AbstractContextManager[None]:
    """DSPy settings for thousands of calls: no history, no trace, and each signature described once.

    A history of prompts that hold hundreds of experiences would grow by megabytes a minute.
    """
    adapter = dspy.settings.adapter or _ADAPTER
    context: AbstractContextManager[None] = dspy.context(disable_history=True, max_trace_size=0, adapter=adapter)
    return context

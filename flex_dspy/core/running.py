"""Calls a program with or without a running event loop, whether it is synchronous or asynchronous."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import logging
import re
import threading
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

import dspy
from dspy import (
    AdapterParseError,
    ContextWindowExceededError,
    LMAuthError,
    LMBillingError,
    LMConfigurationError,
    LMInvalidRequestError,
    LMProviderError,
    LMUnsupportedFeatureError,
    LMUnsupportedModelError,
)

from flex_dspy.core.dspy_internals import async_engine_of
from flex_dspy.core.errors import BudgetError, ConfigurationError, LibraryError, ModelError

logger = logging.getLogger(__name__)

T = TypeVar("T")
Part = TypeVar("Part", bound="SizedPart")
P = ParamSpec("P")
# Threads for synchronous programs and metrics. asyncio's default pool has only (processors + 4) threads, which DSPy's
# cache needs. Threads are created when needed. A program on one thread may wait for a metric on another.
_THREADS = ThreadPoolExecutor(512, thread_name_prefix="flex-dspy")

# Errors that end a run because they would affect every example. Any other error of a model fails only one example.
_MODEL_FAULTS = (LMAuthError, LMBillingError, LMConfigurationError, LMUnsupportedModelError)
_TOO_LONG = re.compile(r"context (length|window|size)|maximum (input|model) length|prompt is too long", re.IGNORECASE)
_OUR_FAULTS = (BudgetError, ConfigurationError, LibraryError, ModelError)


def raise_if_systemic(error: Exception) -> None:
    """Raise the error as this project's error if it would affect every other example, such as a wrong key.

    Raises:
        ModelError: For a wrong key, an unpaid bill, an unknown model or a wrong setting of a model.
        FlexError: The given error, if it already is one.
    """
    if isinstance(error, _OUR_FAULTS):
        raise error
    missing = isinstance(error, LMProviderError) and error.status in (404, 405)  # DSPy names only some of them
    if missing or isinstance(error, _MODEL_FAULTS):
        raise ModelError(f"the model cannot be used as it is set up: {error}") from error


def unreadable(error: BaseException) -> bool:
    """Whether the model answered but its answer could not be parsed.

    DSPy reports this itself. It also counts if a server without a JSON mode rejected DSPy's second request, for JSON.
    """
    if isinstance(error, AdapterParseError):
        return True
    turned_down = isinstance(error, LMInvalidRequestError | LMUnsupportedFeatureError)
    other = isinstance(error, LMUnsupportedModelError) or overflows(error)
    return turned_down and not other and any(isinstance(cause, AdapterParseError) for cause in _causes(error))


def overflows(error: BaseException) -> bool:
    """Whether a prompt was too long for the model.

    DSPy recognizes it only by the error's code, which many servers with OpenAI's protocol do not send.
    """
    if isinstance(error, ContextWindowExceededError):
        return True
    return isinstance(error, LMInvalidRequestError) and bool(_TOO_LONG.search(str(error)))


def _causes(error: BaseException) -> Iterable[BaseException]:
    """The errors that were being handled when this one was raised, latest first."""
    seen: list[BaseException] = [error]
    while (cause := seen[-1].__cause__ or seen[-1].__context__) is not None and cause not in seen:
        seen.append(cause)
    return seen[1:]


class SizedPart(Hashable, Sized, Protocol):
    """A part of a prompt. Its length is its number of characters."""


def ask_shortening(
    ask: Callable[..., dspy.Prediction], field: str, texts: Iterable[Part], /, **inputs: Any
) -> dspy.Prediction:
    """Call a program, and retry with a shorter input each time the prompt is too long for the model.

    Args:
        ask: A program.
        field: Name of the input that can be shortened.
        texts: Versions of that input, the full text first. Equal versions are tried only once.
        **inputs: The other inputs.

    Raises:
        ContextWindowExceededError: If even the shortest version is too long; see ``overflows``.
    """
    overflow: LMInvalidRequestError = ContextWindowExceededError()
    for text in _distinct(texts):
        try:
            return ask(**{field: text}, **inputs)
        except LMInvalidRequestError as error:
            overflow = _check_overflow(error, field, text)
    raise overflow


async def aask_shortening(
    ask: Callable[..., Awaitable[dspy.Prediction]], field: str, texts: Iterable[Part], /, **inputs: Any
) -> dspy.Prediction:
    """Asynchronous version of ``ask_shortening``; ``ask`` is the program's ``acall``."""
    overflow: LMInvalidRequestError = ContextWindowExceededError()
    for text in _distinct(texts):
        try:
            return await ask(**{field: text}, **inputs)
        except LMInvalidRequestError as error:
            overflow = _check_overflow(error, field, text)
    raise overflow


def _check_overflow(error: LMInvalidRequestError, field: str, text: Sized) -> LMInvalidRequestError:
    """Return the error if it means that the prompt was too long; else raise it."""
    if not overflows(error):
        raise error
    logger.info("a prompt is too long for the model; %s: %d characters", field, len(text))
    return error


def _distinct(texts: Iterable[Part]) -> Iterable[Part]:
    seen: set[Part] = set()
    for text in texts:
        if text not in seen:
            seen.add(text)
            yield text


def takes(program: dspy.Module, name: str) -> bool:
    """Whether a program has an input of this name: an argument, or a field passed through its ``**kwargs``."""
    open_ended = False
    for method in ("forward", "aforward"):
        function = inspect.getattr_static(program, method, None)
        if callable(function):
            parameters = inspect.signature(function).parameters
            if name in parameters:
                return True
            open_ended |= any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    predictors = (predictor for _, predictor in program.named_sub_modules(dspy.Predict))
    return open_ended and any(name in predictor.signature.input_fields for predictor in predictors)


def select_inputs(role: dspy.Module, **inputs: Any) -> dict[str, Any]:
    """Inputs that a role accepts. A role written by a user may accept fewer inputs than the project's roles."""
    alone = not hasattr(role, "aforward") or _overrides_forward_alone(type(role))
    parameters = inspect.signature(role.forward if alone else role.aforward).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return inputs
    return {parameter.name: inputs[parameter.name] for parameter in parameters if parameter.name in inputs}


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end. Inside a running event loop (a notebook), it runs on a separate thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    return _LoopThread(coroutine).result()


class _LoopThread(Generic[T]):
    """A thread with an event loop that runs one coroutine."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._done: Future[T] = Future()
        self._cancel: Callable[[], object] = coroutine.close
        # DSPy keeps its settings in context variables, which a plain thread would not see.
        self._thread = threading.Thread(target=contextvars.copy_context().run, args=(self._run,))

    def result(self) -> T:
        """Run the coroutine and wait for it. If the wait is interrupted, the coroutine is cancelled.

        Raises:
            BaseException: Whatever the coroutine raises.
        """
        self._thread.start()
        try:
            self._thread.join()
        except BaseException:  # a notebook's cell was interrupted
            with contextlib.suppress(RuntimeError, ValueError):  # the coroutine has just started or ended
                self._cancel()
            self._thread.join()
            raise
        return self._done.result()

    def _run(self) -> None:
        try:
            self._done.set_result(asyncio.run(self._watch()))
        except BaseException as error:  # raised in the caller's thread
            self._done.set_exception(error)

    async def _watch(self) -> T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (a coroutine that runs is some task's)
        self._cancel = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel)
        return await self._coroutine


def synchronous(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Synchronous version of an async function, with the same parameters and the same documentation.

    Args:
        function: An async function whose name begins with ``a``. The synchronous version's name lacks this ``a``.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_sync(function(*args, **kwargs))

    run.__name__ = run.__qualname__ = function.__name__.removeprefix("a")
    return run


def _overrides_forward_alone(kind: type) -> bool:
    """Whether the first class (in method resolution order) with either method defines only ``forward``."""
    for base in kind.__mro__:
        if {"forward", "aforward"} & vars(base).keys():
            return "aforward" not in vars(base)
    return False


async def call(program: dspy.Module, **inputs: Any) -> dspy.Prediction:
    """Call a program on the event loop if it and its models can, else on a thread.

    Raises:
        ConfigurationError: If a model can only be called synchronously, and the program only asynchronously.
    """
    model = _synchronous_model(program)
    if hasattr(program, "aforward") and model is None and not _overrides_forward_alone(type(program)):
        return await program.acall(**inputs)
    if model is not None and not hasattr(type(program), "forward"):
        raise ConfigurationError(
            f"{type(program).__name__} has only aforward, and its model {type(model).__name__} only a synchronous "
            "forward: give the program a forward, or the model an aforward (a dspy.LM with an engine: an async_engine)"
        )
    return await run_in_thread(program, **inputs)


async def run_in_thread(function: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Run a synchronous function on a thread of the project's pool, with the caller's DSPy settings.

    Args:
        function: Any function; it may take long.
        *arguments: Positional arguments of the function.
        **named: Keyword arguments of the function.
    """
    run = functools.partial(contextvars.copy_context().run, function, *arguments, **named)
    return await asyncio.get_running_loop().run_in_executor(_THREADS, run)


def _synchronous_model(program: dspy.Module) -> Any | None:
    """First model of a program that DSPy cannot call asynchronously; None if there is none."""
    models = (predictor.lm or dspy.settings.lm for _, predictor in program.named_sub_modules(dspy.Predict))
    return next((model for model in models if is_synchronous(model)), None)


def is_synchronous(model: Any) -> bool:
    """Whether a model can only be called synchronously.

    This is true for a subclass with its own ``forward`` but without its own ``aforward``, and for a ``dspy.LM`` with
    an engine but without an ``async_engine``.
    """
    if not isinstance(model, dspy.BaseLM):
        return False
    has_engine = isinstance(model, dspy.LM) and not isinstance(getattr(model, "engine", "auto"), str)
    if has_engine and async_engine_of(model) is None:
        return True
    pairs = (("forward", "aforward"), ("__call__", "acall"))
    return any(_has_own(model, plain) and not _has_own(model, asynchronous) for plain, asynchronous in pairs)


def _has_own(model: dspy.BaseLM, method: str) -> bool:
    """Whether a model overrides this method of DSPy's base class."""
    base = dspy.LM if isinstance(model, dspy.LM) else dspy.BaseLM
    return method in vars(model) or getattr(type(model), method) is not getattr(base, method)

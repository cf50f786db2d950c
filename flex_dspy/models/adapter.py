"""Reads a model's answer as a person would, and asks again with the reason where that fails.

DSPy's adapters read typed fields strictly, ask a second time without saying what was wrong, and leave an answer that
could not be read in the cache. ``reading_adapter`` gives any of them another way to read::

    request ──> answer ──> fields ──────────────────────────────────> prediction
                  └─ cannot be read: forgotten by the cache, asked again with the reason, then once more as JSON

The prompt of the first request is DSPy's own, byte for byte.
"""

from __future__ import annotations

import copy
import functools
import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast
from weakref import WeakKeyDictionary

import dspy
from dspy import (
    AdapterParseError,
    ContextWindowExceededError,
    LMError,
    LMInvalidRequestError,
    LMUnsupportedFeatureError,
    LMUnsupportedModelError,
)

from flex_dspy.core.dspy_internals import forget_answer, json_fallback, watch_stream
from flex_dspy.core.secrets import redact
from flex_dspy.core.text import sound_text, truncate
from flex_dspy.models.answer_fields import find_values, read_fields
from flex_dspy.models.lm import is_offline
from flex_dspy.models.reading import UnreadableError

logger = logging.getLogger(__name__)

Values = list[dict[str, Any]]

MOST_REQUESTS = 3  # for one answer: the plain one, one with the reason, one more as JSON
_MOST_QUOTED = 400  # characters of an unreadable answer that the next prompt repeats

_AGAIN = """

Your last answer could not be read: {reason}.
{quoted}Answer again in the form that is asked for above. Write every output field, each with its value alone."""


class UnreadableAnswer(AdapterParseError):
    """An answer that cannot be read.

    Attributes:
        reason: The fault, in words that the model can act on.
    """

    def __init__(self, adapter: dspy.Adapter, signature: type[dspy.Signature], answer: str, reason: str) -> None:
        super().__init__(
            adapter_name=type(adapter).__name__,
            signature=signature,
            lm_response=truncate(answer, 2_000),
            message=reason,
        )
        self.reason = reason


class ReadingMixin:
    """Mixin that ``reading_adapter`` puts before an adapter of DSPy."""

    _request = 1  # which request of one answer this copy of the adapter makes
    _before: AdapterParseError | None = None  # why there is more than one
    _messages: list[dict[str, Any]] | None = None  # what was sent

    def __call__(self, lm: Any, lm_kwargs: dict[str, Any], *args: Any, **kwargs: Any) -> Values:
        """Ask, at most three times; see ``dspy.Adapter``.

        Raises:
            AdapterParseError: If no answer could be read.
        """
        current = self._turn(1)
        with watch_stream() as progress:
            while True:
                settings = dict(lm_kwargs)  # an adapter changes them
                try:
                    ask = super(ReadingMixin, current).__call__  # type: ignore[misc]
                    return cast(Values, ask(lm, settings, *args, **kwargs))
                except LMError as error:
                    current = self._without_json_mode(current, error)
                except AdapterParseError as error:
                    current._forget(lm, settings, asynchronous=False)
                    current = self._next_turn(current, error, is_final=progress.emitted or is_offline(lm))

    async def acall(self, lm: Any, lm_kwargs: dict[str, Any], *args: Any, **kwargs: Any) -> Values:
        """Asynchronous version of ``__call__``."""
        current = self._turn(1)
        with watch_stream() as progress:
            while True:
                settings = dict(lm_kwargs)
                try:
                    ask = super(ReadingMixin, current).acall  # type: ignore[misc]
                    return cast(Values, await ask(lm, settings, *args, **kwargs))
                except LMError as error:
                    current = self._without_json_mode(current, error)
                except AdapterParseError as error:
                    current._forget(lm, settings, asynchronous=True)
                    current = self._next_turn(current, error, is_final=progress.emitted or is_offline(lm))

    def format(self, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """The messages of the adapter; after an answer that could not be read, the last one says why."""
        messages: list[dict[str, Any]] = super().format(*args, **kwargs)  # type: ignore[misc]
        if self._before is not None:
            messages[-1] = _with_note(messages[-1], _note(self._before))
        self._messages = messages
        return messages

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        """The values of the output fields; see ``flex_dspy.models.answer_fields``.

        Raises:
            UnreadableAnswer: If a required field is missing or cannot be read.
        """
        answer = sound_text(completion)
        is_dspys = _parser_of(self) in (dspy.ChatAdapter.parse, dspy.JSONAdapter.parse)
        own = None if is_dspys else super().parse  # type: ignore[misc]
        try:
            return read_fields(signature, find_values(own, signature, answer))
        except UnreadableError as error:
            raise UnreadableAnswer(self, signature, completion, str(error)) from error

    # -- from one request to the next ----------------------------------------------------------------------

    def _turn(self, request: int, before: AdapterParseError | None = None, *, as_json: bool = False) -> Any:
        """A copy for one request: calls at the same time do not meet. Its base class asks once.

        Args:
            request: Which request of one answer it makes, from 1.
            before: Why there is more than one.
            as_json: Whether to ask for a JSON object, unless this adapter does so anyway.
        """
        other = as_json and not isinstance(self, dspy.JSONAdapter)
        adapter: Any = self
        new = copy.copy(reading_adapter(json_fallback(adapter)) if other else adapter)
        new.use_json_adapter_fallback = False
        new._request, new._before = request, before
        return new

    def _forget(self, lm: Any, settings: dict[str, Any], *, asynchronous: bool) -> None:
        """Take the answer out of the cache: it would be served again, and no model could do better."""
        if self._messages is not None:
            forget_answer(lm, self._messages, settings, asynchronous=asynchronous)

    def _next_turn(self, current: ReadingMixin, error: AdapterParseError, *, is_final: bool) -> Any:
        """The adapter that asks again, with the reason; the last one asks for JSON.

        Args:
            current: The adapter that asked last.
            error: Why the answer could not be read; raised where nobody is asked again.
            is_final: Whether not to ask again: a reader has seen a part of this answer, or the next would be the same.
        """
        if current._request == MOST_REQUESTS or is_final:
            raise error
        logger.info("an answer could not be read, and is asked for again: %s", redact(str(error))[:500])
        request = current._request + 1
        return self._turn(request, error, as_json=request == MOST_REQUESTS)

    def _without_json_mode(self, current: ReadingMixin, error: LMError) -> Any:
        """The adapter that asks once more without JSON, where a server refused only that; else the error is raised."""
        refused = isinstance(error, LMInvalidRequestError | LMUnsupportedFeatureError)
        other = isinstance(error, LMUnsupportedModelError | ContextWindowExceededError)
        asks_for_json = current._before is not None and current._before.adapter_name != type(current).__name__
        if not asks_for_json or not isinstance(current, dspy.JSONAdapter) or not refused or other:
            raise error
        return self._turn(current._request, current._before)


class ReadingChatAdapter(ReadingMixin, dspy.ChatAdapter):
    """``dspy.ChatAdapter`` that reads as a person would, and remembers what it says about a signature.

    DSPy writes the description of a signature's fields, JSON schemas included, anew at each call; for structured
    fields that takes longer than all else that a call costs in this process (measured: 6 of 9 ms).
    """

    def format_system_message(self, signature: type[dspy.Signature]) -> str:
        """The system message; a signature whose instructions were set anew is described anew."""
        known = _DESCRIPTIONS.get(signature)
        if known is None or known[0] != signature.instructions:
            known = (signature.instructions, super().format_system_message(signature))
            _DESCRIPTIONS[signature] = known
        return known[1]


def reading_adapter(adapter: dspy.Adapter | None = None) -> Any:
    """The adapter with another way to read answers; what it asks first stays the same.

    Args:
        adapter: DSPy's chat, JSON, XML or BAML adapter, or a subclass; None is the chat adapter. An adapter of another
            kind comes back as it is.
    """
    if adapter is None or (type(adapter) is dspy.ChatAdapter and vars(adapter) == vars(dspy.ChatAdapter())):
        return _CHAT
    if isinstance(adapter, ReadingMixin) or not isinstance(adapter, dspy.ChatAdapter):
        return adapter
    new: Any = copy.copy(adapter)
    kind: Any = type(adapter)
    new.__class__ = _class_that_reads(kind)
    return new


def reading_answers() -> AbstractContextManager[None]:
    """Within this block the adapter in DSPy's settings reads as a person would."""
    current = dspy.settings.adapter
    adapter = reading_adapter(current)
    context: AbstractContextManager[None] = nullcontext() if adapter is current else dspy.context(adapter=adapter)
    return context


def lean() -> AbstractContextManager[None]:
    """DSPy settings for thousands of calls: no history, no trace, and each signature described once.

    A history of prompts that hold hundreds of experiences would grow by megabytes a minute.
    """
    adapter = reading_adapter(dspy.settings.adapter)
    context: AbstractContextManager[None] = dspy.context(disable_history=True, max_trace_size=0, adapter=adapter)
    return context


_CHAT = ReadingChatAdapter()
_DESCRIPTIONS: WeakKeyDictionary[type[dspy.Signature], tuple[str, str]] = WeakKeyDictionary()


@functools.cache
def _class_that_reads(kind: type[dspy.ChatAdapter]) -> type[dspy.ChatAdapter]:
    return type(f"Reading{kind.__name__}", (ReadingMixin, kind), {"__doc__": kind.__doc__})


def _parser_of(adapter: Any) -> Any:
    """The parser of the class behind ``ReadingMixin``."""
    kinds = type(adapter).__mro__
    return kinds[kinds.index(ReadingMixin) + 1].parse  # type: ignore[attr-defined]


def _note(error: AdapterParseError) -> str:
    reason = getattr(error, "reason", None) or "it was empty"
    answer = str(error.lm_response or "").strip() if isinstance(error, UnreadableAnswer) else ""
    quoted = f"It was:\n{truncate(answer, _MOST_QUOTED)}\n\n" if answer else ""
    return _AGAIN.format(reason=reason.rstrip("."), quoted=quoted)


def _with_note(message: dict[str, Any], note: str) -> dict[str, Any]:
    content = message["content"]
    added = content + note if isinstance(content, str) else [*content, {"type": "text", "text": note.strip()}]
    return {**message, "content": added}

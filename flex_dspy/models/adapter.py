"""Reads a model's answer tolerantly, and repeats the request with the reason if the answer cannot be read.

DSPy's adapters read typed fields strictly. They ask a second time without the reason, and leave the unreadable answer
in the cache. ``reading_adapter`` changes how any of these adapters reads::

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

MOST_REQUESTS = 3  # for one answer: the plain request, one with the reason, one more as JSON
_MOST_QUOTED = 400  # characters of an unreadable answer that the next prompt repeats

_AGAIN = """

Your last answer could not be read: {reason}.
{quoted}Answer again in the form that is asked for above. Write every output field, each with its value alone."""


class UnreadableAnswer(AdapterParseError):
    """An answer that cannot be read.

    Attributes:
        reason: The fault, in words that help the model to correct it.
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

    _request = 1  # number of the request for one answer that this copy of the adapter makes
    _before: AdapterParseError | None = None  # the error of the request before
    _messages: list[dict[str, Any]] | None = None  # the messages that were sent

    def __call__(self, lm: Any, lm_kwargs: dict[str, Any], *args: Any, **kwargs: Any) -> Values:
        """Ask the model, at most three times; see ``dspy.Adapter``.

        Raises:
            AdapterParseError: If no answer could be read.
        """
        current = self._turn(1)
        with watch_stream() as progress:
            while True:
                settings = dict(lm_kwargs)  # a copy, because an adapter changes it
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
        """The messages of the adapter; after an unreadable answer, the last message also gives the reason."""
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
        """A copy of the adapter for one request, so that concurrent calls share no state. DSPy's own retry is off.

        Args:
            request: Number of the request for one answer, from 1.
            before: The error of the request before.
            as_json: Whether to ask for a JSON object, unless this adapter does so anyway.
        """
        other = as_json and not isinstance(self, dspy.JSONAdapter)
        adapter: Any = self
        new = copy.copy(reading_adapter(json_fallback(adapter)) if other else adapter)
        new.use_json_adapter_fallback = False
        new._request, new._before = request, before
        return new

    def _forget(self, lm: Any, settings: dict[str, Any], *, asynchronous: bool) -> None:
        """Remove the answer from the cache; otherwise the cache would return it again."""
        if self._messages is not None:
            forget_answer(lm, self._messages, settings, asynchronous=asynchronous)

    def _next_turn(self, current: ReadingMixin, error: AdapterParseError, *, is_final: bool) -> Any:
        """The adapter for the next request, with the reason; the last request asks for JSON.

        Args:
            current: The adapter of the last request.
            error: Why the answer could not be read; it is raised if there is no further request.
            is_final: Whether this was the last request: a user has seen a part of this answer, or the next answer would
                be the same.
        """
        if current._request == MOST_REQUESTS or is_final:
            raise error
        logger.info("an answer could not be read, and is asked for again: %s", redact(str(error))[:500])
        request = current._request + 1
        return self._turn(request, error, as_json=request == MOST_REQUESTS)

    def _without_json_mode(self, current: ReadingMixin, error: LMError) -> Any:
        """The adapter that asks again without JSON if the server refused only JSON; otherwise the error is raised."""
        refused = isinstance(error, LMInvalidRequestError | LMUnsupportedFeatureError)
        other = isinstance(error, LMUnsupportedModelError | ContextWindowExceededError)
        asks_for_json = current._before is not None and current._before.adapter_name != type(current).__name__
        if not asks_for_json or not isinstance(current, dspy.JSONAdapter) or not refused or other:
            raise error
        return self._turn(current._request, current._before)


class ReadingChatAdapter(ReadingMixin, dspy.ChatAdapter):
    """``dspy.ChatAdapter`` that reads tolerantly, and caches the description of a signature.

    DSPy writes the description of a signature's fields, including JSON schemas, again for each call. For structured
    fields this takes longer than everything else that a call does in this process (measured: 6 of 9 ms).
    """

    def format_system_message(self, signature: type[dspy.Signature]) -> str:
        """The system message. It is written again if the instructions of the signature have changed."""
        known = _DESCRIPTIONS.get(signature)
        if known is None or known[0] != signature.instructions:
            known = (signature.instructions, super().format_system_message(signature))
            _DESCRIPTIONS[signature] = known
        return known[1]


def reading_adapter(adapter: dspy.Adapter | None = None) -> Any:
    """A copy of the adapter that reads answers tolerantly; its first request stays the same.

    Args:
        adapter: DSPy's chat, JSON, XML or BAML adapter, or a subclass; None is the chat adapter. An adapter of another
            kind is returned unchanged.
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
    """Context manager: within it the adapter in DSPy's settings reads tolerantly."""
    current = dspy.settings.adapter
    adapter = reading_adapter(current)
    context: AbstractContextManager[None] = nullcontext() if adapter is current else dspy.context(adapter=adapter)
    return context


def lean() -> AbstractContextManager[None]:
    """Context manager with DSPy settings for thousands of calls: no history, no trace, cached signature descriptions.

    Otherwise the history grows by megabytes a minute, because each prompt holds hundreds of experiences.
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
    """The parser of the class that follows ``ReadingMixin`` in the method resolution order."""
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

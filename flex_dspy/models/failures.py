"""Failures of language models: which calls to retry, and how long to wait."""

from __future__ import annotations

import json
import re

import dspy
from tenacity import wait_random_exponential

from flex_dspy.core.dspy_internals import read_retry_after

# Without a hint: a random wait, up to twice as long each time (Brooker, "Exponential Backoff And Jitter", AWS, 2015).
BACKOFF = wait_random_exponential(multiplier=1, max=60)
LONGEST_HINT = 600.0  # seconds; longer waits count as permanent failures

_CLIENTS = ("httpx", "httpcore", "aiohttp")
# OpenAI-compatible servers without error codes report an overflow in words only.
_OVERFLOW = re.compile(
    r"context.{0,3}(length|window|size)|prompt is too long|input (is|was)? ?too long|too many input tokens",
    re.IGNORECASE,
)
# litellm reports a missing key as a fault of the server.
_NO_KEY = re.compile(r"missing credentials|api_key client option must be set|missing \S+ ?api.?key", re.IGNORECASE)


def reclassify(error: dspy.LMError) -> dspy.LMError | None:
    """Reclassify an error by its message; None if its class is right already.

    Args:
        error: An error for which the provider sent no code that DSPy knows.
    """
    details = {"model": error.model, "message": error.message, "status": error.status, "provider": error.provider}
    if type(error) is dspy.LMInvalidRequestError and _OVERFLOW.search(error.message):
        return dspy.ContextWindowExceededError(**details)
    if isinstance(error, dspy.LMServerError) and _NO_KEY.search(error.message):
        return dspy.LMNotConfiguredError(**details)
    return None


def is_transient(error: BaseException) -> bool:
    """Whether another attempt may succeed.

    Some errors count in addition to those that DSPy calls retryable. If an answer is cut short, or a proxy sends a page
    instead of JSON, DSPy's own clients report a provider error with status 200. A connection may be lost where no
    client expects it.
    """
    if not isinstance(error, dspy.LMError) or (retry_after(error) or 0.0) > LONGEST_HINT:
        return False
    if type(error) is dspy.LMProviderError:
        return bool(error.status == 200)
    if type(error) is dspy.LMUnexpectedError:
        cause = error.__cause__
        library = type(cause).__module__.partition(".")[0]
        return library in _CLIENTS or isinstance(cause, OSError | EOFError | json.JSONDecodeError)
    return bool(dspy.is_retryable_lm_error(error))


def is_outage(error: BaseException) -> bool:
    """Whether a model could not be reached, or its server failed. Such an error is not caused by the question.

    A custom model raises the errors of its own client. Of these, an ``OSError`` is a lost connection or a timeout.
    """
    return is_transient(error) or isinstance(error, OSError)


def retry_after(error: BaseException | None) -> float | None:
    """The wait in seconds that a provider asks for; None if it does not ask for one.

    DSPy drops this header from errors of litellm, so it is read from the error that litellm raised.
    """
    while error is not None:
        headers = getattr(error, "litellm_response_headers", None) or {}
        for hint in (getattr(error, "retry_after", None), headers.get("retry-after")):
            if (seconds := read_retry_after(hint)) is not None:
                return seconds
        error = error.__cause__
    return None

"""The model that is measured: its server may be restarted while a run goes on."""

from __future__ import annotations

import os
from typing import Any

import dspy
from dspy.utils.exceptions import LMError

from flex_dspy.core.dspy_internals import is_cached
from flex_dspy.core.errors import ModelError
from flex_dspy.core.running import raise_if_systemic
from flex_dspy.models.failures import is_transient
from flex_dspy.models.lm import LanguageModel

RETRIES = 12  # some ten minutes of waiting
TIMEOUT = 900.0  # seconds


class NoAnswerError(BaseException):
    """The model gives no answers: its server is down, the key is wrong, there is no such model.

    No ``Exception``: DSPy's optimizers take those for wrong answers of the program, and would learn from them.
    """


class PatientModel(LanguageModel):
    """A model whose server is waited for; in the end a run stops, and does not count an outage as wrong answers."""

    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """Ask.

        Raises:
            NoAnswerError: If there will be no answer to other questions either.
        """
        try:
            return super().__call__(prompt, messages=messages, **kwargs)
        except LMError as error:
            _stop_at_outage(error)
            raise

    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        """The same, asynchronously."""
        try:
            return await super().acall(prompt, messages=messages, **kwargs)
        except LMError as error:
            _stop_at_outage(error)
            raise

    def knows(self, prompt: Any, messages: Any, kwargs: dict[str, Any]) -> bool:
        """Whether DSPy has the answer to a synchronous call in its cache."""
        return is_cached(self, prompt, messages, kwargs, asynchronous=False)


def _stop_at_outage(error: LMError) -> None:
    """Stop the run at an error that is not this question's own: no answer of the server at all, or a wrong setting."""
    try:
        raise_if_systemic(error)
    except ModelError as fault:
        raise NoAnswerError(str(fault)) from error
    if is_transient(error) and error.status is None:
        raise NoAnswerError(f"the server does not answer: {error}") from error


def patient_model(name: str, api_base: str | None, *, temperature: float, max_tokens: int, cache: bool) -> dspy.LM:
    """The model with this name; its key comes from ``API_KEY``, or from the provider's own variable.

    Args:
        name: A model string.
        api_base: Address of its server.
        temperature: Sampling temperature.
        max_tokens: Most tokens of one answer.
        cache: Whether answers in DSPy's cache will do.
    """
    given = {"api_base": api_base, "api_key": os.environ.get("API_KEY")}
    known: dict[str, Any] = {setting: value for setting, value in given.items() if value}
    return PatientModel(
        name, retries=RETRIES, temperature=temperature, max_tokens=max_tokens, cache=cache, timeout=TIMEOUT, **known
    )

"""Language models by name, the offline experts among them."""

from __future__ import annotations

import os
from typing import Any

import dspy

from flex_dspy.errors import ConfigurationError

OFFLINE = "offline"
EXPERTS = ("chemist",)


def language_model(
    name: str,
    *,
    expert: str | None = None,
    api_base: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
) -> dspy.LM:
    """The model with this name.

    Args:
        name: ``offline`` for the task's offline expert, ``offline/chemist`` for that one, else any model string
            that DSPy or litellm understands (``openai/gpt-4o``, ``anthropic/claude-sonnet-4-5``, ...).
        expert: The task's offline expert, if it has one.
        api_base: Address of an OpenAI-compatible server; the variable ``BASE_URL`` is honoured too. The key comes
            from the provider's own variable, or from ``API_KEY``.
        temperature: Sampling temperature.
        max_tokens: Most tokens of one answer.

    Raises:
        ConfigurationError: If there is no such expert, or the name is no model string.
    """
    if name == OFFLINE or name.startswith(OFFLINE + "/"):
        return _offline(name.partition("/")[2] or expert)
    settings: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens}
    if base := api_base or os.environ.get("BASE_URL"):
        settings["api_base"] = base
    if key := os.environ.get("API_KEY"):
        settings["api_key"] = key
    try:
        return dspy.LM(name, **settings)
    except ValueError as error:
        raise ConfigurationError(f"{name!r} is no model string: {error}") from error


def _offline(expert: str | None) -> dspy.LM:
    if expert not in EXPERTS:
        what = f"no offline expert {expert!r}" if expert else "no offline expert for this task yet"
        raise ConfigurationError(f"there is {what}: name a language model with --lm, e.g. --lm openai/gpt-4o")
    from flex_dspy.offline.engine import AsyncOfflineEngine, OfflineEngine

    return dspy.LM(f"{OFFLINE}/{expert}", engine=OfflineEngine(), async_engine=AsyncOfflineEngine(), cache=False)


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

"""What a model's tokens cost."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# DSPy and litellm fetch a list of prices from the network at their first use, unless this says otherwise.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")


@dataclass(frozen=True, slots=True)
class Price:
    """A model's price.

    Attributes:
        prompt: USD a prompt token.
        completion: USD a completion token, reasoning included.
        cached: USD a prompt token that the provider had in its cache.
    """

    prompt: float
    completion: float
    cached: float

    @classmethod
    def per_million(cls, prompt: float, completion: float, cached: float | None = None) -> Price:
        """A price as providers list it, in USD a million tokens.

        Example:
            >>> Price.per_million(3, 15).cost({"prompt_tokens": 1_000, "completion_tokens": 200})
            0.006
        """
        return cls(prompt / 1e6, completion / 1e6, (prompt if cached is None else cached) / 1e6)

    def cost(self, usage: Mapping[str, Any]) -> float:
        """USD for one call.

        Args:
            usage: ``prompt_tokens`` and ``completion_tokens``, as DSPy reports them; ``cached_tokens`` among
                ``prompt_tokens_details``.
        """
        asked, written = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
        cached = min((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0, asked)
        return (asked - cached) * self.prompt + cached * self.cached + written * self.completion


FREE = Price(0.0, 0.0, 0.0)


def model_list() -> Mapping[str, Mapping[str, Any]]:
    """What DSPy brings of models: provider, prices, context window, by model string."""
    from dspy.clients.model_metadata import _load

    return {name: entry for name, entry in _load().items() if isinstance(entry, dict)}


@functools.lru_cache(maxsize=256)
def list_price(model: str) -> Price | None:
    """A model's list price, from the table that DSPy brings; None where it has none.

    Args:
        model: A model string, such as ``anthropic/claude-sonnet-4-5``.
    """
    from dspy.clients.model_metadata import model_info, rate

    provider, _, name = model.partition("/")
    if provider == "offline":
        return FREE
    known = model_info(provider, name)
    prompt, completion = rate(known, "input_cost_per_token"), rate(known, "output_cost_per_token")
    if prompt is None or completion is None:
        return None
    cached = rate(known, "cache_read_input_token_cost")
    return Price(prompt, completion, prompt if cached is None else cached)

"""Prices of models."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flex_dspy.core.dspy_internals import model_facts, token_rate


@dataclass(frozen=True, slots=True)
class Price:
    """A model's price.

    Attributes:
        prompt: USD for each prompt token.
        completion: USD for each completion token, including reasoning.
        cached: USD for each prompt token that the provider had in its cache.
        batch: The price of a call in a batch as a share of the full price.
    """

    prompt: float
    completion: float
    cached: float
    batch: float = 1.0

    @classmethod
    def per_million(cls, prompt: float, completion: float, cached: float | None = None, *, batch: float = 1.0) -> Price:
        """Make a price from the numbers that providers list, in USD for a million tokens.

        Example:
            >>> Price.per_million(3, 15).cost({"prompt_tokens": 1_000, "completion_tokens": 200})
            0.006
        """
        return cls(prompt / 1e6, completion / 1e6, (prompt if cached is None else cached) / 1e6, batch)

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


@functools.lru_cache(maxsize=256)
def list_price(model: str) -> Price | None:
    """A model's list price, from DSPy's table; None if the table does not have the model.

    Args:
        model: A model string, such as ``anthropic/claude-sonnet-4-5``.
    """
    provider, _, name = model.partition("/")
    if provider == "offline":
        return FREE
    facts = model_facts(provider, name)
    prompt, completion = token_rate(facts, "input_cost_per_token"), token_rate(facts, "output_cost_per_token")
    if prompt is None or completion is None:
        return None
    cached = token_rate(facts, "cache_read_input_token_cost")
    return Price(prompt, completion, prompt if cached is None else cached, _batch_share(facts, prompt, completion))


def _batch_share(facts: Any, prompt: float, completion: float) -> float:
    """The batch price as a share of the full price, by the higher of the two rates; 1 if no batch price is listed."""
    rates = (("input_cost_per_token_batches", prompt), ("output_cost_per_token_batches", completion))
    listed = ((token_rate(facts, name), full) for name, full in rates)
    shares = [1.0 if rate is None else rate / full for rate, full in listed if full]
    return min(1.0, max(shares, default=1.0))

"""A ledger on a worker. It prices and counts like the driver's ledger, and its charges return with the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flex_dspy.cluster.desk import desk
from flex_dspy.cluster.messages import Charge
from flex_dspy.core.ambient import Ambient
from flex_dspy.models.prices import Price
from flex_dspy.models.spending import Ledger, Usage

# The charges of the running call.
CHARGES: Ambient[list[Charge] | None] = Ambient("charges", None)
# Tokens and US dollars spent so far by the whole run, by key of the ledger: the last report of driver and scheduler.
SPENT: dict[str, tuple[int, float]] = {}


def learn_spent(spent: Mapping[str, Sequence[float]]) -> None:
    """Take in the spending that the driver or the scheduler reports. Ignore it if this process has newer numbers."""
    for key, (tokens, usd) in spent.items():
        known = SPENT.get(key, (0, 0.0))
        SPENT[key] = (max(int(tokens), known[0]), max(usd, known[1]))


class WorkerLedger(Ledger):
    """The driver's ledger, as a worker sees it.

    Args:
        key: Key of the driver's ledger.
        budget_usd: Most US dollars.
        budget_tokens: Most tokens.
        prices: Prices by model string.
    """

    def __init__(
        self, key: str, budget_usd: float | None, budget_tokens: int | None, prices: Mapping[str, Price]
    ) -> None:
        super().__init__(budget_usd=budget_usd, budget_tokens=budget_tokens, prices=prices)
        self.key = key

    @property
    def total(self) -> Usage:
        """The spending of the whole run, as far as this process knows it."""
        tokens, usd = SPENT.get(self.key, (0, 0.0))
        return Usage(prompt_tokens=tokens, usd=usd)

    def charge(self, role: str, model: str, usage: Mapping[str, Any]) -> Usage:
        """Count one answer on this worker, and keep the charge for the driver."""
        counted = super().charge(role, model, usage)
        tokens, usd = SPENT.get(self.key, (0, 0.0))
        SPENT[self.key] = (tokens + counted.tokens, usd + counted.usd)
        has_budget = self.budget_usd is not None or self.budget_tokens is not None
        if has_budget and (at := desk()) is not None:
            at.spend(self.key, counted.tokens, counted.usd)
        charges = CHARGES.get()
        if charges is not None:
            numbers = {name: value for name, value in usage.items() if isinstance(value, int | float)}
            charges.append(Charge(self.key, role, model, numbers))
        return counted

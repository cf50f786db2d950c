"""The driver's part in shared limits and budgets. The scheduler keeps them, and the driver also waits there."""

from __future__ import annotations

from collections.abc import Mapping

from distributed import Client

from flex_dspy.cluster.desk import Desk
from flex_dspy.cluster.shared_limits import SharedLimits
from flex_dspy.cluster.turns import TurnKeeper
from flex_dspy.core.errors import ConfigurationError
from flex_dspy.models.limits import Limits
from flex_dspy.models.spending import Ledger


class Sharing:
    """The limits and ledgers of a driver that are kept at the scheduler.

    Args:
        client: The driver's client.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._desk = Desk(client)
        self._limits: dict[str, Limits] = {}
        self._ledgers: set[str] = set()
        self._is_registered = False

    def share(self, limits: Mapping[str, Limits], ledgers: Mapping[str, Ledger]) -> None:
        """Move the limits and the spending of a function to the scheduler.

        Raises:
            ConfigurationError: If the scheduler lacks flex-dspy.
        """
        budgets = {key: ledger for key, ledger in ledgers.items() if _has_budget(ledger)}
        if not self._is_registered and (limits or budgets):
            self._register()
        for key, own in limits.items():
            self._limits[key] = own
            own.follow(SharedLimits(key, own.bounds, self._desk))
        for key, ledger in budgets.items():
            if key not in self._ledgers:
                self._ledgers.add(key)
                self._desk.spend(key, ledger.total.tokens, ledger.total.usd)

    def _register(self) -> None:
        try:
            self._client.register_plugin(TurnKeeper())
        except Exception as error:  # any error of the scheduler
            raise ConfigurationError(
                f"the scheduler cannot keep the limits: {type(error).__name__}: {error}. Install flex-dspy where it "
                "runs, in the same version as here"
            ) from error
        self._is_registered = True

    def end(self) -> None:
        """End the sharing: the limits use their own clocks again."""
        for own in self._limits.values():
            own.follow(None)


def _has_budget(ledger: Ledger) -> bool:
    return ledger.budget_usd is not None or ledger.budget_tokens is not None

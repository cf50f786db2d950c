"""Counts tokens and money by role, and limits them by a budget.

A ``Ledger`` counts the usage that models report through DSPy's usage tracking. Every model counts, and answers from a
cache cost nothing. A call that failed after it was answered is counted too::

    ledger = Ledger(budget_usd=5.0)
    with ledger.role("critic") as spent:
        critic(...)
    print(spent.total, ledger.by_role["critic"].usd)
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from flex_dspy.core.ambient import Ambient
from flex_dspy.core.dspy_internals import UsageListener, usage_reported_to, usage_tracker
from flex_dspy.core.errors import BudgetError, ConfigurationError, RunError
from flex_dspy.core.lines import read_lines
from flex_dspy.core.side_records import SideRecord
from flex_dspy.core.tables import build_table, table_text
from flex_dspy.models.prices import FREE, Price, list_price


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and money of some calls.

    Attributes:
        calls: Number of answers paid for.
        prompt_tokens: Tokens sent.
        completion_tokens: Tokens received.
        usd: Their price, as far as it is known.
        unpriced: Number of calls without a known price.
        unreported: Number of answers that did not report their usage; they count as zero tokens.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    unpriced: int = 0
    unreported: int = 0

    @property
    def tokens(self) -> int:
        """Tokens sent and received."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, name) + getattr(other, name) for name in _COUNTS))

    def __str__(self) -> str:
        """``1.2M tokens, $3.40``; a price that is only partly known ends in ``+``."""
        money = f", ${self.usd:,.2f}{'+' if self.unpriced else ''}" if self.usd else ""
        return f"{_short(self.tokens)} tokens{money}"


@dataclass
class Account:
    """The usage within one ``Ledger.role`` block, so far."""

    total: Usage = field(default_factory=Usage)


class Ledger:
    """Counts tokens and money by role, and raises an error when a budget is spent.

    Args:
        path: A JSON-lines file that keeps every call's usage, so that a resumed run continues the count; None keeps
            it in memory.
        budget_usd: Largest sum, in US dollars.
        budget_tokens: Largest number of tokens, sent and received.
        prices: Prices by model string; they replace the list prices.

    Raises:
        ConfigurationError: If a budget is not positive.
        RunError: If the file is not a record of spending.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        budget_usd: float | None = None,
        budget_tokens: int | None = None,
        prices: Mapping[str, Price] | None = None,
    ) -> None:
        for name, value in (("budget_usd", budget_usd), ("budget_tokens", budget_tokens)):
            if value is not None and not 0 < value < math.inf:
                raise ConfigurationError(f"{name} must be positive, got {value}; leave it out for no limit")
        self.path = path
        self.budget_usd = budget_usd
        self.budget_tokens = budget_tokens
        self.prices = dict(prices or {})
        self.by_role: dict[str, Usage] = {}
        self._lock = threading.Lock()
        self._file: int | None = None
        self._is_cut = False
        self._record = SideRecord("the record of spending")
        if path is not None and path.exists():
            self._read(path)

    # A ledger is not copied to another process. It is a new ledger there, whose counts must be sent back.
    def __reduce__(self) -> tuple[Any, ...]:
        return Ledger, (), {"prices": self.prices}

    def _read(self, path: Path) -> None:
        with path.open("rb") as file:
            for number, line in read_lines(file, path):
                self._take_in(path, number, line.rstrip(b"\r\n"))

    def _take_in(self, path: Path, number: int, line: bytes) -> None:
        try:
            role, usage = (entry := json.loads(line)).pop("role"), Usage(**{k: entry[k] for k in _COUNTS})
        except (ValueError, KeyError, TypeError) as error:
            if not line.endswith(b"}"):  # cut short when the process was killed
                return
            raise RunError(f"{path}: line {number} is no record of spending: remove it to go on") from error
        self.by_role[role] = self.by_role.get(role, Usage()) + usage

    def _keep(self, path: Path, line: str) -> None:
        """Append a line. With a budget a failure is an error, because a resumed run would spend the money again."""
        if self.budget_usd is None and self.budget_tokens is None:
            with self._record.attempt():
                self._write(path, line)
            return
        try:
            self._write(path, line)
        except OSError as error:
            problem = f"what was spent cannot be written to {path}, so the budget could not be kept: {error}"
            raise BudgetError(problem) from error

    def _write(self, path: Path, line: str) -> None:
        """Append a line with one system call, so that lines of different processes do not mix."""
        if self._file is None:
            self._is_cut = path.exists() and not (path.read_bytes() or b"\n").endswith(b"\n")
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            weakref.finalize(self, os.close, self._file)
        data = ("\n" * self._is_cut + line).encode()
        self._is_cut = True  # until all of it is written
        if os.write(self._file, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._is_cut = False

    @property
    def total(self) -> Usage:
        """The usage of all roles together."""
        return sum(self.by_role_now().values(), Usage())

    def by_role_now(self) -> dict[str, Usage]:
        """A copy of ``by_role``."""
        with self._lock:
            return dict(self.by_role)

    def check(self) -> None:
        """Raise an error if a budget is spent.

        Raises:
            BudgetError: If a budget is spent.
        """
        spent = self.total
        if self.budget_usd is not None and spent.usd >= self.budget_usd:
            raise BudgetError(f"the budget of ${self.budget_usd:,.2f} is spent ({spent}): raise --budget-usd to go on")
        if self.budget_tokens is not None and spent.tokens >= self.budget_tokens:
            raise BudgetError(
                f"the budget of {self.budget_tokens:,} tokens is spent ({spent}): raise --budget-tokens to go on"
            )

    def check_prices(self, models: list[str]) -> None:
        """Refuse a budget in money for models without a known price.

        Raises:
            ConfigurationError: If there is such a model.
        """
        unknown = [model for model in dict.fromkeys(models) if self.price(model) is None]
        if self.budget_usd is not None and unknown:
            raise ConfigurationError(
                f"no price is known for {', '.join(unknown)}, so a budget in USD cannot be kept: say --price "
                "MODEL=PROMPT,COMPLETION (USD a million tokens), or use --budget-tokens"
            )

    def price(self, model: str) -> Price | None:
        """A model's price: the given price, else the list price."""
        return self.prices.get(model) or list_price(model)

    @contextlib.contextmanager
    def role(self, name: str) -> Iterator[Account]:
        """Charge all model calls within the block to a role.

        After the budget is spent, each further call within the block is refused. Calls under way are completed and
        counted. In nested blocks the role of the inner block is charged, and each block has its own account.

        Args:
            name: ``actor``, ``verifier``, ``critic`` or ``updater``.

        Yields:
            The usage within the block so far.

        Raises:
            BudgetError: If the budget is spent already.
        """
        self.check()
        account = Account()
        with usage_reported_to(_Charging(self, name, account)), _LEDGERS.within((*_LEDGERS.get(), self)):
            yield account

    def charge(self, role: str, model: str, usage: Mapping[str, Any]) -> Usage:
        """Count one answer.

        Args:
            role: The role that asked.
            model: The model string.
            usage: ``prompt_tokens`` and ``completion_tokens``, as DSPy reports them.

        Returns:
            The usage with its price.
        """
        price = self.price(model)
        asked, written = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
        unreported = asked + written == 0 and price != FREE
        cost = price.cost(usage) * (price.batch if AT_BATCH_PRICE.get() else 1.0) if price else 0.0
        counted = Usage(1, asked, written, cost, int(price is None or unreported), int(unreported))
        with self._lock:
            self.by_role[role] = self.by_role.get(role, Usage()) + counted
            if self.path is not None:
                counts = {name: getattr(counted, name) for name in _COUNTS}
                self._keep(self.path, json.dumps({"role": role, "model": model, **counts}) + "\n")
        return counted

    def metrics(self) -> dict[str, float]:
        """The usage as numbers by name, for a tracker."""
        return usage_metrics(self.by_role_now())

    def table(self) -> str:
        """A table for a terminal, with a line for each role; empty if no model was asked."""
        if not self.by_role:
            return ""
        head = ["role", "calls", "prompt tokens", "completion tokens", "USD"]
        rows = []
        for name, usage in [*sorted(self.by_role.items()), ("all", self.total)]:
            money = "unknown" if usage.unpriced == usage.calls else f"{usage.usd:,.4f}{'+' if usage.unpriced else ''}"
            counts = (usage.calls, usage.prompt_tokens, usage.completion_tokens)
            rows.append([name, *(f"{count:,}" for count in counts), money])
        missing = self.total.unreported
        note = [f"{missing:,} answers did not say what they took, and count as nothing"] if missing else []
        return "\n".join([table_text(build_table(head, rows)), *note])


def usage_metrics(by_role: Mapping[str, Usage]) -> dict[str, float]:
    """The usage of all roles together and of each role, as numbers by name, for a tracker."""
    total = sum(by_role.values(), Usage())
    numbers = {"spend_usd": total.usd, "spend_tokens": float(total.tokens), "spend_calls": float(total.calls)}
    for role, usage in by_role.items():
        numbers |= {f"spend_usd_{role}": usage.usd, f"spend_tokens_{role}": float(usage.tokens)}
    return numbers


_COUNTS = tuple(count.name for count in fields(Usage))


# Whether answers come from a provider's batch endpoint; see ``flex_dspy.models.batch_calls``.
AT_BATCH_PRICE: Ambient[bool] = Ambient("batch price", False)

_LEDGERS: Ambient[tuple[Ledger, ...]] = Ambient("ledgers", ())


def check_budget() -> None:
    """Refuse to ask a model once a budget is spent.

    Raises:
        BudgetError: If the budget of a ``Ledger.role`` block around this call is spent.
    """
    for ledger in _LEDGERS.get():
        ledger.check()


@contextlib.contextmanager
def charge_to(role: str) -> Iterator[None]:
    """Charge the calls within this block to another role; outside a ``Ledger.role`` block, do nothing."""
    ledgers = _LEDGERS.get()
    with ledgers[-1].role(role) if ledgers else contextlib.nullcontext():
        yield


class _Charging(UsageListener):
    """Charges a ledger, and passes the usage to the outer tracker."""

    def __init__(self, ledger: Ledger, role: str, account: Account) -> None:
        super().__init__()
        self.ledger = ledger
        self.role = role
        self.account = account
        self.outer = usage_tracker()

    def receive(self, model: str, usage: dict[str, Any]) -> None:
        """Charge one answer."""
        self._count(model, usage, self.ledger.charge(self.role, model, usage))

    def _count(self, model: str, usage: dict[str, Any], counted: Usage) -> None:
        with self.ledger._lock:
            self.account.total += counted
        if isinstance(self.outer, _Charging) and self.outer.ledger is self.ledger:
            self.outer._count(model, usage, counted)  # nested roles: charge once
        elif self.outer is not None:
            self.outer.add_usage(model, usage)


def _short(count: int) -> str:
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)

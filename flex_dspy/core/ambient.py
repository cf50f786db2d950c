"""Passes values through DSPy's code: they are set around a call and read by code that DSPy calls.

DSPy calls predictors, tools and language models only with the arguments of the program or of the model. So seven
values of this project cannot be parameters:

    value               set by                                  read by
    ledgers             ``models.spending.Ledger.role``         ``LanguageModel``, before it asks
    earlier attempts    ``programs.experienced.tell_attempts``        the predictors of an equipped program
    reading             ``search.reading.pinned``               retrievers, wherever they stand in a program
    problem             ``search.recall.recalling``             the tool ``recall``
    exploration         ``search.levels.exploring``             the tools for levels
    at once             ``models.batch_calls.at_once``          ``LanguageModel``, before it puts a call into a batch
    batch price         ``models.batch_calls.ask_in_batch``     ``Ledger.charge``

They are stored under one key of DSPy's settings, because DSPy passes its settings on to tasks and to the threads of
``dspy.Parallel``. All other values are parameters.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Generic, TypeVar, cast

from flex_dspy.core.dspy_internals import own_settings, own_settings_within

T = TypeVar("T")


class Ambient(Generic[T]):
    """One ambient value.

    Args:
        name: Name of the value.
        default: The value outside of any block.

    Example:
        >>> budget = Ambient("budget", 0)
        >>> with budget.within(5):
        ...     budget.get()
        5
    """

    def __init__(self, name: str, default: T) -> None:
        self.name = name
        self.default = default

    def get(self) -> T:
        """Value of the innermost block."""
        return cast("T", own_settings().get(self.name, self.default))

    @contextlib.contextmanager
    def within(self, value: T) -> Iterator[None]:
        """Context manager that sets the value within a block."""
        with own_settings_within({**own_settings(), self.name: value}):
            yield

"""Handles records beside a library: if a record cannot be written, there is one warning, and learning continues.

- The library, its journal and the observations are essential. A failed write is an error, and the step does not count.
- Spending is essential if there is a budget, because a resumed run would spend it again. A failure: ``BudgetError``.
- Spending without a budget, outcomes, versions, ids of observations and the figure of a run are side records. A failure
  gives one warning.

If a file that a command must write, such as ``--out``, cannot be written, this is an error.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from flex_dspy.core.errors import LibraryError

logger = logging.getLogger(__name__)


class SideRecord:
    """One record. Its first failure gives a warning; later failures give none.

    Args:
        name: Name in the warning, such as ``the outcomes``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._was_told = False

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Context manager: an OS error or a damaged file ends the block and gives only a warning."""
        try:
            yield
        except (OSError, LibraryError) as error:
            if not self._was_told:
                logger.warning("%s cannot be kept, and learning goes on without: %s", self.name, error)
            self._was_told = True

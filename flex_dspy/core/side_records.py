"""Records beside a library: where one cannot be written, a warning says so once, and learning goes on.

- Essential are the library, its journal and the observations: a failure is an error, and what failed does not count.
- Spending is essential where a budget is to be kept, as a resumed run would spend it again: ``BudgetError``.
- Spending otherwise, outcomes, versions, ids of observations and the figure of a run are records: a warning, once.

A file that a command is asked to write, such as ``--out``, is an error where it cannot be written.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from flex_dspy.core.errors import LibraryError

logger = logging.getLogger(__name__)


class SideRecord:
    """One record. Its first failure is a warning; later ones are silent.

    Args:
        name: Its name in the warning, such as ``the outcomes``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._was_told = False

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Within this block, an error of the system or of a damaged file is a warning, and ends the block."""
        try:
            yield
        except (OSError, LibraryError) as error:
            if not self._was_told:
                logger.warning("%s cannot be kept, and learning goes on without: %s", self.name, error)
            self._was_told = True

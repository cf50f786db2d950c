"""The failures of a run: those that wait to be committed, and those that were committed."""

from __future__ import annotations

from dataclasses import dataclass

from flex_dspy.core.errors import ModelError
from flex_dspy.learning.attempts import AttemptResult
from flex_dspy.learning.sources import Item
from flex_dspy.learning.streak import Streak
from flex_dspy.libraries.experience import Commit
from flex_dspy.libraries.failures import Failure, FailureLog


@dataclass(frozen=True, slots=True)
class HeldFailure:
    """An example that failed and is not committed yet.

    Attributes:
        item: The example.
        result: Its result.
    """

    item: Item
    result: AttemptResult


class HeldFailures:
    """The failures since the last success. ``ForwardLearning`` describes the rules.

    Args:
        log: The failures that were committed and not repaired since.
        streak: Counts failures in a row.
        retries: Whether examples that fail are attempted again, now or in a later call.

    Attributes:
        held: The failures that are not committed. A later call begins with these examples.
    """

    def __init__(self, log: FailureLog, streak: Streak, *, retries: bool = True) -> None:
        self.log = log
        self.streak = streak
        self.retries = retries
        self.held: list[HeldFailure] = []

    def is_in_outage(self) -> bool:
        """Whether a model could not be reached since the last success."""
        return any(failure.result.outage for failure in self.held)

    def count(self, result: AttemptResult) -> None:
        """Count a failure.

        Raises:
            ModelError: If too many examples failed in a row; see ``Streak.add``.
        """
        self.streak.add(result.error, outage=result.outage)

    def take_back(self) -> list[Item]:
        """Remove the held failures, and return their examples, which are attempted once more."""
        items = [failure.item for failure in self.held]
        self.held.clear()
        return items

    def pass_over(self, run: str) -> list[Commit]:
        """Record the held failures as final for this call.

        Returns:
            One commit without edits for each failure; the caller makes these commits next.
        """
        if not self.held:
            return []
        self.log.add(self._failures())
        commits = [Commit(run, failure.item.step) for failure in self.held]
        self.held.clear()
        return commits

    def show_held(self) -> None:
        """Add the failures that are not committed to ``log.standing``, where the caller sees them."""
        self.log.standing += self._failures()

    def check_worked(self) -> None:
        """Raise an error if no example of the run has succeeded.

        Raises:
            ModelError: If no example has succeeded.
        """
        if self.retries and not self.streak.has_worked:
            raise self.all_failed([*self.log.standing, *self._failures()])

    @staticmethod
    def all_failed(failures: list[Failure]) -> ModelError:
        """The error of a run in which all examples failed."""
        return ModelError(f"all {len(failures)} examples failed; the last one said: {failures[-1].error}")

    def _failures(self) -> list[Failure]:
        return [Failure(each.item.example_id, each.result.error, each.item.step) for each in self.held]

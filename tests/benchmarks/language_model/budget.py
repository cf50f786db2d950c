"""The budget of a method: the same number of model tokens to learn with.

DSPy's optimizers know no budget of tokens, and treat an error of the model as a wrong answer (read in the source of
DSPy 3.4.1):

- ``BootstrapFewShotWithRandomSearch``: ``Evaluate`` counts it as a failed example. After ``max_errors`` of them it
  raises, and all candidates are lost.
- ``MIPROv2``: bootstrapping and ``eval_candidate_program`` swallow it. The candidate scores 0, and the search goes on
  to its end among zeros. While instructions are proposed it ends the run.
- ``SIMBA``: ``wrap_program`` swallows it. The program scores 0, and the final choice is made among zeros.
- ``GEPA``: evaluations and proposals swallow it. Candidates score 0, and the search goes on to its last metric call.

So a spent budget is no ``Exception`` here: ``LearningStopped`` passes through all of them at once, and what is best so
far is taken from ``Candidates``. It is raised before a question, never in the midst of an answer: what is
under way is counted, and a method overdraws by one answer at most (with n requests at once, by n).

An answer that DSPy has in its cache costs nothing and is given even when the budget is spent: so a run that was killed
does again what it did, from the cache, and stops where it stopped. FLEX needs none of this: its ``Ledger`` has
a budget, and what was committed is kept.
"""

from __future__ import annotations

import time
from typing import Any

from dspy.utils.callback import BaseCallback
from tqdm.auto import tqdm

from flex_dspy.models.spending import Ledger
from tests.benchmarks.language_model.clock import Clock
from tests.benchmarks.language_model.model import PatientModel


class LearningStopped(BaseException):
    """The tokens for learning are spent."""


class Budget(BaseCallback):
    """Stops an optimizer that has spent its tokens, and tells how far it is.

    Args:
        ledger: Counts the tokens.
        clock: Counts the seconds.
        tokens: The budget; None where the ledger keeps one itself.
        bar: Shows the tokens spent.
    """

    def __init__(self, ledger: Ledger, clock: Clock, tokens: int | None = None, bar: tqdm[Any] | None = None) -> None:
        self.ledger = ledger
        self.clock = clock
        self.tokens = tokens
        self.bar = bar
        self._started: dict[str, float] = {}

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Let the question through, or not.

        Raises:
            LearningStopped: If the budget is spent and the answer is not known.
        """
        if self.tokens is not None and self.ledger.total.tokens >= self.tokens and not _is_known(instance, inputs):
            raise LearningStopped(f"{self.tokens:,} tokens are spent")
        self._started[call_id] = time.perf_counter()

    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        """Count an answer's time."""
        if call_id in self._started:
            self.clock.add(time.perf_counter() - self._started.pop(call_id))
        if self.bar is not None:
            self.bar.update(self.ledger.total.tokens - self.bar.n)


def _is_known(instance: Any, inputs: dict[str, Any]) -> bool:
    if not isinstance(instance, PatientModel):
        return False
    return instance.knows(inputs.get("prompt"), inputs.get("messages"), dict(inputs.get("kwargs") or {}))

"""The updater: one experience in, one edit of the library out."""

from __future__ import annotations

from collections.abc import Sequence

import dspy

from flex_dspy.experience import Discard, Edit, Experience, Insert, Merge, Revision, Rule
from flex_dspy.rendering import Hit, render
from flex_dspy.signatures.updater import Decision, MergeLesson

WHOLE = 10**6  # more tokens than the caps of an entry allow


class Updater(dspy.Module):
    """Decides whether a lesson is inserted, merged or discarded.

    It sees the nearest few entries, never the whole library: its prompt does not grow with what was learned.
    Where nothing is near, the lesson is inserted and no model is asked.

    Args:
        token_budget: Most tokens for the entries shown.
    """

    def __init__(self, token_budget: int = 4_000) -> None:
        super().__init__()
        self.token_budget = token_budget
        self.decide = dspy.Predict(MergeLesson)

    def forward(self, lesson: Experience, nearest: Sequence[Experience]) -> dspy.Prediction:
        """Decide on one lesson.

        Args:
            lesson: The new lesson.
            nearest: The entries most like it.

        Returns:
            A prediction with ``edit``.
        """
        if not nearest:
            return dspy.Prediction(edit=Insert(lesson, "nothing like it in the library"))
        decision = self.decide(**self._inputs(lesson, nearest)).decision
        return dspy.Prediction(edit=_edit(decision, lesson, nearest))

    async def aforward(self, lesson: Experience, nearest: Sequence[Experience]) -> dspy.Prediction:
        """The same, asynchronously."""
        if not nearest:
            return dspy.Prediction(edit=Insert(lesson, "nothing like it in the library"))
        written = await self.decide.acall(**self._inputs(lesson, nearest))
        return dspy.Prediction(edit=_edit(written.decision, lesson, nearest))

    def _inputs(self, lesson: Experience, nearest: Sequence[Experience]) -> dict[str, str]:
        return {
            "new_lesson": _written([lesson], WHOLE),  # its rules are decided on by number: none may be missing
            "nearest": _written(nearest, self.token_budget),
        }


def _written(entries: Sequence[Experience], budget: int) -> str:
    return render([Hit(entry, 0.0) for entry in entries], budget, ("method", "rules"))


def _edit(decision: Decision, lesson: Experience, nearest: Sequence[Experience]) -> Edit:
    """The edit that a decision asks for; what makes no sense becomes an insert, so that nothing is lost."""
    if decision.action == "discard":
        return Discard(lesson.id, decision.reason)
    target = next((entry for entry in nearest if entry.id == decision.target), None)
    if decision.action == "insert" or target is None:
        return Insert(lesson, decision.reason)
    decided = {item.rule: item for item in decision.rules}
    known = {rule.text for rule in target.rules}
    add: list[Rule] = []
    revise: list[Revision] = []
    for number, rule in enumerate(lesson.rules):
        item = decided.get(number)
        if item is not None and item.action == "replace" and item.replaces in known:
            revise.append(Revision(item.replaces, rule))
        elif item is None or item.action != "skip":
            add.append(rule)
    return Merge(target.id, lesson, tuple(add), tuple(revise), decision.method or None, decision.reason)

"""The updater: turns one experience into one edit of the library."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import dspy

from flex_dspy.core.running import aask_shortening, ask_shortening, unreadable
from flex_dspy.core.text import sound
from flex_dspy.core.tokens import tokens
from flex_dspy.libraries.experience import Discard, Edit, Experience, Insert, Merge, Revision, Rule
from flex_dspy.libraries.hits import Hit
from flex_dspy.programs.predict import RolePredict
from flex_dspy.search.rendering import render
from flex_dspy.signatures.lessons import without
from flex_dspy.signatures.updater import Decision, MergeLesson

logger = logging.getLogger(__name__)

WHOLE = 10**6  # more tokens than the caps of an entry allow


class Updater(dspy.Module):
    """Decides whether a lesson is inserted, merged or discarded.

    It sees only the few nearest entries. So its prompt does not grow with the library. If there is no near entry, the
    lesson is inserted without a model call. If the model's decision cannot be read, the lesson is inserted too, or
    merged if an entry says the same word for word. DSPy's optimizers tune the updater by
    ``flex_dspy.evaluation.teaching.EditMetric``.

    Args:
        token_budget: Most tokens for the shown entries. If the prompt is too long for the model, the entries are cut to
            half their tokens, then to a quarter.
    """

    def __init__(self, token_budget: int = 4_000) -> None:
        super().__init__()
        self.token_budget = token_budget
        self.decide = RolePredict(MergeLesson)

    def forward(
        self, lesson: Experience, nearest: Sequence[Experience], *, task: str = "", corrects: str = ""
    ) -> dspy.Prediction:
        """Decide on one lesson.

        Args:
            lesson: The new lesson.
            nearest: The entries most like it.
            task: The description of the task; see ``flex_dspy.programs.task_description``.
            corrects: Id of the entry among ``nearest`` that the lesson corrects; "" for none.

        Returns:
            A prediction with ``edit``, and with ``gathers``: whether this updater gathers lessons of one kind in one
            entry. Only offline experts do. None if the model was not asked.
        """
        if not nearest:
            return dspy.Prediction(edit=Insert(lesson, "nothing like it in the library"), gathers=None)
        inputs = self._inputs(lesson, task=task, corrects=corrects)
        try:
            written = ask_shortening(self.decide, "nearest", self._shorter_entries(nearest), **inputs)
        except dspy.DSPyError as error:
            return dspy.Prediction(edit=_undecided(lesson, nearest, error), gathers=False)
        return _decided(written.decision, lesson, nearest)

    async def aforward(
        self, lesson: Experience, nearest: Sequence[Experience], *, task: str = "", corrects: str = ""
    ) -> dspy.Prediction:
        """Asynchronous version of ``forward``."""
        if not nearest:
            return dspy.Prediction(edit=Insert(lesson, "nothing like it in the library"), gathers=None)
        inputs = self._inputs(lesson, task=task, corrects=corrects)
        try:
            written = await aask_shortening(self.decide.acall, "nearest", self._shorter_entries(nearest), **inputs)
        except dspy.DSPyError as error:
            return dspy.Prediction(edit=_undecided(lesson, nearest, error), gathers=False)
        return _decided(written.decision, lesson, nearest)

    def _inputs(self, lesson: Experience, **texts: str) -> dict[str, Any]:
        """The inputs of the prompt except the entries. Unknown values have no field."""
        given = {name: text for name, text in texts.items() if text}
        signature = without(self.decide.signature, tuple(name for name in texts if name not in given))
        return {"new_lesson": _whole(lesson), **given, "signature": signature}

    def _shorter_entries(self, nearest: Sequence[Experience]) -> Iterator[str]:
        whole = _render_entries(nearest, self.token_budget)
        yield whole
        for share in (2, 4):  # of the tokens that the entries took, as the budget may be larger
            yield _render_entries(nearest, tokens(whole) // share)


def _whole(lesson: Experience) -> str:
    """The whole lesson as text. The model decides on its rules by number, so no rule may be missing."""
    return _render_entries([lesson], WHOLE)


def _render_entries(entries: Sequence[Experience], budget: int) -> str:
    return render([Hit(entry, 0.0) for entry in entries], budget, ("method", "rules"))


def says_all(entry: Experience, lesson: Experience) -> bool:
    """Whether an entry holds every rule of a lesson, word for word."""
    return bool(lesson.rules) and {rule.text for rule in lesson.rules} <= {rule.text for rule in entry.rules}


def _undecided(lesson: Experience, nearest: Sequence[Experience], error: dspy.DSPyError) -> Edit:
    """The edit if no decision could be read: an insert, or a merge with an entry that says the same."""
    if not unreadable(error):
        raise error
    for entry in nearest:
        if (entry.zone, entry.step) == (lesson.zone, lesson.step) and says_all(entry, lesson):
            return Merge(entry.id, lesson, reason="the entry says the same, word for word")
    logger.warning("a lesson is inserted, as no decision on it could be read")
    return Insert(lesson, "no decision of the updater could be read")


def _decided(decision: Decision, lesson: Experience, nearest: Sequence[Experience]) -> dspy.Prediction:
    return dspy.Prediction(edit=_edit(decision, lesson, nearest), gathers=bool(decision.case_of))


def _edit(decision: Decision, lesson: Experience, nearest: Sequence[Experience]) -> Edit:
    """The edit for a decision. A decision that makes no sense becomes an insert, which keeps the lesson."""
    decision = sound(decision)  # its texts go into a file, and into other prompts
    if decision.action == "discard":
        return Discard(lesson.id, decision.reason)
    target = next((entry for entry in nearest if entry.id == decision.target), None)
    if decision.action == "insert" or target is None:
        return Insert(lesson, decision.reason)
    if decision.case_of and (target := _with_room(target, nearest, decision.case_of)) is None:
        return Insert(lesson, "the entries of this kind are full")
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
    method = decision.method or None
    return Merge(target.id, lesson, tuple(add), tuple(revise), method, decision.reason, decision.case_of)


def _with_room(target: Experience, nearest: Sequence[Experience], rule: str) -> Experience | None:
    """The target, or another entry of its category, that can take precedents of a rule; None if all are full."""
    alike = [entry for entry in nearest if (entry.category, entry.step) == (target.category, target.step)]
    return next((entry for entry in (target, *alike) if entry.has_room(rule)), None)

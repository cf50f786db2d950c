"""Metrics for the critic, the updater and the verifier, so that DSPy's optimizers can tune these roles.

::

    rollouts = critic_examples(agent, train, metric)
    optimizer = dspy.GEPA(
        LessonMetric(agent, teaching, metric), auto="light", reflection_lm=lm, component_selector="all"
    )
    critic = optimizer.compile(Critic(), trainset=rollouts)
    learned = ForwardLearning(metric, critic=critic).compile(agent, trainset=train, valset=val)

``teaching`` is a separate small validation set. An optimizer reads its problems, without answers, in the feedback. So
the tuned program must be measured on other examples.

These metrics accept two, three or five arguments, from any thread: DSPy's optimizers call metrics in all these ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dspy

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.scoring import Metric, Normalize, redact
from flex_dspy.evaluation.edit_effects import EditEffects, Edits, Effect
from flex_dspy.libraries.experience import Edit, Experience, Insert, Merge
from flex_dspy.libraries.library import ExperienceLibrary

MOST_NAMED = 5  # most problems in a feedback
_LONGEST = 200  # most characters of a problem in a feedback

NO_ANSWER = "There was no answer that could be read."


class Verdict(dspy.Prediction):
    """Result of a metric: ``score``, ``feedback`` and ``good``. It is true if the answer is a good demonstration.

    ``BootstrapFewShot`` and ``MIPROv2`` keep a demonstration if the metric's result is true. A plain
    ``dspy.Prediction`` is always true.
    """

    def __bool__(self) -> bool:
        return bool(self.get("good"))


class LessonMetric:
    """Metric for the critic: the effect of its lesson on accuracy.

    The lesson is inserted into the library unchanged. The actor answers the validation examples with it and without it.
    The score is 0.5 for no change, 1 if all examples become right, 0 if all become wrong. The feedback names the
    problems that were won and lost, never an answer. A lesson that raises the accuracy is a good demonstration.

    Cost: ``len(valset) * samples`` runs of the actor once, and the same number for each new lesson. The same lesson is
    never measured twice. At most (threads of the optimizer) * ``concurrency`` runs are under way. Validation examples
    that the lesson was learned from do not count. An example whose prompt does not show the lesson counts as unchanged.

    Args:
        actor: The program whose accuracy counts. A program without a retriever gets one from ``equip``.
        valset: A small fixed set of examples. The actor should fail on some of them, so that a lesson can help.
        metric: The task's metric, with scores from 0 to 1.
        library: The library that the lesson is added to; None means an empty library.
        **settings: ``samples``, ``concurrency``, ``ledger``, ``key`` and ``allow_overlap`` of ``EditEffects``. When a
            ledger's budget is spent, every call raises an error. ``SIMBA`` and ``dspy.Evaluate`` count it as score 0.

    Raises:
        ConfigurationError: If there is no example.
        OverlapError: If the library was learned from some of the examples.
    """

    def __init__(
        self,
        actor: dspy.Module,
        valset: Sequence[dspy.Example],
        metric: Metric,
        *,
        library: ExperienceLibrary | None = None,
        **settings: Any,
    ) -> None:
        self.effects = EditEffects(actor, valset, metric, library=library, **settings)

    def __call__(
        self,
        gold: dspy.Example,
        pred: dspy.Prediction | None,
        trace: Any = None,
        pred_name: Any = None,
        pred_trace: Any = None,
    ) -> Verdict:
        """Judge one lesson.

        Args:
            gold: The critic's inputs. This metric reads only the lesson's precedents.
            pred: The critic's prediction, with ``experience``.
            trace: Not read.
            pred_name: Not read.
            pred_trace: Not read.

        Raises:
            ConfigurationError: If every validation example is one that the lesson was learned from.
            BudgetError: If the ledger's budget is spent.
        """
        lesson: Experience | None = None if pred is None else pred.get("experience")
        if lesson is None:
            return _verdict(0.0, NO_ANSWER, False)
        effect = self.effects.effect((Insert(lesson),), without=_precedent_ids(lesson))
        return _verdict(effect.score, _lesson_feedback(effect), effect.after > effect.before)


class EditMetric:
    """Metric for the updater: the effect of its edit on accuracy, compared with inserting or leaving out the lesson.

    The score is 0.5 if the edit is as good as the better of these two choices. A better edit scores up to 1, a worse
    edit down to 0. An edit that loses no problem and adds no entry gets a bonus: ``thrift`` times the distance to 1.
    An edit is a good demonstration if it loses no problem and also wins a problem or adds no entry.

    Cost: as for ``LessonMetric``. Each new lesson takes up to two measurements: inserted, and as edited.

    Args:
        actor: See ``LessonMetric``.
        valset: The fixed examples.
        metric: The task's metric.
        library: The library that is edited. It must hold the entries that the updater is shown.
        thrift: Weight of the bonus for an edit that adds no entry, from 0 to 1.
        **settings: See ``LessonMetric``.

    Raises:
        ConfigurationError: If there is no example, or ``thrift`` is out of range.
        OverlapError: If the library was learned from some of the examples.
    """

    def __init__(
        self,
        actor: dspy.Module,
        valset: Sequence[dspy.Example],
        metric: Metric,
        *,
        library: ExperienceLibrary,
        thrift: float = 0.1,
        **settings: Any,
    ) -> None:
        if not 0 <= thrift <= 1:
            raise ConfigurationError(f"thrift must be from 0 to 1, got {thrift}")
        self.thrift = thrift
        self.effects = EditEffects(actor, valset, metric, library=library, **settings)

    def __call__(
        self,
        gold: dspy.Example,
        pred: dspy.Prediction | None,
        trace: Any = None,
        pred_name: Any = None,
        pred_trace: Any = None,
    ) -> Verdict:
        """Judge one edit.

        Args:
            gold: The updater's inputs: ``lesson`` and ``nearest``.
            pred: The updater's prediction, with ``edit``.
            trace: Not read.
            pred_name: Not read.
            pred_trace: Not read.

        Raises:
            ConfigurationError: If the library does not hold the entry that the lesson is merged into, or every
                validation example is one that the lesson was learned from.
            BudgetError: If the ledger's budget is spent.
        """
        edit: Edit | None = None if pred is None else pred.get("edit")
        if edit is None:
            return _verdict(0.0, NO_ANSWER, False)
        if isinstance(edit, Merge) and edit.target not in self.effects.library:
            raise ConfigurationError(
                f"the metric's library does not hold the entry {edit.target}, into which a lesson is merged: make the "
                "examples from the library that the metric is given"
            )
        own = _precedent_ids(gold.lesson)
        inserted = self.effects.effect((Insert(gold.lesson),), without=own)
        best: Edits = (Insert(gold.lesson),) if inserted.after > inserted.before else ()
        effect = self.effects.effect((edit,), best, without=own)
        grows, harmless = isinstance(edit, Insert), effect.after >= effect.before
        points = effect.score
        if harmless and not grows:
            points += self.thrift * (1 - points)
        wins = effect.after > inserted.before
        return _verdict(points, _edit_feedback(edit, effect, inserted), harmless and (wins or not grows))


class VerdictMetric:
    """Metric for the verifier: whether its verdict is right and its feedback does not reveal the answer.

    The score is 1 for the right verdict and 0 for the wrong one. It is 0.5 if the feedback contains the reference
    answer, or if a rejection has no feedback. Only a score of 1 is a good demonstration. No model is called.

    Args:
        normalize: See ``flex_dspy.core.scoring.redact``.
    """

    def __init__(self, normalize: Normalize | None = None) -> None:
        self.normalize = normalize

    def __call__(
        self,
        gold: dspy.Example,
        pred: dspy.Prediction | None,
        trace: Any = None,
        pred_name: Any = None,
        pred_trace: Any = None,
    ) -> Verdict:
        """Judge one verdict.

        Args:
            gold: The verifier's inputs, with the labels ``verdict`` (the right verdict) and ``answer`` (the reference).
            pred: The verifier's prediction.
            trace: Not read.
            pred_name: Not read.
            pred_trace: Not read.
        """
        if pred is None or pred.get("accepted") is None:
            return _verdict(0.0, NO_ANSWER, False)
        if bool(pred.accepted) != bool(gold.verdict):
            right = "right, and was rejected" if gold.verdict else "wrong, and was accepted"
            return _verdict(0.0, f"The attempt is {right}.", False)
        text = str(pred.get("feedback") or "")
        leaks = pred.get("redacted") or redact(text, str(gold.get("answer") or ""), gold.attempt, self.normalize)[1]
        if leaks:
            return _verdict(0.5, "The verdict is right, but the feedback gave the right answer away.", False)
        if not gold.verdict and not text.strip():
            return _verdict(0.5, "The verdict is right, but the author was not told what is wrong.", False)
        return _verdict(1.0, "The verdict is right, and the feedback keeps the answer to itself.", True)


def _verdict(score: float, feedback: str, good: bool) -> Verdict:
    return Verdict(score=score, feedback=feedback, good=good)


def _precedent_ids(lesson: Experience) -> frozenset[str]:
    return frozenset(precedent.example_id for precedent in lesson.precedents)


def _lesson_feedback(effect: Effect) -> str:
    lines = [
        f"With the lesson in the library, accuracy on {effect.n} other problems went from {effect.before:.0%} to "
        f"{effect.after:.0%}.",
        *_problem_lines(effect),
    ]
    if not effect.shown:
        lines.append("It was shown on none of them: its words are not those in which such problems are put.")
    elif effect.after == effect.before:
        lines.append(f"It was shown on {effect.shown} of them, and changed no answer for better or worse on balance.")
    return "\n".join(lines)


def _edit_feedback(edit: Edit, effect: Effect, inserted: Effect) -> str:
    lines = [
        f"Accuracy on {effect.n} other problems: {inserted.before:.0%} with the lesson left out, {inserted.after:.0%} "
        f"with it inserted as it is, {effect.after:.0%} after this {edit.action}.",
        *_problem_lines(effect),
    ]
    if isinstance(edit, Insert) and inserted.after <= inserted.before:
        lines.append("The library grew, and nothing was won by it: merge or discard such a lesson.")
    return "\n".join(lines)


def _problem_lines(effect: Effect) -> list[str]:
    """Names of the problems, without answers: an optimizer would copy answers into the role's instructions."""
    return [f"{word}: {_some(problems)}" for word, problems in (("Won", effect.won), ("Lost", effect.lost)) if problems]


def _some(problems: Sequence[str]) -> str:
    named = [repr(problem if len(problem) <= _LONGEST else f"{problem[:_LONGEST]}...") for problem in problems]
    more = len(named) - MOST_NAMED
    return "; ".join(named[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")

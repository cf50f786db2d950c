"""Measures how edits of a library change the accuracy on a few fixed examples."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dspy

from flex_dspy.core.errors import ConfigurationError, ModelError
from flex_dspy.core.scoring import Metric
from flex_dspy.evaluation.evaluate import evaluate
from flex_dspy.evaluation.overlap import ProblemKey, refuse_overlap
from flex_dspy.evaluation.records import Record, by_example
from flex_dspy.evaluation.settings import EvaluationSettings
from flex_dspy.libraries.experience import COMMIT_JSON, Commit, Discard, Edit, Insert, Merge
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.models.spending import Ledger
from flex_dspy.programs.equip import equip
from flex_dspy.search.retrieval import retrievers

Edits = tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """Effect of one set of edits, compared with another, on the same examples.

    Attributes:
        before: Mean score with the other edits, from 0 to 1.
        after: Mean score with these edits, from 0 to 1.
        n: Number of examples.
        shown: Number of examples that had an edited entry in the prompt, before or after.
        won: Problems whose score rose.
        lost: Problems whose score fell.
    """

    before: float
    after: float
    n: int
    shown: int
    won: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def score(self) -> float:
        """Effect from 0 to 1: 0.5 for no change, 1 if all examples become right, 0 if all become wrong."""
        if self.after >= self.before:
            missing = 1 - self.before
            return 0.5 + 0.5 * (self.after - self.before) / missing if missing else 0.5
        return 0.5 * self.after / self.before


class EditEffects:
    """Measures edits of one library by an actor's accuracy. It measures each set of edits only once.

    Several threads may call it at once. It keeps the language model and the adapter that were configured when it was
    created, even if an optimizer configures others around a call.

    Args:
        actor: The program whose accuracy counts. A program without a retriever gets one from ``equip``.
        valset: The fixed examples.
        metric: The task's metric, with scores from 0 to 1; scores beyond count as 0 or 1.
        library: The library that is edited; None means an empty library.
        ledger: Tokens are charged to it, as ``teaching``.
        key: Normal form of a problem, to find examples that the library was learned from.
        **options: Fields of ``EvaluationSettings``, such as ``samples`` or ``allow_overlap``. ``concurrency`` is the
            limit for one measurement; its default is 8.

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
        ledger: Ledger | None = None,
        key: ProblemKey | None = None,
        **options: Any,
    ) -> None:
        if not valset:
            raise ConfigurationError("the validation set is empty")
        self.library = ExperienceLibrary() if library is None else library
        settings = EvaluationSettings(**{"concurrency": 8, "progress": False, "role": "teaching", **options})
        if not settings.allow_overlap:
            refuse_overlap(self.library, valset, key=key)
        self.actor = actor if retrievers(actor) else equip(actor)
        self.valset = list(valset)
        self.metric = metric
        # Overlap was checked above, and the examples of a lesson are left out of its measurement.
        self.settings = settings.with_options(allow_overlap=True)
        self.ledger = ledger or Ledger()
        self.measurements = 0
        self._dspy_settings = {"adapter": dspy.settings.adapter}
        if dspy.settings.lm is not None:
            self._dspy_settings["lm"] = dspy.settings.lm
        self._known: dict[bytes, tuple[Record, ...]] = {}
        self._gates: dict[bytes, threading.Lock] = {}
        self._lock = threading.Lock()

    def effect(self, edits: Edits, against: Edits = (), *, without: Collection[str] = ()) -> Effect:
        """Compare two sets of edits.

        Args:
            edits: The edits to judge.
            against: The edits to compare with; by default the unchanged library.
            without: Ids of examples to leave out because the edits were learned from them.

        Raises:
            ConfigurationError: If no example is left.
            ModelError: If the actor fails on every example.
            BudgetError: If the ledger's budget is spent.
        """
        before, after = by_example(self._records(against)), by_example(self._records(edits))
        pairs = [(old, new) for old, new in zip(before, after, strict=True) if old[0].example_id not in without]
        if not pairs:
            raise ConfigurationError("every validation example is one that the lesson was learned from")
        edited = _ids_of_edits((*edits, *against))
        return _sum_effect(pairs, edited)

    def _records(self, edits: Edits) -> tuple[Record, ...]:
        """Records with these edits. If two threads ask for the same edits, one waits for the result of the other."""
        edits = tuple(replace(edit, reason="") for edit in edits if not isinstance(edit, Discard))
        key = COMMIT_JSON.dump_json(Commit("", 0, edits))
        with self._lock:
            gate = self._gates.setdefault(key, threading.Lock())
        with gate:
            if key not in self._known:
                self._known[key] = self._measure(edits)
            return self._known[key]

    def _measure(self, edits: Edits) -> tuple[Record, ...]:
        with self._lock:  # snapshots of one line share a log, which one thread at a time may extend
            self.measurements += 1
            library = self.library.apply(Commit("", 0, edits)) if edits else self.library
        with dspy.context(**self._dspy_settings):
            evaluation = evaluate(
                self.actor, self.valset, self.metric, library=library, ledger=self.ledger, settings=self.settings
            )
        if all(record.error for record in evaluation.records):
            raise ModelError(f"the actor fails on every validation example: {evaluation.records[-1].error}")
        return evaluation.records


def _ids_of_edits(edits: Edits) -> set[str]:
    ids: set[str] = set()
    for edit in edits:
        if isinstance(edit, Insert | Merge):
            ids.add(edit.experience.id)  # a merge may end as an insert
        if isinstance(edit, Merge):
            ids.add(edit.target)
    return ids


def _sum_effect(pairs: Sequence[tuple[Sequence[Record], Sequence[Record]]], edited: set[str]) -> Effect:
    """Compare scores example by example.

    If both prompts showed the same entries and none of them is edited, a difference is only noise of the model.
    """
    before = after = 0.0
    shown = 0
    won: list[str] = []
    lost: list[str] = []
    for old, new in pairs:
        seen, sees = _entries_in_prompt(old), _entries_in_prompt(new)
        was = is_now = _mean(old)
        shown += bool(edited & (seen | sees))
        if seen != sees or edited & sees:
            is_now = _mean(new)
        if is_now != was:
            (won if is_now > was else lost).append(old[0].problem)
        before, after = before + was, after + is_now
    n = len(pairs)
    return Effect(before / n, after / n, n, shown, tuple(won), tuple(lost))


def _entries_in_prompt(records: Sequence[Record]) -> set[str]:
    return {entry_id for record in records for entry_id in record.shown}


def _mean(records: Sequence[Record]) -> float:
    return sum(min(1.0, max(0.0, record.score)) for record in records) / len(records)

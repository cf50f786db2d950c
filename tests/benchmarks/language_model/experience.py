"""FLEX, and the parts of it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import dspy

from flex_dspy.core.errors import BudgetError, ConfigurationError
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.learning.precedents import precedent_library
from flex_dspy.learning.trust_calibration import TrustCalibration
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.merging import merge
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.models.spending import Ledger, Usage
from flex_dspy.programs.equip import equip
from flex_dspy.search.retrieval import retrievers
from tests.benchmarks.language_model.budget import Budget
from tests.benchmarks.language_model.clock import Clock
from tests.benchmarks.language_model.examples import Data
from tests.benchmarks.language_model.workspace import Learned, Workspace

HALVES = ("first", "second")


@dataclass(frozen=True)
class Experiences:
    """A library that was learned.

    Attributes:
        library: The library.
        spent: What learning took.
        seconds: How long the model worked for it.
        note: How learning ended.
    """

    library: ExperienceLibrary
    spent: Usage
    seconds: float
    note: str


def flex(student: dspy.Module, data: Data, workspace: Workspace) -> Learned:
    """Lessons from the model's own attempts, and the solved cases behind them."""
    return _equipped(student, workspace, _learned(student, data.train, workspace))


def flex_study(student: dspy.Module, data: Data, workspace: Workspace) -> Learned:
    """Lessons from worked answers, without attempts."""
    return _equipped(student, workspace, _learned(student, data.train, workspace, study=True))


def flex_merged(student: dspy.Module, data: Data, workspace: Workspace) -> Learned:
    """Two libraries of half the examples and half the tokens each, merged."""
    tokens = workspace.settings.learning_tokens // 2
    first, second = (
        _learned(student, data.train[place::2], workspace, name=name, tokens=tokens)
        for place, name in enumerate(HALVES)
    )
    library = merge(first.library, second.library, names=HALVES).library
    note = f"{HALVES[0]} half: {first.note}; {HALVES[1]} half: {second.note}"
    both = Experiences(library, first.spent + second.spent, first.seconds + second.seconds, note)
    return _equipped(student, workspace, both)


def flex_inherited(student: dspy.Module, data: Data, workspace: Workspace) -> Learned:
    """A library that another model learned; the tokens are that model's."""
    found = _learned(student, data.train, workspace, lm=workspace.other_learner)
    return _equipped(student, workspace, replace(found, note=f"{workspace.settings.other_lm} {found.note}"))


def flex_lessons(student: dspy.Module, data: Data, workspace: Workspace) -> Learned:
    """The library of ``flex``, of which methods and rules are shown, and neither solved cases nor instances.

    It needs no tokens of its own where ``flex`` has learned in the same ``--out``.
    """
    found = _learned(student, data.train, workspace.of("flex"))
    return _equipped(student, workspace, found, levels=("method", "rules"), tally=0)


def flex_cases(student: dspy.Module, data: Data, workspace: Workspace) -> Learned:
    """Each training example as a precedent: retrieval alone, and no lesson. The model is asked nothing."""
    outputs = {name for predictor in student.predictors() for name in predictor.signature.output_fields}
    library = precedent_library(data.train, outputs, task=workspace.task.name)
    return _equipped(student, workspace, Experiences(library, Usage(), 0.0, "takes no tokens to learn"))


def flex_trust(student: dspy.Module, data: Data, workspace: Workspace) -> Learned:
    """``flex_cases``, where precedents may overrule the model: it answers training examples to learn how often.

    A program without a label to vote on stays as ``flex_cases`` gives it.
    """
    cases = flex_cases(student, data, workspace)
    ledger, clock = Ledger(workspace.path("spending.jsonl")), Clock(workspace.path("seconds.txt"))
    calibration = TrustCalibration(
        seed=workspace.settings.seed, concurrency=workspace.settings.concurrency, ledger=ledger
    )
    with (
        workspace.learning(workspace.learner, Budget(ledger, clock, workspace.settings.learning_tokens)),
        workspace.quiet(),
    ):
        try:
            program = calibration.compile(cases.program, trainset=list(data.train))
        except ConfigurationError as error:
            return replace(cases, note=f"{cases.note}; {error}")
    [retriever] = retrievers(program)
    note = f"{cases.note.rpartition('; ')[2]}; {len(calibration.cases)} answers; trust {retriever.trust}"
    return Learned(program, ledger.total, clock.seconds, note)


def _learned(
    student: dspy.Module,
    train: Sequence[dspy.Example],
    workspace: Workspace,
    *,
    name: str = "library",
    study: bool = False,
    tokens: int | None = None,
    lm: dspy.LM | None = None,
) -> Experiences:
    """Learn a library in the workspace, until the examples or the tokens are used up; goes on where it stood."""
    settings = workspace.settings
    store = LibraryStore(workspace.path(f"{name}.json"), task=workspace.task.name)
    budget = settings.learning_tokens if tokens is None else tokens
    ledger = Ledger(workspace.path(f"{name}.spending.jsonl"), budget_tokens=budget)
    clock = Clock(workspace.path(f"{name}.seconds.txt"))
    optimizer = ForwardLearning(
        workspace.task.metric,
        library=store,
        ledger=ledger,
        study=study,
        precedents=True,
        seed=settings.seed,
        max_rounds=settings.rounds,
        max_rollouts=settings.rollouts,
        epochs=settings.epochs,
        concurrency=settings.concurrency,
        window=settings.concurrency,
    )
    note = "learned from"
    with workspace.learning(lm or workspace.learner, Budget(ledger, clock)):
        try:
            optimizer.compile(student, trainset=list(train))
        except BudgetError:  # what was committed is kept
            note = "stopped when its tokens were spent, after"
    learned_from = max(0, store.library.seen - 1)  # the first commit holds the precedents
    note = f"{note} {learned_from} of {settings.epochs * len(train)} examples"
    return Experiences(store.library, ledger.total, clock.seconds, note)


def _equipped(student: dspy.Module, workspace: Workspace, found: Experiences, **retrieval: Any) -> Learned:
    settings = workspace.settings
    program = equip(student, found.library, k=settings.shown, token_budget=settings.block_tokens, **retrieval)
    lessons = sum(entry.teaches for entry in found.library)
    note = f"{found.note}; {len(found.library)} entries, {lessons} with a lesson"
    return Learned(program, found.spent, found.seconds, note)

"""DSPy's optimizers, each stopped when its tokens are spent; see ``budget`` for how."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Sequence

import dspy
from tqdm.auto import tqdm

from flex_dspy.libraries.library_file import write_atomically
from flex_dspy.models.spending import Ledger
from tests.benchmarks.language_model.budget import Budget, LearningStopped
from tests.benchmarks.language_model.candidates import Candidates, State, plain_state
from tests.benchmarks.language_model.clock import Clock
from tests.benchmarks.language_model.examples import Data
from tests.benchmarks.language_model.workspace import Learned, Workspace

SIMBA_BATCH = 32  # its default
Compile = Callable[[Candidates], dspy.Module]


def bootstrap(student: dspy.Module, data: Data, workspace: Workspace) -> Learned:
    """``BootstrapFewShotWithRandomSearch`` with its defaults: 16 candidates, chosen on the validation examples."""

    def compile_it(candidates: Candidates) -> dspy.Module:
        optimizer = dspy.BootstrapFewShotWithRandomSearch(candidates.scoring(workspace.task.metric))
        return optimizer.compile(student, trainset=data.train, valset=data.val)

    return _optimized(student, workspace, data.val, compile_it)


def mipro(student: dspy.Module, data: Data, workspace: Workspace) -> Learned:
    """``MIPROv2``, light: instructions that the model proposes, and bootstrapped demonstrations."""

    def compile_it(candidates: Candidates) -> dspy.Module:
        metric = candidates.scoring(workspace.task.metric)
        # A seed of 0 would be taken for none.
        optimizer = dspy.MIPROv2(metric, auto="light", seed=workspace.settings.seed + 9, track_stats=False)
        return optimizer.compile(student, trainset=data.train, valset=data.val)

    return _optimized(student, workspace, data.val, compile_it)


def simba(student: dspy.Module, data: Data, workspace: Workspace) -> Learned:
    """``SIMBA`` with its defaults; it has no validation examples, and chooses on the training examples."""

    def compile_it(candidates: Candidates) -> dspy.Module:
        size = min(SIMBA_BATCH, len(data.train))
        optimizer = dspy.SIMBA(metric=candidates.judging(workspace.task.metric), bsize=size)
        return optimizer.compile(student, trainset=data.train, seed=workspace.settings.seed)

    return _optimized(student, workspace, data.train, compile_it)


def gepa(student: dspy.Module, data: Data, workspace: Workspace) -> Learned:
    """``GEPA``, light, with the metric's feedback; the model that answers also reflects."""

    def compile_it(candidates: Candidates) -> dspy.Module:
        optimizer = dspy.GEPA(
            candidates.judging(workspace.task.metric),
            auto="light",
            reflection_lm=workspace.learner.copy(temperature=1.0),
            num_threads=workspace.settings.concurrency,
            seed=workspace.settings.seed,
        )
        return optimizer.compile(student, trainset=data.train, valset=data.val)

    return _optimized(student, workspace, data.val, compile_it)


def _optimized(
    student: dspy.Module, workspace: Workspace, measured_on: Sequence[dspy.Example], compile_it: Compile
) -> Learned:
    """The student with what an optimizer found, from the folder where it is found already."""
    path = workspace.path("program.json")
    ledger, clock = Ledger(workspace.path("spending.jsonl")), Clock(workspace.path("seconds.txt"))
    if not path.exists():
        write_atomically(path, json.dumps(_found(student, workspace, measured_on, compile_it, ledger, clock), indent=1))
    found = json.loads(path.read_text())
    program = student.deepcopy()
    program.load_state(found["state"])
    note = f"{found['ended']}; {len(found['candidates'])} candidates measured"
    if found["state"] == plain_state(student):
        note = f"{note}; it kept the bare program"
    return Learned(program, ledger.total, clock.seconds, note)


def _found(
    student: dspy.Module,
    workspace: Workspace,
    measured_on: Sequence[dspy.Example],
    compile_it: Compile,
    ledger: Ledger,
    clock: Clock,
) -> State:
    candidates = Candidates(measured_on)
    tokens, name = workspace.settings.learning_tokens, workspace.method.name
    with tqdm(total=tokens, desc=f"{name} learns", unit="tok", unit_scale=True, file=sys.stderr) as bar:
        budget = Budget(ledger, clock, tokens, bar)
        learning = workspace.learning(workspace.learner, budget, candidates)
        with learning, ledger.role("learning"), workspace.quiet():
            state, ended = _ended(compile_it, candidates)
    return {"ended": ended, "candidates": candidates.summary(), "state": state or plain_state(student)}


def _ended(compile_it: Compile, candidates: Candidates) -> tuple[State | None, str]:
    """What an optimizer found, and how it ended; where it did not end by itself, the best candidate so far."""
    try:
        return plain_state(compile_it(candidates)), "ended by itself"
    except LearningStopped:
        return candidates.best(), "stopped when its tokens were spent"
    except Exception as error:  # some end so when a weak model's answer cannot be read
        traceback.print_exc()
        return candidates.best(), f"ended by {type(error).__name__}: {' '.join(str(error).split())[:200]}"

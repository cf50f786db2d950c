"""What the tests let a library do, and how they know what it must hold."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from flex_dspy.libraries.experience import Commit, Experience, Insert, Merge, Precedent, Rule, Tally
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.observation import Observation
from flex_dspy.libraries.observed import ObservationJournal


def lesson(step: int) -> Experience:
    rules = (Rule(f"rule {step}", ("x",)),)
    precedents = (Precedent(f"e{step}", f"problem «{step}»", "answer"),)
    return Experience("golden", f"method {step}", rules, "t" * 300, precedents=precedents)


def commit(step: int, run: str = "r") -> Commit:
    """A commit that depends on its step alone."""
    first = lesson(1).id
    edit = Merge(first, lesson(step)) if step % 3 == 2 else Insert(lesson(step))
    return Commit(run, step, (edit,), Tally(shown=(first,)), solved=True)


@cache
def learned(steps: int) -> ExperienceLibrary:
    """The library after so many commits."""
    return ExperienceLibrary(task="t") if steps == 0 else learned(steps - 1).apply(commit(steps))


def steps_in(library: ExperienceLibrary) -> int:
    """How many commits a library holds; it must hold them all, in order, and nothing else."""
    steps = library.runs.get("r", 0)
    wanted, found = learned(steps), library.for_task("t")
    assert (found.hash, found.seen, found.runs) == (wanted.hash, wanted.seen, wanted.runs)
    return steps


def observation(number: int) -> Observation:
    return Observation(f"e{number}", f"Case {number}", {"answer": str(number)}, score=1.0)


def observed(journal: ObservationJournal) -> list[int]:
    """The numbers of all observations in a journal, read from its start."""
    found = []
    while (each := journal.read()) is not None:
        found.append(int(each[1].problem.removeprefix("Case ")))
    return found


def library_file(root: Path) -> Path:
    """In a folder that is not there yet."""
    return root / "made" / "library.json"

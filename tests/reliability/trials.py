"""What a library, observations and the records beside it must stand, one trial a seed: each trial counts what it saw.

A trial raises ``AssertionError`` where something that was acknowledged is lost, or something is there twice.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from pathlib import Path

from flex_dspy.core.errors import LibraryError
from flex_dspy.evaluation.usage_log import UsageLog
from flex_dspy.evaluation.usage_records import UsageRecord
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.observed import ObservationJournal, claim
from flex_dspy.libraries.reading import LibraryReader
from flex_dspy.libraries.store import LibraryStore
from tests.reliability.faults import FaultyFiles
from tests.reliability.work import commit, learned, library_file, observation, observed, steps_in

STEPS = 25


def library_trial(root: Path, seed: int) -> Counter[str]:
    """Commits, checkpoints and new openings on a disk that fails: a commit counts exactly if it was acknowledged."""
    path, rng = library_file(root), random.Random(seed)
    disk = FaultyFiles(root, 0.08, seed)
    store: LibraryStore | None = None
    done = 0
    while done < STEPS:
        try:
            with disk.at_work():
                if store is None or rng.random() < 0.1:
                    store = LibraryStore(path, task="t")
                store.commit([commit(done + 1)])
                done += 1
                if rng.random() < 0.2:
                    store.checkpoint()
        except LibraryError:
            if rng.random() < 0.3:
                store = None
        # What failed may be there where even taking it back failed; what was acknowledged always is.
        if path.parent.exists():
            assert done <= steps_in(LibraryReader(path).library) <= done + 1
    assert steps_in(LibraryStore(path, task="t").library) == STEPS
    return disk.injected


def observation_trial(root: Path, seed: int) -> Counter[str]:
    """Observations with ids on a disk that fails, made again until they are acknowledged: each is there once."""
    path, disk, rng = library_file(root), FaultyFiles(root, 0.12, seed), random.Random(seed)
    journal: ObservationJournal | None = None
    done = 0
    while done < STEPS:
        try:
            with disk.at_work():
                if journal is None:
                    journal = _claimed(path)
                journal.append(observation(done), f"{done:032x}")
                done += 1
        except LibraryError:
            if journal is not None and rng.random() < 0.3:
                journal.close()
                journal = None
    assert journal is not None
    journal.close()
    journal = _claimed(path)
    assert observed(journal) == list(range(STEPS))
    journal.close()
    return disk.injected


def _claimed(path: Path) -> ObservationJournal:
    own, others = claim(path)
    assert others == []
    return own


def records_trial(root: Path, seed: int) -> Counter[str]:
    """Outcomes and versions on a disk that fails: nothing is raised, and what is there can be read."""
    path, disk = library_file(root), FaultyFiles(root, 0.2, seed)
    path.parent.mkdir()
    outcomes, versions = UsageLog(path), VersionLog(path, "run")
    with disk.at_work():
        for step in range(1, STEPS + 1):
            outcomes.note([UsageRecord("v", f"e{step}", ("a",), 1.0)])
            versions.add(step, learned(1), {})
    with contextlib.suppress(FileNotFoundError):
        found = [outcome.example for outcome in UsageLog(path).read()]
        assert len(found) == len(set(found))
    VersionLog(path, "run")
    versions.add(STEPS + 1, learned(1), {})
    assert [record.step for record in VersionLog(path, "run").records] == list(range(1, STEPS + 2))
    return disk.injected


TRIALS = {"library": library_trial, "observations": observation_trial, "records": records_trial}

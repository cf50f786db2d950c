"""A log of outcomes that is folded: nothing is counted twice or lost, and it stays small."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from flex_dspy.evaluation import usage_rotation
from flex_dspy.evaluation.usage_log import UsageLog
from flex_dspy.evaluation.usage_records import UsageRecord, usage_totals
from flex_dspy.evaluation.usage_rotation import fold, log_files
from flex_dspy.libraries.experience import Experience
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore
from tests.reliability import kills

SMALL = 4_000


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UsageLog:
    monkeypatch.setattr(usage_rotation, "MOST_BYTES", SMALL)
    return UsageLog(tmp_path / "library.json")


def outcomes(count: int, seed: int = 0) -> Iterator[UsageRecord]:
    """Some of agents, some of learning, of which a resumed run repeats a few."""
    dice = random.Random(seed)
    for n in range(count):
        shown = tuple(sorted(dice.sample("abcdef", 3)))
        source = f"learn r {dice.randrange(5)}" if n % 4 == 0 else ""
        example = f"e{n % 40}"
        yield UsageRecord(f"v{n % 2}", example, shown, float(dice.random() < 0.5), shown[: dice.randrange(3)], source)


def test_what_is_folded_counts_the_same() -> None:
    made = list(outcomes(400))
    assert usage_totals(fold(made)) == usage_totals(made)
    assert usage_totals(fold([*fold(made[:200]), *made[200:]])) == usage_totals(made)
    assert usage_totals(fold(made), solved=0.5) == usage_totals(made, solved=0.5)
    assert len(fold(made)) < 200


def test_a_log_that_is_written_to_for_long_stays_small_and_complete(log: UsageLog) -> None:
    made = [outcome for outcome in outcomes(2_000) if not outcome.source]
    for outcome in made:
        log.add([outcome])
    assert usage_totals(log.read()) == usage_totals(made)
    assert [path.name.partition("-")[0] for path in log_files(log.path)][::2] == [
        "library.outcomes.totals",
        "library.outcomes.jsonl",
    ]
    assert sum(path.stat().st_size for path in log.path.parent.iterdir()) < 4 * SMALL


def test_the_newest_stay_as_they_were_written(log: UsageLog) -> None:
    made = list(outcomes(300))
    for outcome in made:
        log.add([outcome])
    assert log.read()[-10:] == made[-10:]


@pytest.mark.parametrize("step", ["replace", "unlink", "rename"])
def test_a_step_that_fails_loses_and_doubles_nothing(log: UsageLog, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = list(outcomes(600))
    refused = []

    def refuse(path: Path, *_: object, **__: object) -> None:
        refused.append(path)
        raise OSError("no")

    dice = random.Random(1)
    for outcome in made:
        with monkeypatch.context() as patch:
            if dice.random() < 0.7:
                patch.setattr(Path, step, refuse)
            log.add([outcome])
    assert refused
    assert usage_totals(log.read()) == usage_totals(made)
    assert "library.outcomes.totals" in str(log_files(log.path)[0])


def _append(path: Path, seed: int) -> None:
    usage_rotation.MOST_BYTES = SMALL
    log = UsageLog(path)
    for outcome in outcomes(200, seed):
        log.add([outcome])


def test_processes_that_write_at_once_lose_nothing(log: UsageLog) -> None:
    context = kills.processes()
    path = log.path.with_name("library.json")
    processes = [context.Process(target=_append, args=(path, seed)) for seed in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    found = [outcome for outcome in log.read() for _ in range(outcome.count)]
    wanted = [outcome for seed in range(3) for outcome in outcomes(200, seed)]
    assert len(log_files(log.path)) > 1
    assert sum(len(outcome.shown) for outcome in found) == sum(len(outcome.shown) for outcome in wanted)


def test_a_library_that_is_moved_aside_takes_them_along(log: UsageLog, tmp_path: Path) -> None:
    ExperienceLibrary([Experience("golden", "Dice.")], task="dice").save(tmp_path / "library.json")
    for outcome in outcomes(100):
        log.add([outcome])
    parts = {path.name for path in log_files(log.path)}
    assert parts <= {path.name for path in LibraryStore(tmp_path / "library.json")._files.content()}

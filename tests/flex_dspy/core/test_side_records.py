"""What lies beside a library, on a disk that refuses it: learning goes on, and a warning says so once."""

import logging
import os
from pathlib import Path

import dspy
import pytest

from flex_dspy.core.errors import BudgetError, LibraryError
from flex_dspy.evaluation.usage_log import UsageLog
from flex_dspy.evaluation.usage_records import UsageRecord
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.models.lm import language_model
from flex_dspy.models.spending import Ledger
from flex_dspy.tasks.registry import get_task
from tests.reliability.kills import learner, numbers

pytestmark = pytest.mark.usefixtures("shared_chemists")

ANSWERED = {"answer": "x", "experiences_used": ["a"]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "library.json"


def warnings(caplog: pytest.LogCaptureFixture, name: str) -> int:
    return sum(f"{name} cannot be kept" in record.message for record in caplog.records)


def test_online_learning_goes_on_without_its_records(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log of outcomes is a folder; that of versions becomes one, and so does the file of ids."""
    (path.parent / "library.outcomes.jsonl").mkdir()
    with learner(path) as online:
        (path.parent / "library.versions.jsonl").mkdir()
        (path.parent / "library.observed.ids").mkdir()
        for number in range(20):
            online.observe({"problem": f"Case {number}"}, ANSWERED, True, id=str(number))
            if number % 9 == 0:
                online.flush(30)
        online.flush(30)
    assert numbers(LibraryStore(path).library) == list(range(20))
    assert [warnings(caplog, name) for name in ("the outcomes", "the log of versions")] == [1, 1]
    assert warnings(caplog, "the ids of observations") == 1


def test_learning_goes_on_without_its_records(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("library.outcomes.jsonl", "library.png"):
        (path.parent / name).mkdir()
    task = get_task("uspto50k")
    train, val = task.load("train").examples[:24], task.load("val").examples[:4]
    with dspy.context(lm=language_model("offline", expert="chemist")):
        optimizer = ForwardLearning(task.metric, library=path, progress=False, max_rollouts=1, window=8)
        optimizer.compile(task.actor(), trainset=train, valset=val)
    assert ExperienceLibrary.load(path).seen == 24
    assert [warnings(caplog, name) for name in ("the outcomes", "the figure")] == [1, 1]


def test_an_outcome_that_was_asked_for_is_an_error(path: Path) -> None:
    path.with_name("library.outcomes.jsonl").mkdir()
    with pytest.raises(LibraryError, match="cannot be written"):
        UsageLog(path).add([UsageRecord("v", "e", ("a",), 1.0)])
    with pytest.raises(LibraryError, match="cannot be read"):
        UsageLog(path).read()


def test_versions_that_could_not_be_written_are_with_the_next(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = VersionLog(path, "run")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _full)
        log.add(1, ExperienceLibrary(), {})
    log.add(2, ExperienceLibrary(), {})
    assert [record.step for record in VersionLog(path, "run").records] == [1, 2]


def _full(file: int) -> None:
    raise OSError(28, "No space left on device")


def test_versions_that_cannot_be_read_are_an_error_at_the_start(path: Path) -> None:
    path.with_name("library.versions.jsonl").mkdir()
    with pytest.raises(LibraryError, match="cannot be read"):
        VersionLog(path, "run")


def _half(file: int, data: bytes, write=os.write) -> int:
    return write(file, data[: len(data) // 2])


def test_spending_is_counted_without_its_file_and_a_budget_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    used = {"prompt_tokens": 10, "completion_tokens": 5}
    ledger, capped = Ledger(tmp_path / "a.jsonl"), Ledger(tmp_path / "b.jsonl", budget_tokens=10**6)
    for each in (ledger, capped):
        each.charge("actor", "m", used)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _half)
        for _ in range(2):
            ledger.charge("actor", "m", used)
        with pytest.raises(BudgetError, match="cannot be written"):
            capped.charge("actor", "m", used)
    ledger.charge("actor", "m", used)
    assert ledger.total.tokens == 60
    assert warnings(caplog, "the record of spending") == 1
    assert Ledger(tmp_path / "a.jsonl").total.tokens == 30  # what was cut short is passed over
    assert logging.getLogger("flex_dspy").level == logging.NOTSET

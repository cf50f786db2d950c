"""The pipeline: where attempts run, and how they come back, changes nothing; and who is told what."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import cloudpickle
import dspy
import pytest

from flex_dspy.core.errors import ConfigurationError, ModelError
from flex_dspy.learning.attempts import AttemptResult
from flex_dspy.learning.events import (
    EditCommitted,
    ExampleAttempted,
    ExampleFailed,
    ExampleStarted,
    LessonWritten,
    RunEnded,
    RunStarted,
    VersionPublished,
)
from flex_dspy.learning.executors import MAX_LOSSES, AttemptLostError, LocalExecutor, run_until_kept
from flex_dspy.learning.online import OnlineLearner
from flex_dspy.learning.run_folder import RunFolder
from flex_dspy.libraries.failures import FailureLog
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore
from tests.flex_dspy.learning.scripted_roles import FamilyCritic, FamilyUpdater, cases, study

pytestmark = pytest.mark.usefixtures("no_figures")


class Disorderly:
    """Calls come back late, and in any order."""

    def __init__(self, seed: int = 0) -> None:
        self.chance = random.Random(seed)
        self.asked: Counter[str] = Counter()

    async def run(self, attempt, example, library):
        self.asked[str(getattr(example, "problem", ""))] += 1
        for _ in range(self.chance.randrange(12)):
            await asyncio.sleep(0)
        return await attempt(example, library)


class Duplicating(Disorderly):
    """Each call is made twice at once, and either result is given."""

    async def run(self, attempt, example, library):
        calls = [asyncio.create_task(super(Duplicating, self).run(attempt, example, library)) for _ in range(2)]
        results = await asyncio.gather(*calls)
        return self.chance.choice(results)


class Losing(Disorderly):
    """A call is lost before it is made, or after, but for the last that an example may have."""

    async def run(self, attempt, example, library):
        is_lost = self.asked[example.problem] + 1 < MAX_LOSSES and self.chance.random() < 0.5
        result = await super().run(attempt, example, library)
        if is_lost:
            raise AttemptLostError("the worker died")
        return result


class Elsewhere(Disorderly):
    """Each call is made on copies, as in another process, and gives a copy of its result."""

    async def run(self, attempt, example, library):
        attempt, example = (cloudpickle.loads(cloudpickle.dumps(each)) for each in (attempt, example))
        library = ExperienceLibrary.from_json(library.to_json().encode(), "sent")
        return cloudpickle.loads(cloudpickle.dumps(await super().run(attempt, example, library)))


EXECUTORS = [Disorderly, Duplicating, Losing, Elsewhere]


def hashes(optimizer) -> list[str]:
    return [record.hash for record in optimizer.versions]


@pytest.mark.parametrize("window", [1, 6, 50])
def test_the_order_in_which_attempts_come_back_changes_nothing(window):
    alone = hashes(study(window=window, concurrency=1))
    assert alone == hashes(study(window=window, concurrency=8)) == hashes(study(window=window, concurrency=32))
    for kind in EXECUTORS:
        for seed in range(2):
            assert hashes(study(window=window, executor=kind(seed))) == alone, kind


def test_the_window_is_what_changes_the_library():
    assert hashes(study(window=1))[-1] != hashes(study(window=15))[-1]


@pytest.mark.parametrize("kind", EXECUTORS)
def test_failures_are_the_same_wherever_they_happen(tmp_path, kind):
    whole = []
    for name, options in (("here", {}), ("there", {"executor": kind()})):
        path = tmp_path / name / "library.json"
        first = study(library=path, critic=FamilyCritic(fails_on=(3, 17, 18)), **options)
        assert sorted(failure.error for failure in first.failures) == [
            f"ValueError: case {number} is too much" for number in (17, 18, 3)
        ]
        again = study(library=path, **options)
        assert again.failures == []
        whole.append(path.read_bytes())
    assert whole[0] == whole[1]


def test_an_attempt_that_is_always_lost_fails_as_in_an_outage(tmp_path):
    class Gone(Disorderly):
        async def run(self, attempt, example, library):
            self.asked[example.problem] += 1
            raise AttemptLostError("no worker is left")

    executor, path = Gone(), tmp_path / "library.json"
    with pytest.raises(ModelError, match="no worker is left"):
        study(library=path, executor=executor)
    assert set(executor.asked.values()) == {MAX_LOSSES}
    assert LibraryStore(path).library.seen == 0  # nothing counts as done
    study(library=path)
    assert path.read_bytes() == _undisturbed(tmp_path).read_bytes()


def _undisturbed(folder: Path) -> Path:
    path = folder / "undisturbed" / "library.json"
    study(library=path)
    return path


@pytest.mark.parametrize("kind", [Disorderly, Duplicating])
def test_observations_are_learned_from_in_order_wherever_they_are_judged(tmp_path, kind):
    found = set()
    for number, executor in enumerate([None, kind(0), kind(1)]):
        options = {"critic": FamilyCritic(), "updater": FamilyUpdater(), "publish_every": 10, "executor": executor}
        program, path = dspy.Predict("problem -> answer"), tmp_path / f"{number}.json"
        with OnlineLearner(program, library=path, window=4, **options) as online:
            for case in cases(35):
                online.observe(case, {"answer": "0"}, True)
            online.flush(60)
            found.add((online.library.hash, *(record.hash for record in online.versions)))
    assert len(found) == 1


# -- events ------------------------------------------------------------------------------------------------


def test_listeners_are_told_of_everything_in_order(tmp_path):
    events = []
    critic = FamilyCritic(fails_on=(7,))
    optimizer = study(20, library=tmp_path / "library.json", critic=critic, listeners=[events.append])
    kinds = Counter(type(event) for event in events)
    wanted = {RunStarted: 1, ExampleStarted: 20, ExampleAttempted: 20, LessonWritten: 19, EditCommitted: 19}
    assert kinds == {**wanted, ExampleFailed: 1, VersionPublished: 3, RunEnded: 1}
    assert isinstance(events[0], RunStarted)
    assert events[-1] == RunEnded(events[0].run, LibraryStore(tmp_path / "library.json").library)
    settled = [event.step for event in events if isinstance(event, EditCommitted | ExampleFailed)]
    assert settled == list(range(1, 21))
    order = [type(event) for event in events if getattr(event, "step", 0) == 1]
    assert order == [ExampleStarted, ExampleAttempted, LessonWritten, EditCommitted]
    published = [event for event in events if isinstance(event, VersionPublished)]
    assert [event.record.hash for event in published] == hashes(optimizer)


def test_nothing_is_told_of_a_run_that_is_finished(tmp_path):
    events = []
    study(library=tmp_path / "library.json")
    study(library=tmp_path / "library.json", listeners=[events.append])
    assert events == []


def test_an_error_of_a_listener_ends_the_run_and_the_same_call_goes_on(tmp_path):
    path = tmp_path / "library.json"

    def listener(event):
        if isinstance(event, EditCommitted) and event.step == 9:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        study(library=path, listeners=[listener])
    assert LibraryStore(path).library.seen == 9
    study(library=path)
    assert path.read_bytes() == _undisturbed(tmp_path).read_bytes()


def test_a_run_folder_is_a_library_to_learn_into(tmp_path):
    folder = RunFolder(tmp_path / "run")
    study(library=folder)
    assert folder.library.read_bytes() == _undisturbed(tmp_path).read_bytes()
    summary = folder.summary()
    assert (summary.versions, summary.newest.step, summary.problem) == (4, 40, "")
    assert folder.note().command["window"] == 6
    assert FailureLog(folder.library, summary.run).standing == []


def test_the_default_executor_keeps_to_its_concurrency():
    running, most = 0, 0

    async def attempt(example, library):
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        await asyncio.sleep(0)
        running -= 1

    async def run_all():
        executor = LocalExecutor(3)
        await asyncio.gather(*(executor.run(attempt, number, ExperienceLibrary()) for number in range(20)))

    asyncio.run(run_all())
    assert most == 3


def test_an_executor_that_gives_back_something_else_is_said():
    class Forgetful:
        async def run(self, attempt, example, library):
            await attempt(example, library)

    with pytest.raises(ConfigurationError, match=r"Forgetful\.run must return the attempt's result, got NoneType"):
        asyncio.run(run_until_kept(Forgetful(), _attempt_nothing, None, ExperienceLibrary()))


async def _attempt_nothing(example, library):
    return AttemptResult()

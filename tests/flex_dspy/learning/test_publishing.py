"""Versions are measured and logged while the next examples are learned from, and nothing else differs."""

import asyncio
import time
from dataclasses import dataclass, field

import dspy
import pytest

from flex_dspy.core.errors import ModelError
from flex_dspy.learning.events import EditCommitted, VersionMeasured, VersionPublished
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.learning.stop_rules import target
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.models.spending import Ledger
from flex_dspy.search.retrieval import ExperienceRetriever
from tests.flex_dspy.learning.scripted_roles import FamilyCritic, FamilyUpdater, cases

pytestmark = pytest.mark.usefixtures("no_figures")

VALIDATION = [dspy.Example(problem=f"Question {n}", answer=str(n)).with_inputs("problem") for n in range(4)]
SETTINGS = {"study": True, "progress": False, "window": 6, "checkpoint_every": 15}


@dataclass
class Watch:
    """What has happened so far, and what a measurement waits for."""

    committed: int = 0
    wants: int = 0  # further commits that a measurement waits for, after each version but the last
    fails_after: int | None = None
    events: list = field(default_factory=list)

    def __call__(self, event) -> None:
        self.events.append(event)
        if isinstance(event, EditCommitted):
            self.committed = event.step

    async def wait_for_more(self) -> None:
        goal = min(self.committed + self.wants, 40)
        async with asyncio.timeout(20):
            while self.committed < goal:
                await asyncio.sleep(0.001)


WATCH = Watch()


class Answers(dspy.Module):
    """Answers when the watch says so."""

    def __init__(self) -> None:
        super().__init__()
        self.retriever = ExperienceRetriever(views=["lexical"])

    async def aforward(self, problem):
        await WATCH.wait_for_more()
        if WATCH.fails_after is not None and WATCH.committed >= WATCH.fails_after:
            raise ModelError("the model is gone")
        return dspy.Prediction(answer="0")


@pytest.fixture
def watch(monkeypatch) -> Watch:
    new = Watch()
    monkeypatch.setitem(globals(), "WATCH", new)
    return new


def learn(watch: Watch, path, **options) -> ForwardLearning:
    optimizer = ForwardLearning(
        lambda example, prediction: float(example.answer == prediction.answer),
        **{"library": path, "critic": FamilyCritic(), "updater": FamilyUpdater(), "listeners": [watch], **options},
        **SETTINGS,
    )
    optimizer.compile(Answers(), trainset=cases(40), valset=VALIDATION)
    return optimizer


def test_learning_goes_on_while_a_version_is_measured(watch, tmp_path):
    watch.wants = 10
    optimizer = learn(watch, tmp_path / "library.json")  # a measurement that learning waits for would never end
    committed = [event.step for event in watch.events if isinstance(event, EditCommitted)]
    assert committed == list(range(1, 41))
    published = [event.record for event in watch.events if isinstance(event, VersionPublished)]
    assert [record.step for record in published] == [0, 15, 30, 40]
    assert [record.hash for record in published] == [record.hash for record in optimizer.versions]
    assert [record.metrics["accuracy"] for record in published] == [0.25] * 4
    at = {event.record.step: watch.events.index(event) for event in watch.events if isinstance(event, VersionPublished)}
    later = [watch.events.index(event) for event in watch.events if isinstance(event, EditCommitted)]
    assert later[24] < at[15]


def test_the_libraries_are_those_of_a_run_without_measurements(watch, tmp_path):
    watch.wants = 7
    measured = learn(watch, tmp_path / "measured" / "library.json")
    alone = ForwardLearning(
        lambda example, prediction: 1.0,
        library=tmp_path / "alone.json",
        critic=FamilyCritic(),
        updater=FamilyUpdater(),
        **SETTINGS,
    )
    alone.compile(Answers(), trainset=cases(40))
    assert [record.hash for record in measured.versions] == [record.hash for record in alone.versions]
    assert [record.parent for record in measured.versions] == [record.parent for record in alone.versions]


@pytest.mark.parametrize("at", [0, 15, 30])
def test_a_version_whose_measurement_was_interrupted_is_measured_by_the_next_call(watch, tmp_path, at):
    whole = [record.hash for record in learn(Watch(), tmp_path / "whole.json").versions]
    watch.wants, watch.fails_after = 5, at + 1
    path = tmp_path / "library.json"
    with pytest.raises(ModelError, match="the model is gone"):
        learn(watch, path)
    assert LibraryStore(path).library.seen > at  # learning was ahead
    published = [event.record.step for event in watch.events if isinstance(event, VersionPublished)]
    assert published == [step for step in (0, 15, 30) if step < at]
    watch.wants, watch.fails_after = 0, None
    optimizer = learn(watch, path)
    assert [record.hash for record in optimizer.versions] == whole
    assert [record.step for record in optimizer.versions] == [0, 15, 30, 40]
    assert all(record.metrics["n"] == len(VALIDATION) for record in optimizer.versions)


def test_an_error_of_a_measurement_ends_the_run_before_the_next_version(watch, tmp_path):
    watch.fails_after = 15
    with pytest.raises(ModelError, match="the model is gone"):
        learn(watch, tmp_path / "library.json")
    assert watch.committed < 30


def test_with_a_stop_rule_learning_waits_for_each_version(watch, tmp_path):
    learn(watch, tmp_path / "library.json", stop=[target(0.2)])
    assert watch.committed == 0
    measured = [event for event in watch.events if isinstance(event, VersionMeasured)]
    assert len(measured) == 1


class SlowTracker:
    """Logs a version only when learning has gone on."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.logged: list[tuple[int, bool]] = []
        self.finished = 0

    def start(self, params) -> None:
        """Begin."""

    def log_version(self, version) -> None:
        deadline = time.monotonic() + 20
        while version.step < 40 and self.watch.committed <= version.step and time.monotonic() < deadline:
            time.sleep(0.001)
        self.logged.append((version.step, self.watch.committed > version.step))

    def finish(self, artifacts=()) -> None:
        self.finished = len(self.logged)


def test_a_version_is_logged_while_learning_goes_on(watch, tmp_path):
    tracker = SlowTracker(watch)
    learn(watch, tmp_path / "library.json", tracker=tracker)
    assert tracker.logged == [(0, True), (15, True), (30, True), (40, False)]
    assert tracker.finished == 4


class Charging(Answers):
    """Answers for a price."""

    async def aforward(self, problem):
        await WATCH.wait_for_more()
        dspy.settings.usage_tracker.add_usage("openai/test", {"prompt_tokens": 7, "completion_tokens": 1})
        return dspy.Prediction(answer="0")


class ChargingCritic(FamilyCritic):
    """Writes lessons for a price."""

    async def aforward(self, precedent, trajectory=None):
        dspy.settings.usage_tracker.add_usage("openai/test", {"prompt_tokens": 100, "completion_tokens": 0})
        return await super().aforward(precedent, trajectory)


@pytest.mark.parametrize("wants", [0, 10])
def test_a_versions_cost_does_not_depend_on_how_long_its_measurement_took(watch, tmp_path, wants):
    watch.wants = wants
    optimizer = ForwardLearning(
        lambda example, prediction: 1.0,
        library=tmp_path / "library.json",
        critic=ChargingCritic(),
        updater=FamilyUpdater(),
        ledger=Ledger(),
        listeners=[watch],
        **SETTINGS,
    )
    optimizer.compile(Charging(), trainset=cases(40), valset=VALIDATION)
    spent = [record.metrics["spend_tokens"] for record in optimizer.versions]
    assert spent == [8 * 4, 15 * 100 + 2 * 8 * 4, 30 * 100 + 3 * 8 * 4, 40 * 100 + 4 * 8 * 4]

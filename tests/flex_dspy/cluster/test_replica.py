"""Replicas: whatever way they are fed, they are the driver's snapshots, and learning on them gives the same bytes."""

import random

import pytest

from flex_dspy.cluster.line import Line
from flex_dspy.cluster.messages import Commits
from flex_dspy.cluster.replica import Replica
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent, Tally
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore
from tests.flex_dspy.cluster.fake_workers import FakeWorkers
from tests.flex_dspy.learning.scripted_roles import study

pytestmark = pytest.mark.usefixtures("no_figures")


def grow(library: ExperienceLibrary, count: int) -> list[ExperienceLibrary]:
    """The library, and the snapshots after so many further commits."""
    snapshots = [library]
    for step in range(library.seen + 1, library.seen + count + 1):
        entry = Experience("golden", f"Method {step}.", precedents=(Precedent(f"e{step}", f"Case {step}", "1"),))
        shown = tuple(each.id for each in list(snapshots[-1])[-2:])
        commit = Commit("run", step, (Insert(entry),) if step % 3 else (), Tally(shown, shown[:1]), step % 2 == 0)
        snapshots.append(snapshots[-1].apply(commit))
    return snapshots


def hashes(optimizer) -> list[str]:
    return [record.hash for record in optimizer.versions]


@pytest.mark.parametrize("window", [1, 8, 32])
def test_learning_on_replicas_gives_the_same_versions(window):
    alone = hashes(study(window=window))
    for seed in range(2):
        workers = FakeWorkers(seed)
        assert hashes(study(window=window, executor=workers)) == alone
        assert workers.hashes
        assert workers.unlike == []


def test_a_run_that_was_killed_is_resumed_on_other_workers(tmp_path):
    study(library=tmp_path / "whole.json")
    path = tmp_path / "killed.json"

    def stop(event):
        if getattr(event, "step", 0) == 22:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study(library=path, executor=FakeWorkers(1), listeners=[stop])
    assert 0 < LibraryStore(path).library.seen < 40
    study(library=path, executor=FakeWorkers(2))
    assert path.read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_a_replica_is_the_drivers_library_after_each_commit():
    snapshots = grow(ExperienceLibrary(task="numbers"), 30)
    line = Line(snapshots[0])
    replica = Replica(ExperienceLibrary.from_json(line.base_text()))
    chance = random.Random(0)
    for snapshot in snapshots[1:]:
        assert line.advance(snapshot)
        after = chance.randrange(max(0, replica.newest - 5), replica.newest + 1)  # some it has, some it lacks
        replica.apply(line.after(after))
        assert replica.newest == snapshot.seen
        found = replica.get(snapshot.seen)
        assert (found.hash, found.runs, found.seen) == (snapshot.hash, snapshot.runs, snapshot.seen)
    replica.forget(oldest=25)
    assert replica.get(24) is None
    assert all(replica.get(seen).hash == snapshots[seen].hash for seen in range(25, 31))


def test_a_replica_that_is_behind_changes_nothing():
    snapshots = grow(ExperienceLibrary(), 5)
    replica = Replica(snapshots[0])
    line = Line(snapshots[0])
    line.advance(snapshots[5])
    replica.apply(Commits(3, line.after(2).bodies))
    assert replica.newest == 0


def test_the_base_moves_on_so_that_a_new_worker_starts_late(monkeypatch):
    monkeypatch.setattr("flex_dspy.cluster.line._SPARE", 10)
    snapshots = grow(ExperienceLibrary(), 120)
    line = Line(snapshots[0])
    for snapshot in snapshots:
        line.advance(snapshot)
    assert line.base.seen > 30
    fresh = Replica(ExperienceLibrary.from_json(line.base_text()))
    fresh.apply(line.after(line.base.seen))
    assert fresh.get(120).hash == snapshots[120].hash
    assert line.after(0) is None


def test_a_line_ends_where_the_commits_are_forgotten(monkeypatch):
    monkeypatch.setattr("flex_dspy.libraries.change_log._RECENT", 5)
    snapshots = grow(ExperienceLibrary(), 12)
    line = Line(snapshots[0])
    assert not line.advance(snapshots[12])
    assert Line(snapshots[8]).advance(snapshots[12])


def test_two_libraries_that_come_from_one_are_not_mixed_up():
    (_, base) = grow(ExperienceLibrary(), 1)
    commits = [
        Commit("run", 2, (), Tally((entry.id,), helped=(entry.id,) * helped)) for entry in base for helped in (0, 1)
    ]
    first, second = (base.apply(commit) for commit in commits)
    assert first.log.commits(1, 2) == [commits[0]]
    assert second.log.commits(1, 2) == [commits[1]]

"""The durable library: kills, many writers, damage. No process here outlives its test."""

import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flex_dspy.core.errors import LibraryError, LibraryFormatError, LibraryVersionError
from flex_dspy.libraries.experience import Commit, Experience, Insert, Merge, Precedent, Rule, Tally
from flex_dspy.libraries.journal import Journal
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore

ROOT = Path(__file__).parents[3]


def commit(step: int, run: str = "r") -> Commit:
    """A commit that depends on its run and step alone: an insert or a merge, and a tally."""
    new = lesson(f"{run} {step}")
    first = lesson(f"{run} 1").id
    edit = Merge(first, new, add_rules=new.rules) if step % 3 == 2 else Insert(new)
    return Commit(run, step, (edit,), Tally(shown=(first,), helped=(first,) * (step % 2)), solved=step % 2 == 0)


def lesson(name: str) -> Experience:
    precedents = (Precedent(name, f"problem «{name}»", "answer"),)
    rules = (Rule(f"rule {name}", ("x",)),)
    return Experience("golden", f"method {name}", rules, "t" * 500, precedents=precedents)


def learned(steps: int, run: str = "r") -> ExperienceLibrary:
    library = ExperienceLibrary(task="t")
    for step in range(1, steps + 1):
        library = library.apply(commit(step, run))
    return library


def facts(library: ExperienceLibrary) -> tuple[Any, ...]:
    return library.hash, library.checksum, library.seen


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "library.json"


@pytest.fixture
def journal(path: Path) -> Path:
    return path.with_name("library.journal.jsonl")


def store_at(path: Path, steps: int = 0) -> LibraryStore:
    store = LibraryStore(path, task="t")
    for step in range(1, steps + 1):
        store.commit([commit(step)])
    return store


# -- one process -------------------------------------------------------------------------------------------


def test_a_commit_survives(path: Path) -> None:
    assert facts(store_at(path, 5).library) == facts(learned(5))
    assert facts(LibraryStore(path).library) == facts(learned(5))
    assert not path.exists()


def test_nothing_is_written_before_the_first_commit(path: Path) -> None:
    LibraryStore(path, task="t").commit([])
    assert contents(path.parent) == {}


def test_a_checkpoint_is_the_whole_library_and_ends_the_journal(path: Path, journal: Path) -> None:
    store = store_at(path, 5)
    assert store.checkpoint("parent").parent == "parent"
    assert not journal.exists()
    assert facts(ExperienceLibrary.load(path)) == facts(learned(5).as_version("parent"))
    store.commit([commit(6)])
    assert store.checkpoint().parent == "parent"
    assert facts(LibraryStore(path).library) == facts(learned(6).as_version("parent"))


def test_a_commit_counts_once(path: Path) -> None:
    store = store_at(path, 3)
    store.commit([commit(2), commit(3), commit(4), commit(4)])
    assert facts(store.library) == facts(learned(4))
    assert facts(LibraryStore(path).commit([commit(1)])) == facts(learned(4))


def test_commits_of_no_run_all_count(path: Path) -> None:
    store = store_at(path)
    for _ in range(2):
        store.commit([Commit("", 0, (Insert(lesson("a")),))])
    assert store.library.seen == 2


def test_a_group_of_commits_is_synced_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_at(path, 1)
    calls: list[int] = []
    monkeypatch.setattr("os.fsync", calls.append)
    store.commit([commit(step) for step in range(2, 12)])
    assert len(calls) == 1
    assert facts(LibraryStore(path).library) == facts(learned(11))


def test_opening_gives_the_snapshots_on_the_way(path: Path) -> None:
    store_at(path, 3).checkpoint()
    store_at(path).commit([commit(4), commit(5)])
    store = LibraryStore(path)
    assert [facts(library) for library in store.replayed] == [facts(learned(n)) for n in (3, 4, 5)]
    store.checkpoint()
    assert store.replayed == ()


def test_a_fresh_store_moves_the_old_files_aside(path: Path) -> None:
    for n in (1, 2):
        store = store_at(path, n)
        store.checkpoint()
        store.commit([commit(n + 1)])
        path.with_name("library.versions.jsonl").write_text(str(n))
        assert len(LibraryStore.fresh(path, task="t").library) == 0
        backup = path.with_name(f"library.{n}.bak.json")
        assert facts(LibraryStore(backup).library) == facts(learned(n + 1))
        assert path.with_name(f"library.{n}.bak.versions.jsonl").read_text() == str(n)
    assert not path.exists()


def test_a_damaged_library_can_be_started_anew(path: Path, journal: Path) -> None:
    store_at(path, 2).checkpoint()
    path.write_text("{")
    store = LibraryStore.fresh(path, task="t")
    assert store.library.seen == 0
    assert path.with_name("library.1.bak.json").read_text() == "{"


def test_another_task_is_refused(path: Path) -> None:
    store_at(path, 1)
    with pytest.raises(LibraryError, match="learned on 't', not on 'u'"):
        LibraryStore(path, task="u")


def test_a_release_file_can_be_learned_on(path: Path) -> None:
    path.write_text(json.dumps([{"method": "old", "rules": []}]))
    store = LibraryStore(path, task="t")
    store.commit([commit(1)])
    assert facts(LibraryStore(path).library) == facts(store.library)
    store.checkpoint()
    assert [e.method for e in LibraryStore(path, task="t").library] == ["old", "method r 1"]


def test_what_could_not_be_read_back_is_not_written(path: Path) -> None:
    store = store_at(path, 1)
    before = contents(path.parent)
    for category in ("\ud800", 7, None):
        bad = Experience("golden", "m", category=category)  # type: ignore[arg-type]
        with pytest.raises(LibraryFormatError, match=r"step 3 of run 'r'.*Nothing of it was"):
            store.commit([commit(2), Commit("r", 3, (Insert(bad),))])
    assert contents(path.parent) == before
    assert facts(store.commit([commit(2)])) == facts(learned(2))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    store = store_at(path, 2)
    before = contents(path.parent)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync" if call == "fsync" else "pathlib.Path.replace", full)
        if call == "fsync":
            with pytest.raises(LibraryError, match="No space left"):
                store.commit([commit(3)])
        with pytest.raises(LibraryError, match="No space left"):
            store.checkpoint()
    assert contents(path.parent) == before
    assert facts(store.library) == facts(learned(2))
    store.commit([commit(3)])
    store.checkpoint()
    assert facts(LibraryStore(path).library) == facts(learned(3))


def test_a_lock_that_is_never_given_up_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = store_at(path, 1), LibraryStore(path)
    monkeypatch.setattr("flex_dspy.libraries.files.LOCK_SECONDS", 0.02)
    with other._exclusive(), pytest.raises(LibraryError, match="lock file: is held"):
        store.commit([commit(2)])


def test_threads_may_share_a_store(path: Path) -> None:
    store = store_at(path)

    def work(run: str) -> None:
        for step in range(1, 11):
            store.commit([commit(step, run)])

    threads = [threading.Thread(target=work, args=(f"run {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert store.library.runs == {f"run {n}": 10 for n in range(4)}
    assert facts(LibraryStore(path).library) == facts(store.library)


def test_opening_needs_no_language_model_library() -> None:
    heavy = "{'dspy', 'mlflow', 'litellm', 'rdkit', 'numpy'}"
    code = f"import sys, flex_dspy.libraries.store; print({heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], env=child_env(), capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


# -- two stores of one file --------------------------------------------------------------------------------


def test_stores_follow_each_other(path: Path) -> None:
    one, two = store_at(path), store_at(path)
    one.commit([commit(1)])
    two.commit([commit(2)])
    assert facts(one.refresh()) == facts(learned(2))
    two.checkpoint()
    two.commit([commit(3)])
    two.checkpoint()  # no journal, as ``one`` last saw, but another snapshot
    assert facts(one.commit([commit(4)])) == facts(learned(4))
    assert facts(two.refresh()) == facts(learned(4))


def test_a_store_reads_only_what_is_new(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = store_at(path, 20), LibraryStore(path)
    parsed: list[int] = []

    def noted(journal: Journal, line: bytes, seq: int, number: int) -> Commit:
        parsed.append(seq)
        return original(journal, line, seq, number)

    original = Journal._parse
    monkeypatch.setattr(Journal, "_parse", noted)
    one.commit([commit(21)])
    two.refresh()
    two.refresh()
    assert parsed == [21]


def test_a_store_does_not_follow_a_library_that_lost_its_commits(path: Path) -> None:
    store = store_at(path, 5)
    LibraryStore.fresh(path, task="t").commit([commit(step, "other") for step in range(1, 9)])
    before = contents(path.parent)
    for call in (store.refresh, store.checkpoint, lambda: store.commit([commit(6)])):
        with pytest.raises(LibraryError, match="no longer holds the 5 commits"):
            call()
    assert contents(path.parent) == before
    assert facts(store.library) == facts(learned(5))


def test_a_lost_journal_is_noticed(path: Path, journal: Path) -> None:
    store = store_at(path, 5)
    journal.unlink()
    with pytest.raises(LibraryError, match="no longer holds"):
        store.commit([commit(6)])


def test_a_cut_journal_is_noticed(path: Path, journal: Path) -> None:
    store = store_at(path, 5)
    os.truncate(journal, journal.stat().st_size - 10)
    with pytest.raises(LibraryFormatError, match="was cut off since it was read"):
        store.commit([commit(6)])


# -- after a crash -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [1, 60, 200, -1])
@pytest.mark.parametrize("padding", [b"", b"\0" * 300])
def test_a_line_cut_short_is_dropped_by_the_next_writer(
    path: Path, journal: Path, kept: int, padding: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store_at(path, 2)
    size = journal.stat().st_size
    store_at(path).commit([commit(3)])
    whole = journal.read_bytes()
    torn = whole[:size] + whole[size:][:kept] + padding
    journal.write_bytes(torn)
    with caplog.at_level(logging.WARNING):
        store = LibraryStore(path)
        assert facts(store.library) == facts(learned(2))
        assert (journal.read_bytes(), caplog.records) == (torn, [])
        store.commit([commit(3)])
        assert "dropping" in caplog.text
    assert journal.read_bytes() == whole


def test_a_crash_between_snapshot_and_journal_is_harmless(path: Path, journal: Path) -> None:
    store, other = store_at(path, 3), store_at(path)
    old_journal = journal.read_bytes()
    store.checkpoint()
    journal.write_bytes(old_journal)
    reopened = LibraryStore(path)
    assert facts(reopened.library) == facts(learned(3))
    assert facts(other.refresh()) == facts(learned(3))
    reopened.commit([commit(4)])
    assert facts(other.commit([commit(5)])) == facts(learned(5))
    assert len(journal.read_bytes().splitlines()) == 3
    assert facts(LibraryStore(path).library) == facts(learned(5))


def test_a_journal_of_another_snapshot_is_refused(path: Path, journal: Path) -> None:
    store = store_at(path, 3)
    store.checkpoint()
    store.commit([commit(4)])
    newer = ExperienceLibrary(list(learned(9, "other")), task="t", seen=9, runs={"other": 9})
    for text in (learned(2).to_json(), learned(3, "other").to_json(), newer.to_json()):
        path.write_text(text)
        before = contents(path.parent)
        with pytest.raises(LibraryFormatError, match="continues another library") as caught:
            LibraryStore(path)
        assert (caught.value.path, caught.value.place) == (journal, "line 1")
        assert contents(path.parent) == before
    path.unlink()
    with pytest.raises(LibraryFormatError, match="continues another library"):
        LibraryStore(path)


def test_a_newer_journal_says_upgrade(path: Path, journal: Path) -> None:
    store_at(path, 1)
    journal.write_text(journal.read_text().replace("flex-dspy-journal/1", "flex-dspy-journal/2"))
    with pytest.raises(LibraryVersionError):
        LibraryStore(path)


def test_what_a_killed_writer_left_is_cleared(path: Path) -> None:
    leftover = path.with_name(".library.json.0badcafe.tmp")
    leftover.write_text("half a libr")
    LibraryStore(path)
    assert not leftover.exists()


# -- damage ------------------------------------------------------------------------------------------------


def flipped_bit(raw: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ 1 << rng.randrange(8)]) + raw[at + 1 :]


def cut_end(raw: bytes, rng: random.Random) -> bytes:
    return raw[: rng.randrange(len(raw) - 2)]


def cut_middle(raw: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(raw) - 300)
    return raw[:at] + raw[at + rng.randrange(1, 300) :]


def grown(raw: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(raw))
    return raw[:at] + rng.choice([b"x" * 2_000_000, b"\n", b"{}\n", b"\0", b'"', b"[" * 5_000]) + raw[at:]


def lines_changed(raw: bytes, rng: random.Random) -> bytes:
    lines = raw.splitlines(keepends=True)
    a, b = rng.sample(range(len(lines) - 1), 2)
    how = rng.randrange(3)
    if how == 0:
        lines[a], lines[b] = lines[b], lines[a]
    elif how == 1:
        lines.insert(b, lines[a])
    else:
        del lines[a]
    return b"".join(lines)


def last_line_end(raw: bytes, rng: random.Random) -> bytes:
    return raw[:-1] + bytes([raw[-1] ^ 1 << rng.randrange(8)])


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    flipped_bit,
    flipped_bit,
    cut_end,
    cut_middle,
    grown,
    lines_changed,
    last_line_end,
]


@pytest.fixture(scope="module")
def learned_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of six commits and a journal of six more."""
    folder = tmp_path_factory.mktemp("learned")
    store = store_at(folder / "library.json", 6)
    store.checkpoint("parent")
    store.commit([commit(step) for step in range(7, 13)])
    return folder


@pytest.mark.parametrize("name", ["library.json", "library.journal.jsonl"])
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_no_damage_is_read_as_another_library(
    learned_folder: Path, path: Path, name: str, mutation: Callable[[bytes, random.Random], bytes]
) -> None:
    original, refused = contents(learned_folder), 0
    right = facts(LibraryStore(learned_folder / path.name).library)
    shorter = [facts(learned(steps).as_version("parent")) for steps in range(6, 12)]
    for seed in range(16):
        damaged = mutation(original[name], random.Random(f"{mutation.__name__} {name} {seed}"))
        for file, raw in {**original, name: damaged}.items():
            path.with_name(file).write_bytes(raw)
        try:
            found = facts(LibraryStore(path).library)
        except LibraryError:
            refused += 1
        else:
            cut_journal = name != path.name and original[name].startswith(damaged.rstrip(b"\0"))
            assert found == right or (cut_journal and found in shorter), seed
        assert contents(path.parent) == {**original, name: damaged}
    assert refused > 0 or mutation is cut_end or (mutation, name) == (last_line_end, "library.json")


# -- many processes ----------------------------------------------------------------------------------------

# One process imports, and forks a worker for each order: a kill costs milliseconds, not an import.
NURSERY = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from test_store import LibraryStore, Path, commit

def work(path, run, steps, every):
    store = LibraryStore(path, task="t")
    for step in range(store.library.runs.get(run, 0) + 1, steps + 1):
        store.commit([commit(step, run)])
        os.write(1, f"{run} {step}\\n".encode())
        if every and step % every == 0:
            store.checkpoint()

for line in sys.stdin:
    workers = []
    for order in json.loads(line):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work(*order)
                status = 0
            finally:
                os._exit(status)
        workers.append(pid)
    os.write(1, f"workers {' '.join(map(str, workers))}\\n".encode())
    codes = [os.waitpid(pid, 0)[1] for pid in workers]
    os.write(1, f"ended {' '.join(map(str, codes))}\\n".encode())
"""


def child_env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


class Nursery:
    """Workers that commit to a library, and print what was acknowledged."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", NURSERY, str(Path(__file__).parent)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=child_env(), start_new_session=True
        )

    def order(self, *orders: tuple[str, str, int, int]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(orders) + "\n")
        self.process.stdin.flush()

    def line(self) -> list[str]:
        assert self.process.stdout
        line = self.process.stdout.readline().split()
        assert line, "the nursery died"
        return line

    def close(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate(timeout=10)


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    if not hasattr(os, "fork"):
        pytest.skip("needs fork and SIGKILL")
    nursery = Nursery()
    yield nursery
    nursery.close()


def acknowledged(nursery: Nursery, kill_after: int, delay: float) -> tuple[int, str]:
    """Wait for some lines of one worker, kill it a moment later; its last line, and how it ended."""
    pid, last, count = 0, 0, 0
    while True:
        first, *rest = nursery.line()
        if first == "ended":
            return last, rest[0]
        if first == "workers":
            pid = int(rest[0])
        else:
            last, count = int(rest[0]), count + 1
        if pid and count >= kill_after:
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL)
            kill_after = 10**9


def test_a_kill_loses_nothing_that_was_acknowledged(path: Path, nursery: Nursery) -> None:
    rng, steps, kills = random.Random(4), 150, 0
    while kills < 20:
        nursery.order((str(path), "r", steps, 3))
        last, status = acknowledged(nursery, rng.randrange(1, 7), rng.random() * 0.006)
        assert status == str(int(signal.SIGKILL)), "a worker ended before its kill"
        kills += 1
        copied = path.parent / f"copy {kills}"
        shutil.copytree(path.parent, copied, ignore=shutil.ignore_patterns("copy*", "*.lock"))
        library = LibraryStore(copied / path.name).library
        assert library.runs["r"] in (last, last + 1)
        assert facts(library) == facts(learned(library.runs["r"]))
        if path.exists():
            ExperienceLibrary.load(path)
    nursery.order((str(path), "r", steps, 3))
    assert acknowledged(nursery, 10**9, 0) == (steps, "0")
    assert path.read_text(encoding="utf-8") == learned(steps).to_json()
    assert {p.name for p in path.parent.iterdir() if p.is_file()} == {"library.json", "library.lock"}


def test_eight_writers_lose_nothing_and_repeat_nothing(path: Path, nursery: Nursery) -> None:
    runs = [f"run {n}" for n in range(8)]
    nursery.order(*[(str(path), run, 25, 0 if n % 2 else 5 + n) for n, run in enumerate(runs)])
    while (line := nursery.line())[0] != "ended":
        pass
    assert line == ["ended", *["0"] * 8]
    library = LibraryStore(path).library
    assert library.seen == 200
    assert library.runs == dict.fromkeys(runs, 25)
    for run in runs:
        alone = learned(25, run)
        together = {e.id: e for e in library if e.method.startswith(f"method {run} ")}
        assert together.keys() == {e.id for e in alone}
        for entry in alone:
            twin = together[entry.id]
            assert (twin.rules, twin.precedents, twin.shown) == (entry.rules, entry.precedents, entry.shown)

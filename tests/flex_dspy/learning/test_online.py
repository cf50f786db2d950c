"""Learning from a deployed program: what is promised of every observation."""

import asyncio
import copy
import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import dspy
import pytest

from flex_dspy.core.errors import BudgetError, ConfigurationError, LibraryError, LibraryFormatError, ModelError
from flex_dspy.core.trajectory import Feedback
from flex_dspy.evaluation.settings import HOPELESS
from flex_dspy.evaluation.usage_log import UsageLog
from flex_dspy.learning.online import OnlineLearner
from flex_dspy.learning.verdicts import judge, observation
from flex_dspy.libraries.experience import Commit, Experience, Insert, Merge, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.models.spending import Ledger
from flex_dspy.programs import Actor, Critic, Updater, Verifier
from flex_dspy.programs.equip import equip
from flex_dspy.search.retrieval import ExperienceRetriever, retrievers
from flex_dspy.tracking.followed import FollowedLibrary
from tests.llm_server import Fault, LLMServer
from tests.scripted import FAMILIES, lesson, problems, student

KEY = "sk-a-very-secret-key"
JOURNAL = "library.observed.jsonl"


class ScriptedCritic(Critic):
    """Writes a lesson from the problem's number, sooner or later; some numbers are too much for it."""

    def __init__(self, *, delay: float = 0.0, fails_on: tuple[int, ...] = (), stuck_from: int = 10**6) -> None:
        super().__init__()
        self.delay, self.fails_on, self.stuck_from = delay, fails_on, stuck_from
        self.seen: list[tuple[Precedent, str]] = []

    async def aforward(self, precedent, trajectory=None):
        number = number_of(precedent.problem)
        if number >= self.stuck_from:
            await asyncio.sleep(3600)
        await asyncio.sleep(self.delay * (number * 7 % 5))
        self.seen.append((precedent, trajectory.text()))
        if number in self.fails_on:
            raise ValueError(f"case {number} is too much")
        said = lesson(number)
        rules = tuple(Rule(rule["text"]) for rule in said["rules"])
        entry = Experience(trajectory.zone, said["method"], rules, category=said["category"], precedents=(precedent,))
        return dspy.Prediction(experience=entry)


class ScriptedUpdater(Updater):
    """Merges families."""

    async def aforward(self, lesson, nearest):
        same = [entry for entry in nearest if (entry.zone, entry.category) == (lesson.zone, lesson.category)]
        return dspy.Prediction(edit=Merge(same[0].id, lesson) if same else Insert(lesson))


def number_of(problem: str) -> int:
    return int(re.search(r"\d+", problem)[0])


def learner(path: Path | None, **settings) -> OnlineLearner:
    scripted = {"critic": ScriptedCritic(), "updater": ScriptedUpdater(), "library": path}
    return OnlineLearner(dspy.Predict("problem -> answer"), **{**scripted, **settings})


def observe(online: OnlineLearner, numbers) -> None:
    for number in numbers:
        online.observe({"problem": f"Case {number}"}, {"answer": str(number)}, number % 3 > 0)


def learned(library: ExperienceLibrary) -> list[int]:
    """The cases that were learned from, in order, as often as they were."""
    return sorted(number_of(precedent.problem) for entry in library for precedent in entry.precedents)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "library.json"


@pytest.fixture
def server(llm_server: LLMServer) -> LLMServer:
    llm_server.script = student
    dspy.configure(lm=dspy.LM("openai/test", api_base=llm_server.url, api_key=KEY, cache=False, num_retries=0))
    return llm_server


# -- what a user sees --------------------------------------------------------------------------------------


def test_the_program_reads_what_was_learned_while_it_runs(server, path):
    with OnlineLearner(Actor("problem -> answer: int"), library=path) as online:
        case = problems(2)[1]
        answer = online.program(problem=case.problem)
        online.observe(case, answer, case.answer == answer.answer)
        online.flush(timeout=30)
        assert "Case" not in server.of("actor")[-1].inputs["experiences"]
        online.program(problem=case.problem)
        assert lesson(1)["method"] in server.of("actor")[-1].inputs["experiences"]
        entry = next(iter(online.library))
        assert (entry.zone, entry.precedents[0].answer) == ("warning", str(case.answer))
    assert len(ExperienceLibrary.load(path)) == 1
    for file in path.parent.iterdir():
        assert KEY.encode() not in file.read_bytes()


@pytest.mark.parametrize("follow", [True, False])
def test_new_versions_are_read_when_asked_to(path, follow):
    with learner(path, follow=follow) as online:
        retriever = retrievers(online.program)[0]
        twin = retrievers(copy.deepcopy(online.program))[0]
        observe(online, [1])
        online.flush(30)
        assert len(retriever.library) == len(twin.library) == int(follow)
        online.refresh()
        assert len(retriever.library) == len(twin.library) == 1
        online.program.save(path.parent / "program", save_program=True)
        elsewhere = retrievers(dspy.load(path.parent / "program", allow_pickle=True))[0]
        observe(online, [2])
        online.flush(30)
        assert len(elsewhere.library) == 1 + follow


def test_a_problem_asked_again_is_answered_with_what_it_taught_unless_told_otherwise(path):
    for exclude_self in (False, True):
        with learner(path, exclude_self=exclude_self) as online:
            observe(online, [1])
            online.flush(30)
            found = retrievers(online.program)[0](query="Case 1", exclude="Case 1").hits
            assert len(found) == (not exclude_self)


def test_a_program_with_experience_goes_on_from_it_in_memory():
    before = ExperienceLibrary([Experience("golden", "Known before.")], task="dice")
    program = equip(dspy.Predict("problem -> answer"), before)
    with OnlineLearner(program, critic=ScriptedCritic(), updater=ScriptedUpdater()) as online:
        observe(online, [1, 2])
        online.flush(30)
        assert len(retrievers(online.program)[0].library) == 3
        assert len(retrievers(program)[0].library) == 1
        folder = online._journal.path.parent
    assert online.library.task == "dice"
    assert not folder.exists()


@pytest.mark.parametrize(
    ("verdict", "score", "feedback"),
    [
        (True, 1.0, ""),
        (0.25, 0.25, ""),
        ("wrong year", None, "wrong year"),
        (Feedback(0.0, "cannot be judged", failed=True), 0.0, "cannot be judged"),
        (dspy.Prediction(score=0.5, feedback="half"), 0.5, "half"),
        (dspy.Prediction(feedback="no score"), None, "no score"),
        ({"score": 1, "feedback": None}, 1.0, ""),
    ],
)
def test_every_form_of_verdict_is_taken(verdict, score, feedback):
    seen = observation({"a": 1, "b": "half \ud800"}, {"answer": [2], "none": None}, verdict)
    assert (seen.score, seen.feedback, seen.problem) == (score, feedback, "a: 1\nb: half \ufffd")
    assert seen.outputs == {"answer": "[2]"}


@pytest.mark.parametrize("verdict", [None, "", " ", [1], {}, {"score": "good"}])
def test_what_is_no_verdict_is_refused(verdict):
    with pytest.raises(ConfigurationError, match="observed with"):
        observation({"a": 1}, {"answer": 2}, verdict)


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="nan"):
        observation({"a": 1}, {"answer": 2}, float("nan"))


def test_a_remark_is_read_by_the_verifier_and_the_reference_taken_out_of_it(path, server):
    server.script = lambda role, inputs, messages: {"accepted": "thanks" in inputs["attempt"], "feedback": "so"}
    critic = ScriptedCritic()
    with learner(path, critic=critic) as online:
        case = dspy.Example(problem="Case 1", answer="purple-1234").with_inputs("problem")
        online.observe(case, {"answer": "red"}, "no, it is purple-1234")
        online.observe({"problem": "Case 2"}, {"answer": "blue"}, "thanks")
    (first, text), (second, _) = sorted(critic.seen, key=lambda seen: seen[0].problem)
    assert "purple-1234" not in text
    assert "taken out" in text
    assert first.answer == "purple-1234"
    assert second.answer.startswith("answer: blue (not verified") or second.answer.startswith("blue (not verified")
    assert {entry.zone for entry in online.library} == {"warning", "golden"}
    assert len(server.of("verifier")) == 2


def test_a_threshold_decides_what_is_a_success(path):
    with learner(path, threshold=0.5) as online:
        online.observe({"problem": "Case 1"}, {"answer": "1"}, 0.6)
        online.observe({"problem": "Case 2"}, {"answer": "2"}, 0.4)
        online.observe({"problem": "Case 3"}, {"answer": "3"}, Feedback(0.9, failed=True))
    assert online.library.sizes() == {"golden": 1, "warning": 2, "mixed": 0}


def test_what_was_relied_on_is_counted(path):
    with learner(path) as online:
        observe(online, [1])
        online.flush(30)
        (entry,) = online.library
        online.observe({"problem": "Case 2"}, {"answer": "2", "experiences_used": [entry.id]}, True)
        online.observe({"problem": "Case 3"}, {"answer": "3"}, 0.5, shown=[entry.id])
    counted = online.library[entry.id]
    assert (counted.shown, counted.helped, counted.hurt) == (2, 1, 0)
    assert [(use.score, use.relied) for use in UsageLog(path).read()] == [(1.0, (entry.id,)), (0.5, ())]


def test_versions_are_published_every_so_often_and_tracked(path):
    class Tracker:
        versions, ended = [], False

        def start(self, params):
            assert params["window"] == 8

        def log_version(self, version):
            self.versions.append((version.step, version.library.parent, dict(version.metrics)))

        def finish(self, artifacts=()):
            self.ended = True

    tracker = Tracker()
    with learner(path, publish_every=3, tracker=tracker) as online:
        observe(online, range(7))
        online.flush(30)
        assert [record.step for record in online.versions] == [3, 6]
        assert ExperienceLibrary.load(path).hash == online.versions[1].hash == LibraryStore(path).replayed[0].hash
        assert online.publish() == online.library.hash
    assert [step for step, _, _ in tracker.versions] == [3, 6, 7]
    assert [parent for _, parent, _ in tracker.versions[1:]] == [record.hash for record in online.versions[:2]]
    assert tracker.versions[0][2] == {"solved": pytest.approx(2 / 3), "n": 3}
    assert tracker.ended


@pytest.mark.parametrize("setting", ["concurrency", "window", "publish_every"])
def test_numbers_must_be_positive(setting):
    with pytest.raises(ConfigurationError, match=setting):
        learner(None, **{setting: 0})


# -- the same library, whatever the timing -----------------------------------------------------------------


def test_concurrency_and_the_time_of_arrival_change_nothing(path):
    hashes = set()
    for number, (concurrency, pause) in enumerate([(1, 0), (8, 0), (8, 7)]):
        file = path.with_name(f"{number}.json")
        with learner(file, concurrency=concurrency, critic=ScriptedCritic(delay=0.002), publish_every=25) as online:
            for case in range(60):
                observe(online, [case])
                if pause and case % pause == 0:
                    online.flush(30)
            online.flush(30)
        assert learned(online.library) == list(range(60))
        hashes.add(online.library.hash)
    assert len(hashes) == 1
    assert sum(entry.merged for entry in online.library) > FAMILIES / 2


def test_threads_and_running_event_loops_may_observe(path):
    async def deployment():
        await asyncio.sleep(0)
        observe(online, range(100, 110))

    with learner(path) as online:
        threads = [threading.Thread(target=observe, args=(online, range(n, 40, 4))) for n in range(4)]
        for thread in threads:
            thread.start()
        asyncio.run(deployment())
        for thread in threads:
            thread.join()
    assert learned(online.library) == [*range(40), *range(100, 110)]


def test_observing_takes_less_than_a_millisecond_beside_the_disk(path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)
    with learner(path, critic=ScriptedCritic(stuck_from=0)) as online:
        times = []
        for number in range(200):
            start = time.perf_counter()
            observe(online, [number])
            times.append(time.perf_counter() - start)
        online.close(timeout=0)
    assert statistics.median(times) < 0.001


def test_it_is_on_the_disk_before_observe_returns(path, monkeypatch):
    forced, force = [], os.fsync

    def fsync(file):
        forced.append((path.parent / JOURNAL).read_bytes())
        force(file)

    with learner(path, critic=ScriptedCritic(stuck_from=0)) as online:
        monkeypatch.setattr(os, "fsync", fsync)
        observe(online, [41])
        assert b"Case 41" in forced[-1]
        online.close(timeout=0)


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
@pytest.mark.parametrize("is_store", [False, True])
def test_what_starts_online_is_its_owners_alone(path, is_store):
    with learner(LibraryStore(path) if is_store else path) as online:
        online.observe({"problem": "Case 1"}, {"answer": "4111 1111 1111 1111", "experiences_used": ["a"]}, True)
        online.flush(30)
        online.publish()
        observe(online, [2])
    found = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
    if is_store:  # made before, and empty
        del found["library.lock"]
    assert set(found.values()) == {0o600}
    assert {"library.json", "library.outcomes.jsonl", "library.versions.jsonl", JOURNAL} <= found.keys()


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_a_library_that_was_there_keeps_its_mode_and_what_users_say_is_private(path):
    ExperienceLibrary().save(path)
    path.chmod(0o640)
    with learner(path) as online:
        observe(online, [1])
    assert path.stat().st_mode & 0o777 == 0o640
    assert (path.parent / JOURNAL).stat().st_mode & 0o777 == 0o600


def test_an_observation_made_again_after_a_failure_is_learned_once(path, monkeypatch):
    own, sync = threading.get_ident(), os.fsync

    def full(file):
        if threading.get_ident() != own:  # the writer's thread may still empty the journal of what it has learned
            return sync(file)
        raise OSError(28, "No space left on device")

    with learner(path) as online:
        observe(online, [0])
        online.flush(30)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(LibraryError, match="No space left"):
                observe(online, [1])
        assert online.pending == 0
        observe(online, [1])
    assert learned(online.library) == [0, 1]


def test_one_id_is_learned_once_after_a_restart_too(path):
    for _ in range(2):
        with learner(path) as online:
            for number in (1, 2, 1, 2, 3):
                online.observe({"problem": f"Case {number}"}, {"answer": "x"}, True, id=f"request {number}")
                online.flush(30)
        assert learned(online.library) == [1, 2, 3]
    assert "request" not in (path.parent / "library.observed.ids").read_text()


# -- nothing lost, nothing twice ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.flex_dspy.learning.test_online"])
    return context


def _observe_and_hang(path: Path, stuck_from: int, ready) -> None:
    online = learner(path, critic=ScriptedCritic(stuck_from=stuck_from))
    observe(online, range(12))
    while online.library.seen < stuck_from:
        time.sleep(0.001)
    ready.set()
    time.sleep(3600)


def test_killed_and_opened_again_it_goes_on_where_it_stood(path, processes):
    with learner(path.with_name("alone.json")) as alone:
        observe(alone, range(20))
    ready = processes.Event()
    child = processes.Process(target=_observe_and_hang, args=(path, 5, ready), daemon=True)
    child.start()
    assert ready.wait(60)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert learned(LibraryStore(path).library) == list(range(5))
    with (path.parent / JOURNAL).open("ab") as file:
        file.write(b'{"step":13,"sum":"0')  # as a crash leaves it
    critic = ScriptedCritic()
    with learner(path, critic=critic) as online:
        observe(online, range(12, 20))
    assert sorted(number_of(precedent.problem) for precedent, _ in critic.seen) == list(range(5, 20))
    assert learned(online.library) == list(range(20))
    assert online.library.seen == 20
    assert online.library.hash == alone.library.hash
    assert (path.parent / JOURNAL).read_bytes().count(b"\n") == 1  # nothing that users said stays behind


def _observe_some(path: Path, numbers: range, barrier) -> None:
    with learner(path, critic=ScriptedCritic(delay=0.001)) as online:
        barrier.wait(60)
        observe(online, numbers)


def test_two_processes_learn_into_one_file_and_see_each_other(path, processes):
    barrier = processes.Barrier(3)
    with learner(path) as online:
        children = [
            processes.Process(target=_observe_some, args=(path, range(start, start + 30), barrier), daemon=True)
            for start in (0, 30)
        ]
        for child in children:
            child.start()
        barrier.wait(60)
        observe(online, range(60, 90))
        for child in children:
            child.join(60)
            assert child.exitcode == 0
        online.flush(30)
        deadline = time.monotonic() + 10
        while len(learned(retrievers(online.program)[0].library)) < 90 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert learned(retrievers(online.program)[0].library) == list(range(90))
    assert LibraryStore(path).library.seen == 90


def test_what_another_process_left_behind_is_learned_too(path):
    first, second = learner(path), learner(path, critic=ScriptedCritic(stuck_from=0))
    observe(first, [1])
    observe(second, [2, 3])
    first.flush(30)
    first.close()
    second.close(timeout=0)
    assert (path.parent / "library.observed.2.jsonl").exists()
    with learner(path) as online:
        online.flush(30)
        assert learned(online.library) == [1, 2, 3]
    assert not (path.parent / "library.observed.2.jsonl").exists()


def test_closing_leaves_a_whole_file_of_what_a_killed_process_committed(path):
    entry = Experience("golden", "One.")
    LibraryStore(path).commit([Commit("another run", 1, (Insert(entry),))])
    assert not path.exists()
    learner(path).close()
    assert [each.method for each in ExperienceLibrary.load(path)] == ["One."]


def test_a_damaged_journal_is_an_error_that_names_the_line(path):
    online = learner(path, critic=ScriptedCritic(stuck_from=0))
    observe(online, range(3))
    online.close(timeout=0)
    journal = path.parent / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole.replace(b"Case 1", b"Case 7"))
    online = learner(path)
    with pytest.raises(LibraryFormatError, match="line 3"):
        online.flush(30)
    online.close()
    journal.write_bytes(b"something else\n")
    with pytest.raises(LibraryFormatError, match="line 1"):
        learner(path)
    journal.write_bytes(whole)
    with learner(path) as online:
        online.flush(30)
    assert learned(online.library) == [0, 1, 2]


def test_a_program_that_closes_nothing_ends_at_once_and_loses_nothing(path):
    script = (
        "import sys, asyncio\n"
        "from pathlib import Path\n"
        "from tests.flex_dspy.learning.test_online import *\n"
        "online = learner(Path(sys.argv[1]), critic=ScriptedCritic(stuck_from=1))\n"
        "observe(online, range(3))\n"
        "print('observed', flush=True)\n"
    )
    root = Path(__file__).parents[3]
    command = [sys.executable, "-W", "error", "-c", script, str(path)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        said = time.monotonic()
        assert process.wait(30) == 0
        assert time.monotonic() - said < 5
        assert process.stderr.read() == b""
    with learner(path) as online:
        online.flush(30)
        assert learned(online.library) == [0, 1, 2]


def test_a_closed_learner_takes_nothing(path):
    online = learner(path)
    online.close()
    online.close()
    for call in (lambda: observe(online, [1]), online.flush, online.publish):
        with pytest.raises(ConfigurationError, match="closed"):
            call()


def test_a_learner_is_of_no_use_in_a_forked_process(path):
    with learner(path) as online:
        process, online._process = online._process, -1
        with pytest.raises(ConfigurationError, match="forked"):
            observe(online, [1])
        online._process = process


def test_flush_gives_up_in_time(path):
    online = learner(path, critic=ScriptedCritic(stuck_from=0))
    observe(online, [1])
    with pytest.raises(TimeoutError, match="1 observations"):
        online.flush(0.01)
    online.close(timeout=0)


# -- when something fails ----------------------------------------------------------------------------------


def test_a_failing_observation_is_reported_and_passed_over(path):
    with learner(path, critic=ScriptedCritic(fails_on=(3, 4, 9))) as online:
        observe(online, range(10))
        online.flush(30)
        assert Counter(failure.error for failure in online.failures) == {
            f"ValueError: case {number} is too much": 1 for number in (3, 4, 9)
        }
    assert learned(online.library) == [0, 1, 2, 5, 6, 7, 8]
    with learner(path) as online:  # the last one: nothing came after it that would show whose fault it was
        online.flush(30)
        assert learned(online.library) == [0, 1, 2, 5, 6, 7, 8, 9]


def test_when_all_fail_learning_stops_and_nothing_is_given_up(path):
    online = learner(path, critic=ScriptedCritic(fails_on=tuple(range(HOPELESS + 5))))
    told = 0
    for number in range(HOPELESS + 5):
        try:
            observe(online, [number])
        except ModelError:
            told += 1
    assert told <= 1
    with pytest.raises(ModelError, match=f"last {HOPELESS} observations all failed"):
        online.flush(30)
    online.close()
    with learner(path) as again:
        again.flush(30)
        assert learned(again.library) == list(range(HOPELESS + 5))


@pytest.mark.parametrize(("points", "accepted"), [(0.3, True), (1.0, False)])
def test_a_metrics_own_word_on_success_is_kept(points, accepted):
    verdict = dspy.Prediction(score=points, feedback="so", accepted=accepted)
    seen = observation({"a": 1}, {"answer": 2}, verdict)
    assert asyncio.run(judge(seen, Verifier())).accepted == accepted


def test_a_wrong_key_stops_learning_is_said_once_and_costs_no_observation(path, server):
    server.script = lambda role, inputs, messages: Fault(401)
    online = learner(path, critic=Critic())
    observe(online, [1])
    deadline = time.monotonic() + 10
    while online.error is None and time.monotonic() < deadline:
        time.sleep(0.005)
    with pytest.raises(ModelError, match="cannot be used"):
        observe(online, [2])
    observe(online, [3])
    with pytest.raises(ModelError):
        online.flush(30)
    online.close()
    with learner(path) as again:
        again.flush(30)
        assert learned(again.library) == [1, 2, 3]


def test_a_spent_budget_stops_learning_and_observations_are_kept(path, server):
    *cases, last = problems(13)
    ledger = Ledger(budget_tokens=4_000)
    online = learner(path, critic=Critic(), ledger=ledger, concurrency=2)
    for case in cases:
        online.observe(case, {"answer": 0}, False)
    with pytest.raises(BudgetError):
        online.flush(30)
    online.observe(last, {"answer": 1}, False)
    online.close()
    assert ledger.total.tokens == server.usage["all"].prompt_tokens + server.usage["all"].completion_tokens
    assert 0 < len(learned(online.library)) < 12
    with learner(path) as again:
        again.flush(30)
        assert learned(again.library) == list(range(13))


# -- following a library of another process ----------------------------------------------------------------


@pytest.mark.parametrize("program", [dspy.Predict("problem -> answer"), Actor("problem -> answer")])
def test_an_equipped_program_follows_a_library(path, program):
    ExperienceLibrary([Experience("golden", "One.")]).save(path)
    equipped = equip(program, FollowedLibrary(path, every=0))
    programs = [equipped, copy.deepcopy(equipped), equipped.reset_copy()]
    ExperienceLibrary([Experience("golden", "One."), Experience("golden", "Two.")]).save(path)
    assert [len(retrievers(each)[0].library) for each in programs] == [2, 2, 2]
    state = equipped.dump_state()
    ExperienceLibrary([Experience("golden", "Three.")]).save(path)
    equipped.load_state(state)
    assert [entry.method for entry in retrievers(equipped)[0].library] == ["Three."]


def test_a_followers_state_holds_its_snapshot_and_its_program_goes_on_following(path):
    ExperienceLibrary([Experience("golden", "One.")]).save(path)
    retriever = ExperienceRetriever(FollowedLibrary(path, every=0), views=["lexical"], embed=True)
    state = retriever.dump_state()
    assert state["library_hash"] == ExperienceLibrary.load(path).hash
    fixed = ExperienceRetriever(views=["lexical"])
    fixed.load_state(state)
    equip(dspy.Predict("problem -> answer"), retriever).save(path.parent / "program", save_program=True)
    twin = retrievers(dspy.load(path.parent / "program", allow_pickle=True))[0]
    ExperienceLibrary().save(path)
    assert [len(each.library) for each in (retriever, fixed, twin)] == [0, 1, 0]

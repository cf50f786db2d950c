"""The optimizer: what it promises of the library it learns."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import dspy
import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.learning.forward import ForwardLearning
from flex_dspy.learning.sources import stops
from flex_dspy.learning.versions import VersionLog
from flex_dspy.libraries.experience import Approve
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.libraries.store import LibraryStore
from flex_dspy.models.lm import language_model
from flex_dspy.search.retrieval import retrievers
from flex_dspy.tasks.registry import get_task

pytestmark = pytest.mark.usefixtures("shared_chemists")

TASK = get_task("uspto50k")


def learn(path: Path | None, *, examples: int = 60, validation: int = 0, **settings: object) -> ForwardLearning:
    """Learn from the shipped reactions with the offline chemist."""
    train = TASK.load("train").examples[:examples]
    val = TASK.load("val").examples[:validation]
    store = ExperienceLibrary(task=TASK.name) if path is None else LibraryStore(path, task=TASK.name)
    defaults = {"max_rollouts": 1, "max_rounds": 2, "progress": False, "window": 8}
    with dspy.context(lm=language_model("offline", expert="chemist")):
        optimizer = ForwardLearning(TASK.metric, library=store, **{**defaults, **settings})
        optimizer.learned = optimizer.compile(TASK.actor(), trainset=train, valset=val)
    return optimizer


def test_the_library_rises_and_every_version_is_measured(tmp_path):
    optimizer = learn(tmp_path / "library.json", examples=120, validation=30)
    assert [record.step for record in optimizer.versions] == stops(120, None)
    first, last = optimizer.versions[0], optimizer.versions[-1]
    assert first.metrics["accuracy"] <= 0.03
    assert last.metrics["accuracy"] >= 0.3
    assert last.sizes["mixed"] > 0  # an entry gathers the successes and failures of a reaction type
    assert [record.parent for record in optimizer.versions[1:]] == [r.hash for r in optimizer.versions[:-1]]
    assert ExperienceLibrary.load(tmp_path / "library.json").hash == last.hash
    assert (tmp_path / "library.png").stat().st_size > 10_000


def test_approved_lessons_are_gathered_as_without_review(tmp_path):
    learn(tmp_path / "library.json", examples=30, study=True, review=True)
    store = LibraryStore(tmp_path / "library.json")
    lessons = [lesson for lesson in store.library.waiting if lesson.rules]
    approved = store.edit([Approve(lesson.id) for lesson in lessons])
    categories = [entry.category for entry in approved]
    assert sorted(categories) == sorted({lesson.category for lesson in lessons})
    assert len(categories) < len(lessons)
    assert sum(len(entry.precedents) for entry in approved) == sum(len(lesson.precedents) for lesson in lessons)


def test_the_learned_program_reads_the_library_and_the_student_does_not():
    train = TASK.load("train").examples[:40]
    with dspy.context(lm=language_model("offline", expert="chemist")):
        student = TASK.actor()
        learned = ForwardLearning(TASK.metric, study=True, progress=False).compile(student, trainset=train)
        assert len(student.retriever.library) == 0
        assert len(learned.retriever.library) > 10
        assert {"reactants", "alternatives"} <= set(learned(product=train[0].product).keys())


def test_learning_goes_on_from_what_the_student_has():
    train = TASK.load("train").examples[:40]
    with dspy.context(lm=language_model("offline", expert="chemist")):
        optimizer = ForwardLearning(TASK.metric, study=True, progress=False)
        half = optimizer.compile(TASK.actor(), trainset=train[:20])
        whole = optimizer.compile(half, trainset=train[20:])
    before, after = half.retriever.library, whole.retriever.library
    assert after.task == TASK.name
    assert {entry.id for entry in before} <= {entry.id for entry in after}
    assert (before.precedent_count, after.precedent_count) == (20, 40)


def test_a_teacher_attempts_and_the_student_inherits():
    train, val = TASK.load("train").examples[:30], TASK.load("val").examples[:10]
    with dspy.context(lm=language_model("offline", expert="chemist")):
        student, teacher = TASK.actor(experience="none"), TASK.actor(k=7)
        optimizer = ForwardLearning(TASK.metric, max_rounds=1, max_rollouts=1, window=4, progress=False)
        learned = optimizer.compile(student, teacher=teacher, trainset=train, valset=val)
    assert learned.experience == "none"
    assert len(learned.retriever.library) > 10
    assert max(entry.shown for entry in learned.retriever.library) > 0  # the teacher saw them
    assert optimizer.versions[-1].metrics["accuracy"] == 0  # and the student, who is shown none, was measured


# Without study each reaction is attempted and mapped twice: seconds of RDKit's work. The quick tests keep study.
@pytest.mark.parametrize("study", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_concurrency_changes_nothing(tmp_path, study):
    for concurrency in (1, 16):
        path = tmp_path / f"{concurrency}" / "library.json"
        learn(path, concurrency=concurrency, study=study, checkpoint_every=25)
    one, many = (tmp_path / name / "library.json" for name in ("1", "16"))
    assert one.read_bytes() == many.read_bytes()
    assert len(ExperienceLibrary.load(one)) > 10


def test_another_seed_gives_another_library():
    zero, one = (learn(None, examples=30, study=True, seed=seed).versions[-1].hash for seed in (0, 1))
    assert zero != one


def test_a_second_epoch_merges_rather_than_repeats():
    once = learn(None, examples=30, study=True).learned.retriever.library
    twice = learn(None, examples=30, study=True, epochs=2).learned.retriever.library
    assert twice.sizes() == once.sizes()
    assert twice.precedent_count == once.precedent_count
    assert sum(entry.merged for entry in twice) == sum(entry.merged for entry in once) + 30


def test_no_attempt_sees_its_own_solution():
    """With one example a type, and nothing else to learn from, a second epoch cannot solve more than the first."""
    product, reactants = "CCNC(=O)c1ccccc1", "CCN.O=C(O)c1ccccc1"
    example = dspy.Example(product=product, reactants=reactants).with_inputs("product")
    with dspy.context(lm=language_model("offline", expert="chemist")):
        optimizer = ForwardLearning(TASK.metric, epochs=3, max_rollouts=1, progress=False, window=1)
        learned = optimizer.compile(TASK.actor(), trainset=[example])
    assert learned.retriever.library.sizes() == {"golden": 0, "warning": 1, "mixed": 0}


def test_versions_are_spread_on_a_log_scale():
    assert stops(400, None) == [0, 50, 76, 115, 174, 264, 400]
    assert stops(10, None) == [0, 10]
    assert stops(60, None) == [0, 15, 20, 26, 34, 45, 60]
    assert stops(200, None) == [0, 50, 66, 87, 115, 152, 200]
    assert stops(10, 4) == [0, 4, 8, 10]


def test_a_finished_run_is_not_run_again(tmp_path):
    path = tmp_path / "library.json"
    learn(path, examples=20, study=True)
    before = path.stat().st_mtime_ns
    again = learn(path, examples=20, study=True)
    assert path.stat().st_mtime_ns == before
    assert again.versions[-1].step == 20


@pytest.mark.parametrize("setting", ["epochs", "concurrency", "window", "checkpoint_every", "max_rounds"])
def test_numbers_must_be_positive(setting):
    with pytest.raises(ConfigurationError, match=setting):
        learn(None, examples=5, **{setting: 0})


def test_a_student_without_experience_is_given_it(tmp_path):
    examples = TASK.load("train").examples[:3]
    bare = dspy.Predict("product -> reactants")
    with dspy.context(lm=language_model("offline", expert="chemist")):
        optimizer = ForwardLearning(TASK.metric, max_rollouts=1, max_rounds=1, progress=False)
        learned = optimizer.compile(bare, trainset=examples)
    assert len(retrievers(learned)[0].library)
    assert not retrievers(bare)


def test_a_student_without_a_predictor_is_refused():
    with pytest.raises(ConfigurationError, match="holds no predictor"):
        ForwardLearning(TASK.metric).compile(dspy.Module(), trainset=TASK.load("train").examples[:3])


# -- killed and resumed ------------------------------------------------------------------------------------


def _child(path: Path) -> None:
    learn(path, examples=60, max_rounds=3, checkpoint_every=30)


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed_it_learns_the_same_library(tmp_path):
    """A dozen SIGKILLs at random moments; no committed edit is ever missing afterwards."""
    alone = tmp_path / "alone" / "library.json"
    _child(alone)
    path = tmp_path / "killed" / "library.json"
    context = multiprocessing.get_context("forkserver")  # its children start with everything imported
    context.set_forkserver_preload(
        ["flex_dspy.learning.forward", "flex_dspy.tasks.uspto50k", "flex_dspy.offline.engine"]
    )
    randomness = random.Random(0)
    durable, kills = 0, 0
    while kills < 12:
        child = context.Process(target=_child, args=(path,))
        child.start()
        _wait_for_progress(path, durable, child)
        time.sleep(randomness.uniform(0, 0.1))
        if not child.is_alive():
            break
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        kills += 1
        library = LibraryStore(path).library
        assert library.seen >= durable
        durable = library.seen
    child = context.Process(target=_child, args=(path,))
    child.start()
    child.join(120)
    assert child.exitcode == 0
    assert path.read_bytes() == alone.read_bytes()
    assert [r.hash for r in _log(path).records] == [r.hash for r in _log(alone).records]
    assert kills >= 6


def _wait_for_progress(path: Path, durable: int, child: multiprocessing.Process) -> None:
    """Until the child has committed something new, or is done."""
    journal = path.with_name("library.journal.jsonl")
    size = journal.stat().st_size if journal.exists() else 0
    deadline = time.monotonic() + 60
    while child.is_alive() and time.monotonic() < deadline:
        if journal.exists() and journal.stat().st_size != size:
            return
        time.sleep(0.002)


def _log(path: Path) -> VersionLog:
    run = next(iter(ExperienceLibrary.load(path).runs))
    return VersionLog(path, run)


@pytest.mark.parametrize(
    ("student", "sets", "said"),
    [
        (None, {}, "the student must be a dspy.Module, got NoneType"),
        (dspy.Predict, {}, "the student must be a dspy.Module, got"),
        (dspy.Predict("a -> b"), {"teacher": "x"}, "the teacher must be a dspy.Module, got str"),
        (dspy.Predict("a -> b"), {"trainset": [{"a": "1"}]}, "a training example must be a dspy.Example, got dict"),
        (dspy.Predict("a -> b"), {"valset": "val"}, "a validation example must be a dspy.Example, got str"),
    ],
)
def test_arguments_of_another_kind_are_refused(student, sets, said):
    given = {"trainset": [dspy.Example(a="1", b="2").with_inputs("a")], **sets}
    with pytest.raises(ConfigurationError, match=said):
        ForwardLearning(TASK.metric, progress=False).compile(student, **given)

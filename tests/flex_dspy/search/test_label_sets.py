"""Labels that similar precedents make unlikely: how often the others hold the right one, and when all remain."""

import random
import threading

import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.libraries.experience import Commit, Experience, Insert, Precedent
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.label_sets import LEAST_ASKED, Calibration, Calibrations, calibrate
from flex_dspy.search.retrieval import ExperienceRetriever

LABELS = ("card", "loan", "rent", "tax", "wage")
WORDS = [f"word{number}" for number in range(60)]


def messages(count: int, seed: int) -> list[tuple[str, str]]:
    """Messages of twelve words. Each label has words of its own, but most words of a message are any words."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        place = number % len(LABELS)
        own = WORDS[place * 12 : place * 12 + 12]
        words = chance.choices(own, k=3) + chance.choices(WORDS, k=9)
        made.append((" ".join(words), LABELS[place]))
    return made


def library_of(cases, scope: str = "") -> ExperienceLibrary:
    return ExperienceLibrary(
        [Experience("golden", "", precedents=(Precedent(p, p, label),), scope=scope) for p, label in cases]
    )


def found(library, message, labels=LABELS, **settings):
    retriever = ExperienceRetriever(library, views=["precedents"], **settings)
    return retriever(message, picks_label=True, labels=labels, narrow=True)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_the_other_labels_hold_the_right_one_as_often_as_asked(coverage):
    retriever = ExperienceRetriever(library_of(messages(200, seed=1)), views=["precedents"], coverage=coverage)
    asked = messages(300, seed=2)
    unlikely = [retriever(message, picks_label=True, labels=LABELS, narrow=True).unlikely for message, _ in asked]
    kept = sum(label not in out for (_, label), out in zip(asked, unlikely, strict=True)) / len(asked)
    right = sum(retriever(message, picks_label=True).answers[0][0] == label for message, label in asked) / len(asked)
    assert right < coverage - 0.05  # so the likeliest label alone would not do
    assert abs(kept - coverage) < 0.06
    assert sum(map(len, unlikely)) > len(asked)


def test_full_coverage_leaves_all_labels():
    library = library_of(messages(200, seed=1))
    assert found(library, messages(1, seed=2)[0][0], coverage=1).unlikely == frozenset()


@pytest.mark.parametrize("coverage", [0, -0.1, 1.1])
def test_a_coverage_is_a_share(coverage):
    with pytest.raises(ConfigurationError, match="coverage must be"):
        ExperienceRetriever(coverage=coverage)


def test_a_label_without_precedents_is_never_unlikely():
    library = library_of(messages(200, seed=1))
    unlikely = found(library, messages(1, seed=2)[0][0], labels=("unseen", *LABELS), coverage=0.5).unlikely
    assert unlikely
    assert "unseen" not in unlikely


def test_a_label_with_one_precedent_is_never_unlikely():
    library = library_of([*messages(200, seed=1), ("apples and pears", "rare")])
    unlikely = found(library, messages(1, seed=2)[0][0], labels=("rare", *LABELS), coverage=0.5).unlikely
    assert unlikely
    assert "rare" not in unlikely


def test_few_precedents_leave_all_labels():
    message = messages(1, seed=2)[0][0]
    assert found(library_of(messages(LEAST_ASKED - 1, seed=1)), message, coverage=0.5).unlikely == frozenset()
    assert found(library_of(messages(LEAST_ASKED, seed=1)), message, coverage=0.5).unlikely


def test_answers_that_are_no_labels_leave_all_labels():
    library = library_of(messages(200, seed=1))
    assert found(library, messages(1, seed=2)[0][0], labels=("yes", "no"), coverage=0.5).unlikely == frozenset()


def test_many_labels_are_counted_though_few_of_them_repeat():
    """Of many labels, hardly one comes twice among the most similar precedents; declared ones need not."""
    labels = tuple(f"label{number}" for number in range(40))
    cases = [(f"message {word} {label}", label) for word in ("one", "two") for label in labels]
    retriever = ExperienceRetriever(library_of(cases), views=["precedents"], coverage=0.6)
    asked = "message three label7"
    assert retriever(asked, picks_label=True).answers == []
    known = retriever(asked, picks_label=True, labels=labels, narrow=True)
    assert known.answers[0][0] == "label7"
    assert len(known.unlikely) > 20


def test_no_counted_answers_leave_all_labels():
    library = library_of(messages(200, seed=1))
    assert found(library, messages(1, seed=2)[0][0], coverage=0.5, tally=0).unlikely == frozenset()
    assert found(library, "nothing alike", coverage=0.5).unlikely == frozenset()


def test_the_likeliest_label_is_never_unlikely():
    calibration = Calibration(shares=(0.9,) * 100, known=frozenset("abc"))
    assert calibration.unlikely({"a": 0.4, "b": 0.3, "c": 0.3}, 0.9) == {"b", "c"}
    assert calibration.unlikely({"a": 0.5, "b": 0.5}, 0.9) == {"c"}
    assert calibration.unlikely({}, 0.9) == frozenset()


def test_the_least_share_is_a_quantile():
    calibration = Calibration(shares=tuple(number / 100 for number in range(99)))
    assert calibration.least_share(0.9) == 0.09  # 9 of 99 are smaller
    assert calibration.least_share(0.999) == 0.0  # too few to tell


def test_a_precedent_is_asked_about_without_itself():
    library = library_of(messages(60, seed=1))
    asked: list[str] = []

    def similar(problem):
        asked.append(problem)
        return []

    made = calibrate([each for entry in library for each in entry.precedents], LABELS, 24, similar)
    assert sorted(asked) == sorted(problem for problem, _ in messages(60, seed=1))
    assert made.shares == (0.0,) * 60


def test_other_scopes_do_not_count():
    own, others = messages(100, seed=1), messages(200, seed=3)
    both = ExperienceLibrary([*library_of(own), *library_of(others, scope="other")])
    message = messages(1, seed=2)[0][0]
    alone = found(library_of(own), message)
    assert found(both, message).unlikely == alone.unlikely
    assert found(library_of(others, scope="other"), message).unlikely == frozenset()


def test_each_snapshot_has_its_own_calibration():
    cases = messages(200, seed=1)
    small = library_of(cases[: LEAST_ASKED - 5])
    grown = small.apply(Commit("", 0, tuple(map(Insert, library_of(cases[LEAST_ASKED - 5 :])))))
    message = messages(1, seed=2)[0][0]
    after = found(grown, message, coverage=0.5).unlikely
    assert after
    assert found(small, message, coverage=0.5).unlikely == frozenset()
    assert (
        found(grown, message, coverage=0.5).unlikely
        == after
        == found(ExperienceLibrary.from_json(grown.to_json()), message, coverage=0.5).unlikely
    )


def test_threads_make_a_calibration_once():
    calibrations, made, entered = Calibrations(), [], threading.Barrier(4)

    def make():
        made.append(threading.get_ident())
        return Calibration()

    def ask():
        entered.wait(10)
        calibrations.find("key", make)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(made) == 1


def test_threads_find_the_same_labels():
    library = library_of(messages(200, seed=1))
    asked = [message for message, _ in messages(20, seed=2)]
    alone = [found(library_of(messages(200, seed=1)), message).unlikely for message in asked]
    together: dict[str, frozenset[str]] = {}

    def ask(message):
        together[message] = found(library, message).unlikely

    threads = [threading.Thread(target=ask, args=(message,)) for message in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [together[message] for message in asked] == alone

"""Attempts in less space."""

from flex_dspy.core.shortening import elide, shorter_attempt, shorter_attempts
from flex_dspy.core.trajectory import Round, Trajectory


def round_of(number: int, length: int) -> Round:
    return Round({"reasoning": "w" * length, "answer": [number]}, 0.0, False, f"No {number}.")


def test_a_short_text_stays():
    assert elide("word", 4) == "word"
    assert elide("word", None) == "word"


def test_of_a_long_text_both_ends_stay():
    short = elide("first" + "w" * 1_000 + "last", 100)
    assert short.startswith("firstw")
    assert short.endswith("wlast")
    assert "[... 909 characters left out ...]" in short
    assert len(short) < 150


def test_each_form_is_shorter_and_keeps_answers_and_feedback():
    rollout = Trajectory(tuple(round_of(number, 9_000) for number in range(1, 6)))
    forms = list(shorter_attempts(rollout))
    assert forms[0] == rollout.text()
    assert [len(form) for form in forms] == sorted((len(form) for form in forms), reverse=True)
    assert all(f"answer: [{n}]" in forms[1] and f"No {n}." in forms[1] for n in range(1, 6))
    assert [f"No {n}." in forms[2] for n in range(1, 6)] == [True, False, False, False, True]
    assert "Attempt 5:" in forms[2]


def test_what_is_short_is_the_same_in_all_forms():
    rollout = Trajectory((round_of(1, 9), round_of(2, 9)))
    assert set(shorter_attempts(rollout)) == {rollout.text()}
    assert set(shorter_attempt("answer: 36")) == {"answer: 36"}

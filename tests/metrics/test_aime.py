import random

import dspy
import pytest

from flex_dspy.core.errors import DataError
from flex_dspy.metrics.aime import aime
from flex_dspy.metrics.gsm8k import gsm8k


def test_the_right_integer_scores_one_as_text_or_number():
    for reference in (73, "73", "073"):
        assert aime(dspy.Example(answer=reference), dspy.Prediction(answer="073")).score == 1.0
        assert aime(dspy.Example(answer=reference), dspy.Prediction(answer=73), None, "actor", []).score == 1.0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "no answer"),
        ("?", "not one integer"),
        (1000, "out of range"),
        ("-1", "out of range"),
        ("74", "74 is wrong"),
    ],
)
def test_feedback_names_the_fault(answer, words):
    result = aime(dspy.Example(answer=73), dspy.Prediction(answer=answer))
    assert result.score == 0.0
    assert words in result.feedback


def numbers(text):
    return "".join(letter if letter.isdigit() else " " for letter in text).split()


@pytest.mark.parametrize("answer", [None, "", "?", "1234", "-7", "500", "3/4", "12 or 13"])
def test_feedback_never_gives_the_reference_away(answer):
    for reference in range(1000):
        result = aime(dspy.Example(answer=reference), dspy.Prediction(answer=answer))
        if result.score == 0.0:
            assert str(reference) not in set(numbers(result.feedback)) - set(numbers(str(answer)))


def test_a_broken_reference_is_an_error():
    with pytest.raises(DataError, match="answer"):
        aime(dspy.Example(answer="?"), dspy.Prediction(answer="1"))


@pytest.mark.parametrize("metric", [aime, gsm8k])
def test_no_feedback_holds_the_reference_unless_the_answer_does(metric):
    rng = random.Random(0)
    pieces = [
        "1",
        "7",
        "42",
        "999",
        "-3",
        "1,000",
        "3/4",
        " or ",
        "x = ",
        r"\boxed{",
        "}",
        ".",
        " ",
        "The answer is ",
        "?",
    ]
    for _ in range(3000):
        reference, answer = rng.randrange(1000), "".join(rng.choices(pieces, k=rng.randrange(6)))
        result = metric(dspy.Example(answer=reference), dspy.Prediction(answer=answer))
        if result.score == 0.0:
            assert str(reference) not in set(numbers(result.feedback)) - set(numbers(answer.replace(",", "")))


def test_gsm8k_has_no_range():
    assert gsm8k(dspy.Example(answer=-1250), dspy.Prediction(answer="-1,250")).score == 1.0
    assert gsm8k(dspy.Example(answer=5), dspy.Prediction(answer=-1250)).feedback == "-1250 is wrong."
    with pytest.raises(DataError, match="answer"):
        gsm8k(dspy.Example(answer="1/2"), dspy.Prediction(answer="1"))

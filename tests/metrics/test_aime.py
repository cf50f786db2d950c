import dspy
import pytest

from flex_dspy.errors import DataError
from flex_dspy.metrics.aime import aime, integer_answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (73, 73),
        (73.0, 73),
        (73.5, None),
        (float("nan"), None),
        (float("inf"), None),
        (True, None),
        (None, None),
        ("", None),
        ("073", 73),
        ("000", 0),
        ("73.0", 73),
        ("73.5", None),
        (" $73$ ", 73),
        ("(73)", 73),
        ("-5", -5),
        ("1,234", 1234),
        ("1{,}000", 1000),
        ("60°", 60),
        (r"$60^{\circ}$", 60),
        ("60 degrees", 60),
        ("146/2", 73),
        ("3/4", None),
        ("3/0", None),
        (r"\frac{146}{2}", 73),
        (r"\boxed{073}", 73),
        (r"First \boxed{12}, no: $m+n=\boxed{\textbf{(113)}}$.", 113),
        (r"\boxed{\frac{3}{4}}", None),
        (r"\boxed{2\sqrt{3}}", None),
        (r"\boxed{x = 12}", 12),
        (r"\boxed{73\text{ cm}}", 73),
        (r"\boxed{12", 12),
        ("<answer> 12 </answer>", 12),
        ("Of 3 cases one is left. The answer is **42**.", 42),
        ("The answer is 42. I am sure that the answer is right.", 42),
        ("The final answer: 42", 42),
        ("The answer is 3/4, so m+n = 7.", 7),
        ("The answer is 2 + 3", None),
        ("We get 12 + 30 = 42.", 42),
        ("x_1 = 5", 5),
        ("48/2 = <<48/2=24>>24\n#### 1,250", 1250),
        ("I tried 3 ways and 4 more.", None),
        ("12 or 13", None),
        ("10-5", None),
        ("2^5", None),
        ("5!", None),
        ("12x", None),
        ("forty-two", None),
        ("9" * 5000, None),
    ],
)
def test_integer_answer(text, expected):
    assert integer_answer(text) == expected


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

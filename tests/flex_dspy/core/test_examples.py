"""What an example says: problem, reference, identity."""

import dspy
import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.examples import example_id, problem_of, problem_text, reference_of


def test_a_single_input_is_the_problem_itself() -> None:
    example = dspy.Example(question="2 + 2?", answer="4").with_inputs("question")
    assert problem_of(example) == "2 + 2?"
    assert reference_of(example, ["answer"]) == "4"


def test_several_inputs_are_named() -> None:
    example = dspy.Example(sequence="MK", mutation="A1G", score=0.5).with_inputs("sequence", "mutation")
    assert problem_of(example) == "sequence: MK\nmutation: A1G"
    assert reference_of(example, ["score"]) == "0.5"
    assert problem_text({"x": 3}) == "3"


def test_the_reference_holds_only_what_the_program_answers() -> None:
    example = dspy.Example(question="q", answer="a", source="book", note=None).with_inputs("question")
    assert reference_of(example, ["answer"]) == "a"
    assert reference_of(example, ["answer", "source"]) == "answer: a\nsource: book"
    assert reference_of(example, ["note"]) == ""
    assert reference_of(example, ["reasoning"]) == ""
    assert reference_of(example, []) == ""


@pytest.mark.parametrize(
    "example", [dspy.Example(question="q", answer="a"), dspy.Example(), dspy.Example(a=1).with_inputs()]
)
def test_an_example_without_inputs_is_refused_with_the_remedy(example: dspy.Example) -> None:
    with pytest.raises(ConfigurationError, match="with_inputs"):
        problem_of(example)


def test_identity_is_that_of_the_problem_alone() -> None:
    first = dspy.Example(question="q", answer="a", row=1).with_inputs("question")
    again = dspy.Example(row=7, answer="b", question="q").with_inputs("question")
    other = dspy.Example(question="q ", answer="a").with_inputs("question")
    assert example_id(first) == example_id(again) == "8e35c2cd3bf6"
    assert example_id(other) != example_id(first)

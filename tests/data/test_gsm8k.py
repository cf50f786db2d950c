import json

import pytest

from flex_dspy.core.errors import DataError
from flex_dspy.data import gsm8k


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("It is 48/2 = <<48/2=24>>24.\n#### 1,250", 1250),
        ("Down we go.\n#### -7", -7),
        ("3 #### 4 #### 5", 5),
        ("12", 12),
        (12, 12),
    ],
)
def test_the_answer_is_the_integer_behind_the_mark(answer, expected):
    example = gsm8k.to_example({"question": " How many? ", "answer": answer})
    assert (example.problem, example.answer) == ("How many?", expected)
    assert list(example.inputs().keys()) == ["problem"]
    assert "<<" not in str(example.toDict())


@pytest.mark.parametrize(
    "cells", [{}, {"question": "q"}, {"question": "q", "answer": "#### x"}, {"question": "", "answer": "#### 1"}]
)
def test_a_row_without_question_or_integer_is_refused(cells):
    with pytest.raises(ValueError, match="no "):
        gsm8k.to_example(cells)


def test_a_file_of_rows_loads_and_says_what_it_wants(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"question": f"q{i}", "answer": f"so\n#### {i}"}) + "\n" for i in range(3)))
    assert [example.answer for example in gsm8k.load(path).examples] == [0, 1, 2]
    path.write_text('{"a": 1}\n')
    with pytest.raises(DataError, match="final integer after ####"):
        gsm8k.load(path)

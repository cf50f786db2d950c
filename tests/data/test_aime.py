from pathlib import Path

import pytest

from flex_dspy.data import aime

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "aime"


@pytest.mark.parametrize(
    "cells",
    [
        {"problem": "p", "answer": "073", "id": 3},
        {"id": 3, "problem": "p", "solution": "s", "answer": "73", "url": "u", "year": "2024"},
        {"ID": "3", "Year": 1983, "Problem Number": 1, "Question": "p", "Answer": "73", "Part": None},
        {"question": "p", "answer": "48/2 = <<48/2=24>>24, 24 + 49 = 73\n#### 73", "id": "3"},
        {"question": "p", "answer": 73.0, "id": "3"},
    ],
)
def test_every_known_shape_gives_the_same_example(cells):
    example = aime.to_example(cells)
    assert (example.problem, example.answer, example.id) == ("p", 73, "3")
    assert list(example.inputs().keys()) == ["problem"]


@pytest.mark.parametrize(
    "cells", [{}, {"problem": " ", "answer": 1}, {"problem": "p"}, {"problem": "p", "answer": "x"}]
)
def test_a_row_without_problem_or_integer_is_refused(cells):
    with pytest.raises(ValueError, match="no "):
        aime.to_example(cells)


@pytest.mark.skipif(not REAL.exists(), reason="the real data is not here")
@pytest.mark.parametrize(("name", "rows"), [("aime_1983_2023", 919), ("aime_2024", 30), ("flex_train49", 49)])
def test_the_real_files_load_whole(name, rows):
    loaded = aime.load(REAL / f"{name}.jsonl")
    assert len(loaded.examples) == rows
    assert not loaded.bad_rows
    assert all(0 <= example.answer <= 999 for example in loaded.examples)

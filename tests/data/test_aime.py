import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from flex_dspy.data import aime
from flex_dspy.evaluation.problem_text import normal_text

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


def test_year_and_family_are_kept_beside_the_inputs_and_solutions_are_not():
    cells = {"id": "3", "problem": "p", "solution": "the secret", "answer": "73", "year": "2024", "family": "f"}
    example = aime.to_example(cells)
    assert example.toDict() == {"problem": "p", "answer": 73, "id": "3", "year": 2024, "family": "f"}
    assert list(example.inputs().keys()) == ["problem"]


def test_the_history_without_2024_leaves_2024_out(monkeypatch):
    rows = [{"ID": str(y), "Year": y, "Question": f"q{y}", "Answer": "1"} for y in (1983, 2023, 2024, 2024)]
    asked = []

    def load_dataset(*args, **kwargs):
        asked.append((args, kwargs))
        return rows

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    loaded = aime.load("aime-1983-2023")
    assert [example.year for example in loaded.examples] == [1983, 2023]
    assert loaded.bad_rows == []
    assert loaded.source == "aime-1983-2023"
    assert asked == [(("di-zhang-fdu/AIME_1983_2024", None), {"split": "train"})]
    assert len(aime.load("di-zhang-fdu/AIME_1983_2024@train").examples) == 4


@pytest.mark.skipif(not all(path.exists() for path in aime.SHIPPED.values()), reason="nothing is shipped yet")
def test_the_shipped_splits_load_whole_and_do_not_overlap():
    splits = {name: aime.load(name) for name in ("train", "val", "test")}
    assert not any(split.bad_rows for split in splits.values())
    keys = {name: {normal_text(e.problem) for e in split.examples} for name, split in splits.items()}
    assert all(len(keys[name]) == len(split.examples) for name, split in splits.items())
    assert len(set().union(*keys.values())) == sum(map(len, keys.values()))


@pytest.mark.skipif(not REAL.exists(), reason="the real data is not here")
@pytest.mark.parametrize(("name", "rows"), [("aime_1983_2023", 919), ("aime_2024", 30), ("flex_train49", 49)])
def test_the_real_files_load_whole(name, rows):
    loaded = aime.load(REAL / f"{name}.jsonl")
    assert len(loaded.examples) == rows
    assert not loaded.bad_rows
    assert all(0 <= example.answer <= 999 for example in loaded.examples)

"""The README's table of DSPy's features: what it says is tested, and what is tested here it says."""

import ast
import functools
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
README = TESTS.parent / "README.md"
HEADER = "| DSPy feature | works | how, or why not | test, in `tests/` |"


def table():
    """The rows, each as its four cells."""
    lines = README.read_text(encoding="utf-8").partition(f"\n{HEADER}\n")[2].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def named(cell):
    """The tests that a cell names."""
    return [name.strip().strip("`") for name in cell.split(",")]


@functools.cache
def functions_of(file):
    """A file's tests, as the table names them."""
    path = TESTS / file
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    functions = (node.name for node in tree.body if isinstance(node, ast.FunctionDef))
    return {f"{file}::{name}" for name in functions if name.startswith("test_")}


def test_every_row_names_tests_that_exist():
    rows = table()
    assert len(rows) > 30
    for feature, works, how, tests in rows:
        assert works in ("yes", "partly", "no"), feature
        assert how, feature
        for test in named(tests):
            assert test in functions_of(test.partition("::")[0]), feature


@pytest.mark.parametrize("file", ["compatibility/test_dspy.py", "compatibility/test_mlflow.py"])
def test_every_test_here_stands_in_a_row(file):
    assert functions_of(file) <= {test for *_, tests in table() for test in named(tests)}

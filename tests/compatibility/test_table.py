"""The table of DSPy's features: each row is tested, and each test here stands behind a row."""

import ast
import functools
import tomllib
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "compatibility.md"
HEADER = "| DSPy feature | works | how, or why not |"


def table():
    """The rows of the page, each as its three cells."""
    lines = PAGE.read_text(encoding="utf-8").partition(f"\n{HEADER}\n")[2].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def features():
    """The tests behind each row."""
    return tomllib.loads((TESTS / "compatibility" / "features.toml").read_text(encoding="utf-8"))


@functools.cache
def functions_of(file):
    """A file's tests, as the list names them."""
    path = TESTS / file
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    functions = (node.name for node in tree.body if isinstance(node, ast.FunctionDef))
    return {f"{file}::{name}" for name in functions if name.startswith("test_")}


def test_every_row_has_tests_that_exist():
    rows = table()
    assert len(rows) > 30
    tests = features()
    assert [feature for feature, *_ in rows] == list(tests)
    for feature, works, how in rows:
        assert works in ("yes", "partly", "no"), feature
        assert how, feature
        assert tests[feature], feature
        for test in tests[feature]:
            assert test in functions_of(test.partition("::")[0]), feature


@pytest.mark.parametrize("file", ["compatibility/test_dspy.py", "compatibility/test_mlflow.py"])
def test_every_test_here_stands_in_a_row(file):
    assert functions_of(file) <= {test for tests in features().values() for test in tests}

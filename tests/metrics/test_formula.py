"""The language of formulas: what it takes, what it refuses and where, and that nothing in it can do harm."""

import random

import numpy as np
import pytest

from flex_dspy.metrics import formula, formula_values
from flex_dspy.metrics.formula import FormulaError, canonical, parse
from flex_dspy.metrics.formula_values import Table, evaluate, mid_ranks, spearman
from tests.hostile_formulas import hostile

COLUMNS = ("ESM1b", "GEMME", "ProSST-20", "rank")
VALUES = np.array([[1.0, 4.0, -1.0, 0.0], [2.0, 4.0, 2.0, 0.0], [3.0, 0.0, 0.5, 0.0], [4.0, -2.0, 9.0, 1.0]])
TABLE = Table(COLUMNS, VALUES)


def value(text: str) -> list[float]:
    return evaluate(parse(text, COLUMNS), TABLE).tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ESM1b", [1, 2, 3, 4]),
        ('"ProSST-20"', [-1, 2, 0.5, 9]),
        ('"ESM1b" + 1', [2, 3, 4, 5]),
        ("1 - 2 - ESM1b", [-2, -3, -4, -5]),
        ("2 + 3 * ESM1b", [5, 8, 11, 14]),
        ("(2 + 3) * ESM1b", [5, 10, 15, 20]),
        ("8 / 2 / ESM1b", [4, 2, 4 / 3, 1]),
        ("-ESM1b * -2", [2, 4, 6, 8]),
        ("+ESM1b - -.5e0", [1.5, 2.5, 3.5, 4.5]),
        ("rank(ESM1b)", [0.125, 0.375, 0.625, 0.875]),
        ("rank(GEMME)", [0.75, 0.75, 0.375, 0.125]),
        ("rank(-ESM1b)", [0.875, 0.625, 0.375, 0.125]),
        ("rank + rank(rank)", [0.375, 0.375, 0.375, 1.875]),
        ("z(ESM1b)", [-1.3416407864998738, -0.4472135954999579, 0.4472135954999579, 1.3416407864998738]),
        ("z(ESM1b - ESM1b)", [0, 0, 0, 0]),
        ("abs(GEMME)", [4, 4, 0, 2]),
        ("log(ESM1b)", [0, np.log(2), np.log(3), np.log(4)]),
        ("log(GEMME)", [np.log(4), np.log(4), np.log(1e-9), np.log(1e-9)]),
        ("clip(GEMME, -1, 1)", [1, 1, 0, -1]),
        ("min(ESM1b, GEMME, 2)", [1, 2, 0, -2]),
        ("max(ESM1b, GEMME)", [4, 4, 3, 4]),
        ("mean(ESM1b, GEMME, 1)", [2, 7 / 3, 4 / 3, 1]),
        ("1 / GEMME", [0.25, 0.25, 0, -0.5]),
        (" ESM1b\n*\t2 ", [2, 4, 6, 8]),
    ],
)
def test_a_formula_has_the_value_that_it_says(text, expected):
    assert value(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("ESM1b + ESM1v", 9, "unknown column 'ESM1v'; nearest: ESM1b"),
        ("ProSST_20", 1, 'nearest: "ProSST-20"'),
        ("gemme", 1, "nearest: GEMME"),
        ("ESM1b +", 8, "expected a column, a number or a function, found the end"),
        ("ESM1b GEMME", 7, "'GEMME' after the end"),
        ("2 * (ESM1b", 11, "expected ')', found the end"),
        ("rank(ESM1b, GEMME)", 1, "rank takes 1 arguments, not 2"),
        ("max(ESM1b)", 1, "max takes at least 2 arguments, not 1"),
        ("clip(ESM1b, GEMME, 1)", 1, "clip takes a formula and two numbers"),
        ("sqrt(ESM1b)", 1, "unknown function 'sqrt'; functions are rank, z"),
        ("ESM1b**2", 6, "there is no power"),
        ("ESM1b^2", 6, "there is no power"),
        ("ESM1b.__class__", 6, "'.' has no place"),
        ("ESM1b \u2212 1", 7, "'\\u2212' has no place"),
        ('"ESM1b', 1, "a name in quotes has no end"),
        ("2e6*ESM1b", 1, "a number is at most 1e+06"),
        ("1 + 2", 1, "the formula uses no column"),
        ("", 1, "found the end"),
        ("(" * 40 + "ESM1b" + ")" * 40, 32, "nested more than 30 deep"),
        ("-" * 40 + "ESM1b", 32, "more than 30 signs in a row"),
        ("+".join(["ESM1b"] * 500), None, "a formula has at most 800 parts"),
        ("ESM1b" + " " * 8_000, 8_001, "at most 8000 characters"),
    ],
)
def test_what_is_no_formula_is_refused_with_the_place(text, place, problem):
    with pytest.raises(FormulaError) as caught:
        parse(text, COLUMNS)
    assert problem in str(caught.value)
    assert place is None or (caught.value.place == place and str(caught.value).startswith(f"at character {place}: "))


def test_the_columns_of_a_formula_are_listed_once_in_order():
    assert parse('GEMME - 2*(ESM1b + GEMME)/"ProSST-20"').columns == ("GEMME", "ESM1b", "ProSST-20")


def _random_formula(rng: random.Random, depth: int) -> str:
    if depth == 0 or rng.random() < 0.25:
        return rng.choice(("ESM1b", "GEMME", '"ProSST-20"', "2", "0.125"))
    one, two = (_random_formula(rng, depth - 1) for _ in range(2))
    return rng.choice((f"({one}) {rng.choice('+-*/')} ({two})", f"-({one})", f"max({one}, {two})", f"rank({one})"))


def test_what_a_formula_is_written_as_means_the_same():
    rng = random.Random(7)
    for _ in range(300):
        text = "GEMME - " + _random_formula(rng, 5)
        read = parse(text)
        again = parse(str(read))
        assert again == read, text
        assert np.array_equal(evaluate(again, TABLE), evaluate(read, TABLE))


def test_the_canonical_form_overlooks_blanks_and_idle_brackets_only():
    assert canonical(" (ESM1b)+2.0*rank( GEMME )") == canonical("ESM1b + 2*rank(GEMME)") == "ESM1b + 2 * rank(GEMME)"
    assert canonical("ESM1b - (GEMME - 1)") != canonical("ESM1b - GEMME - 1")
    assert canonical("no formula at all") is None


def test_equal_values_share_a_rank_and_correlation_is_that_of_the_ranks():
    a, b = np.array([3.0, 1.0, 3.0, 2.0, 9.0]), np.array([10.0, 20.0, 30.0, 40.0, 50.0])
    assert mid_ranks(a).tolist() == pytest.approx([0.6, 0.1, 0.6, 0.3, 0.9])
    ranks = np.array([3.5, 1, 3.5, 2, 5]), np.array([1, 2, 3, 4, 5])
    assert spearman(a, b) == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert spearman(a, -np.exp(b)) == pytest.approx(-spearman(a, b))
    assert spearman(a, np.ones(5)) == 0.0


def test_rows_that_are_taken_keep_the_ranks_that_columns_have_among_all():
    part = TABLE.take([0, 3])
    assert evaluate(parse("rank(ESM1b)"), part).tolist() == [0.125, 0.875]
    assert evaluate(parse("ESM1b"), part).tolist() == [1, 4]


def test_a_column_without_is_constant_and_the_table_stays_as_it_was():
    assert len(set(evaluate(parse("rank(ESM1b) + ESM1b"), TABLE.without("ESM1b")))) == 1
    assert value("ESM1b") == [1, 2, 3, 4]


def test_values_are_bounded_whatever_is_multiplied():
    huge = evaluate(parse("*".join(["(1000000*ESM1b)"] * 60) + "/(ESM1b-ESM1b)"), TABLE)
    assert huge.tolist() == [0, 0, 0, 0]
    assert np.abs(evaluate(parse("*".join(["(1000000*ESM1b)"] * 60)), TABLE)).max() == formula_values.LARGEST


def test_a_formula_for_other_columns_or_with_too_many_steps_is_not_evaluated():
    with pytest.raises(FormulaError, match="unknown column 'B'"):
        evaluate(parse("A + B"), Table(("A",), np.ones((3, 1))))
    costly = parse("+".join(["rank(ESM1b + GEMME)"] * 60), COLUMNS)
    assert len(evaluate(costly, TABLE)) == 4
    with pytest.raises(FormulaError, match="too many steps"):
        evaluate(costly, Table(COLUMNS, np.random.default_rng(0).normal(size=(5_000, 4))))


def test_a_weighted_sum_of_a_hundred_ranks_is_evaluated_on_any_number_of_rows():
    columns = tuple(f"model_{number}" for number in range(100))
    text = " - ".join(f"0.125*rank({name})" for name in columns)
    assert (
        len(evaluate(parse(text, columns), Table(columns, np.random.default_rng(0).normal(size=(20_000, 100)))))
        == 20_000
    )


def _tried(text: str, table: Table) -> tuple[np.ndarray, FormulaError | None]:
    try:
        return evaluate(parse(text, table.columns), table), None
    except FormulaError as error:
        return np.zeros(0), error


def test_a_thousand_hostile_formulas_are_refused_or_bounded(monkeypatch):
    """Bounded: finite values, in a number of steps that is counted. What they take in time is measured, not tested."""
    table = Table(tuple(f"C{n}" for n in range(30)), np.random.default_rng(0).normal(size=(1_000, 30)))
    steps: list[int] = []
    counted = formula_values._clip
    monkeypatch.setattr(formula_values, "_clip", lambda values: steps.append(len(values)) or counted(values))
    refused = 0
    for text in hostile(1_000, seed=1, columns=table.columns):
        steps.clear()
        values, error = _tried(text, table)
        if error is not None:
            refused += 1
            assert 1 <= error.place <= formula.MAX_LENGTH + 1
            assert len(str(error)) < 400
        else:
            assert values.shape == (1_000,)
            assert np.isfinite(values).all()
            assert np.abs(values).max() <= formula_values.LARGEST
        assert len(steps) <= 2 * formula.MAX_NODES
    assert 500 < refused < 1_000  # some are formulas, if odd ones


def test_no_column_can_be_reached_under_a_name_that_only_looks_like_it():
    assert value('"ESM1b"') == [1, 2, 3, 4]
    for text in ('"ESM1b\u200b"', "\uff25SM1b", '"\u0415SM1b"'):
        with pytest.raises(FormulaError):
            parse(text, COLUMNS)

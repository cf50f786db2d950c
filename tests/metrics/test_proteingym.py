"""What a formula is worth on labelled mutants, what the metric says of it, and what it must not know."""

import dataclasses

import dspy
import numpy as np
import pytest

from flex_dspy.core.errors import DataError
from flex_dspy.core.scoring import score
from flex_dspy.data import proteingym as data
from flex_dspy.data.assays import Assay
from flex_dspy.metrics.formula import FormulaError
from flex_dspy.metrics.formula_values import Table, spearman
from flex_dspy.metrics.proteingym import MARGIN, read_formula
from flex_dspy.tasks.proteingym import proteingym, score_held_out

ROWS = 200


def _assay() -> Assay:
    rng = np.random.default_rng(3)
    one, two, bias = rng.normal(size=(3, ROWS))
    fitness = one + two + 0.3 * rng.normal(size=ROWS)
    columns = {
        "One": one + bias,
        "Two": two + bias,
        "Bias": bias,
        "Against": -fitness,
        "Odd-name": rng.normal(size=ROWS),
    }
    names = tuple(columns)
    missing = dict.fromkeys(names, 0.0) | {"Bias": 0.07}
    return Assay(
        "MADE_1", tuple(map(str, range(ROWS))), fitness, Table(names, np.column_stack([*columns.values()])), missing
    )


ASSAY = _assay()


@pytest.fixture(autouse=True)
def _assay_at_hand(monkeypatch):
    monkeypatch.setattr(data.AssaySource, "assays", lambda source: {ASSAY.name: ASSAY})


def example(practice: int | None = None, split: int = 0, labelled: float = 100) -> dspy.Example:
    source = data.AssaySource("made", labelled, split, 0 if practice is None else 20)
    return data.to_example(ASSAY, source, practice or 0)


def judged(formula: object, gold: dspy.Example | None = None) -> dspy.Prediction:
    return proteingym(gold or example(), dspy.Prediction(formula=formula))


def test_the_score_is_the_mean_of_spearman_over_five_parts_of_the_labelled_mutants():
    shares = data.shares_of(example())
    values, measured = ASSAY.table.values[shares.labelled, 0], ASSAY.fitness[shares.labelled]
    parts = np.array_split(np.random.default_rng(100).permutation(100), 5)
    expected = np.mean([spearman(values[part], measured[part]) for part in parts])
    assert judged("One").score == pytest.approx(expected)


def test_in_practice_only_labelled_mutants_that_were_not_shown_judge():
    gold = example(practice=4)
    shares = data.shares_of(gold)
    rest = np.setdiff1d(shares.labelled, shares.shown)
    assert (len(shares.shown), len(rest)) == (67, 33)
    assert judged("One", gold).score == pytest.approx(spearman(ASSAY.table.values[rest, 0], ASSAY.fitness[rest]))
    assert "on 33 labelled mutants" in judged("One", gold).feedback


def test_a_formula_is_accepted_if_it_beats_the_best_single_column_by_the_margin(monkeypatch):
    table = Table(ASSAY.table.columns[:3], ASSAY.table.values[:, :3])
    without = dataclasses.replace(ASSAY, table=table)
    monkeypatch.setattr(data.AssaySource, "assays", lambda source: {ASSAY.name: without})
    good, same, worse = judged("rank(One) + rank(Two) - 2*rank(Bias)"), judged("One"), judged("rank(Bias)")
    assert good.accepted
    assert good.gain > 0.2
    assert good.score > same.score > worse.score
    assert not worse.accepted
    assert worse.gain < 0
    assert not same.accepted or same.gain >= MARGIN


def test_the_feedback_says_what_carried_the_formula_and_what_held_it_back():
    feedback = judged("rank(One) + rank(Two) + rank(Bias)").feedback
    carried, _, hurt = feedback.partition("Held back by: ")
    assert "Carried by (what is lost without it): " in carried
    assert "Two +0." in carried
    assert "One +0." in carried
    assert "Bias -0." in hurt
    assert "missing were filled by the column's median: Bias 7%." in feedback
    assert "a gain of -0." in feedback
    assert '"Odd-name" ' in judged('One + 2*z("Odd-name")').feedback


def test_a_formula_that_falls_with_fitness_scores_as_high_and_says_so():
    up, down = judged("One + Two"), judged("-One - Two")
    assert down.score == pytest.approx(up.score)
    assert "Greater values of it are less fit" in down.feedback
    assert "Greater values of it are less fit" not in up.feedback
    assert down.gain == pytest.approx(up.gain)


@pytest.mark.parametrize(
    "formula",
    ["```\nOne + Two\n```", "`One + Two`", "formula = One + Two", r"\boxed{One + Two}", "<answer>One + Two</answer>"],
)
def test_what_models_write_around_a_formula_is_taken_off(formula):
    assert judged(formula).score == judged("One + Two").score > 0


@pytest.mark.parametrize(
    ("formula", "told"),
    [
        ("", "there is no formula"),
        (None, "there is no formula"),
        ("Onee", "at character 1: unknown column 'Onee'; nearest: One"),
        ("One ** 2", "at character 5: there is no power"),
        ("One - One", "gives all mutants the same value"),
    ],
)
def test_what_is_no_formula_scores_nothing_and_is_told_why(formula, told):
    result = judged(formula)
    assert (result.score, result.accepted) == (0.0, False)
    assert told in result.feedback
    assert score_held_out(example(), dspy.Prediction(formula=formula)) == 0.0


def test_the_held_out_figure_is_spearman_on_all_other_mutants():
    shares = data.shares_of(example())
    assert len(shares.held_out) == 100
    assert not set(shares.held_out) & set(shares.labelled)
    value = score_held_out(example(), dspy.Prediction(formula="-One"))
    assert value == pytest.approx(spearman(ASSAY.table.values[shares.held_out, 0], ASSAY.fitness[shares.held_out]))


def test_nothing_but_the_held_out_figure_depends_on_a_held_out_measurement(monkeypatch):
    gold, practice, answer = example(), example(practice=2), dspy.Prediction(formula="rank(One) + Two")
    before = [proteingym(example, answer).toDict() for example in (gold, practice)]
    figure = score_held_out(gold, answer)
    fitness = ASSAY.fitness.copy()
    fitness[data.shares_of(gold).held_out] = np.random.default_rng(9).normal(size=100)
    shuffled = dataclasses.replace(ASSAY, fitness=fitness)
    monkeypatch.setattr(data.AssaySource, "assays", lambda source: {ASSAY.name: shuffled})
    source = data.AssaySource("made", 100, 0, 0)
    assert data.to_example(shuffled, source).toDict() == gold.toDict()
    assert data.to_example(shuffled, dataclasses.replace(source, practice=20), 2).toDict() == practice.toDict()
    assert [proteingym(example, answer).toDict() for example in (gold, practice)] == before
    assert score_held_out(gold, answer) != figure


def test_the_engine_can_ask_the_metric():
    told = score(proteingym, example(), dspy.Prediction(formula="One + Two"))
    assert 0 < told.score < 1
    assert told.text.startswith("|Spearman| 0.")


def test_an_example_that_says_nothing_of_its_mutants_is_an_error():
    with pytest.raises(DataError, match=r"make it with flex_dspy\.data\.proteingym\.load"):
        proteingym(dspy.Example(assay="A").with_inputs("assay"), dspy.Prediction(formula="One"))


@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("**rank(a)**", "rank(a)"),
        ("**Formula:** rank(a) + 2*b", "rank(a) + 2 * b"),
        ("formula: -rank(a)", "-rank(a)"),
        ("formula = `rank(a)`", "rank(a)"),
        ('{"formula": "rank(a)"}', "rank(a)"),
        ("'rank(a)'", "rank(a)"),
        ('"rank(a)"', "rank(a)"),
        ('"p-20"', '"p-20"'),
        ('-"p-20"', '-"p-20"'),
        ("rank(“p-20”) − b", 'rank("p-20") - b'),
        ("<think>rank(b)</think>rank(a)", "rank(a)"),
        ("```\nrank(a)\n```", "rank(a)"),
        ("__c__ * a", "__c__ * a"),
        ("a\u00a0+\u200bb", "a + b"),
    ],
)
def test_a_formula_is_found_in_many_wrappings(text, formula):
    assert str(read_formula({"formula": text}, ("a", "b", "p-20", "__c__"))) == formula


@pytest.mark.parametrize(
    "text",
    [
        "<think>rank(a)",
        "<think>rank(a)</think>",
        "a**2",
        "*a*",
        "a or b",
        "not a",
        '{"formula": "a", "score": "b"',
        "`a` or `b`",
        "a\nb",
    ],
)
def test_what_is_no_single_formula_is_refused(text):
    with pytest.raises(FormulaError):
        read_formula({"formula": text}, ("a", "b"))

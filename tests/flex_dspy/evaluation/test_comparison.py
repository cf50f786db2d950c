"""Comparisons: the tests' p-values against known ones, who wins what, and that files bring all of it back."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import dspy
import numpy as np
import pytest

from flex_dspy.core.errors import DataError
from flex_dspy.evaluation.comparison import Comparison, compare
from flex_dspy.evaluation.differences import Side, answer_of
from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.evaluation.paired_tests import FLIPS, holm, mcnemar, sign_flips
from flex_dspy.evaluation.records import Record
from flex_dspy.libraries.library import ExperienceLibrary
from tests.planted import Quick, planted, problems, right


def record(name: str, score: float, **fields: object) -> Record:
    return Record(name, f"problem {name}", f"reference {name}", {}, score, **fields)  # type: ignore[arg-type]


def side(name: str, *scores: float, samples: int = 1, **fields: object) -> Side:
    """A side whose example ``n`` has the scores from ``n * samples`` on."""
    records = [record(f"e{n // samples}", score, sample=n % samples, **fields) for n, score in enumerate(scores)]
    return Side(name, Evaluation(tuple(records)))


def shuffled(name: str, scores: dict[str, float]) -> Side:
    return Side(name, Evaluation(tuple(record(key, score) for key, score in scores.items())))


# -- the tests -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 2 / 2**5), (0, 5, 2 / 2**5), (4, 1, 2 * 6 / 2**5), (59, 6, 0.0)],
)
def test_mcnemar_is_exact(wins: int, losses: int, p: float) -> None:
    assert mcnemar(wins, losses) == pytest.approx(p, abs=1e-11)


@pytest.mark.parametrize(("wins", "losses"), [(4, 1), (7, 3), (2, 2), (0, 0), (9, 4)])
def test_sign_flips_of_right_and_wrong_are_mcnemars_test(wins: int, losses: int) -> None:
    differences = np.r_[np.ones(wins), -np.ones(losses), np.zeros(20)]
    assert sign_flips(differences) == pytest.approx(mcnemar(wins, losses))


def test_many_sign_flips_are_drawn_and_come_near_mcnemars_test() -> None:
    differences = np.r_[np.ones(40), -np.ones(25)]
    drawn = sign_flips(differences)
    assert drawn == pytest.approx(mcnemar(40, 25), abs=0.012)
    assert drawn == sign_flips(differences) != sign_flips(differences, seed=1)
    assert sign_flips(np.ones(400)) == 1 / (FLIPS + 1)


def test_sign_flips_heed_how_large_a_difference_is() -> None:
    assert sign_flips(np.array([0.9, 0.8, 0.9, 0.7, 0.8, 0.9, -0.1, -0.05, -0.02])) < 0.04 < mcnemar(6, 3)
    assert sign_flips(np.array([0.1, 0.05, 0.02, -0.9, 0.8, -0.01])) > 0.5


def test_false_alarms_are_as_rare_as_they_should_be() -> None:
    draw = np.random.default_rng(3)
    p = [sign_flips(np.round(draw.normal(size=12), 1)) for _ in range(300)]
    assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.08


def test_holm_raises_p_values_and_keeps_their_order() -> None:
    assert holm([0.01, 0.04, 0.03, 0.9]).tolist() == pytest.approx([0.04, 0.09, 0.09, 0.9])
    assert holm([0.6, 0.5]).tolist() == [1.0, 1.0]
    assert holm([0.02]).tolist() == [0.02]


# -- who wins ------------------------------------------------------------------------------------------------


def test_right_and_wrong_answers_are_compared_by_mcnemars_test() -> None:
    comparison = Comparison((side("a", 0, 0, 0, 0, 0, 1, 1, 1), side("b", 1, 1, 1, 1, 1, 0, 1, 1)))
    (found,) = comparison.differences()
    assert (found.n, found.wins, found.losses, found.ties) == (8, 5, 1, 2)
    assert (found.test, found.p_value, found.adjusted) == ("exact McNemar", mcnemar(5, 1), mcnemar(5, 1))
    assert found.gain == pytest.approx(0.5)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0 < found.high
    wins, losses = comparison.changes()
    assert [change.first[0].example_id for change in wins] == ["e0", "e1", "e2", "e3", "e4"]
    assert [change.second[0].example_id for change in losses] == ["e5"]


def test_graded_scores_are_compared_by_their_means_and_the_largest_change_comes_first() -> None:
    comparison = Comparison((side("a", 0.1, 0.5, 0.9, 0.3), side("b", 0.2, 1.5, 0.7, 0.3)))
    (found,) = comparison.differences()
    assert (found.test, found.p_value) == ("sign flips", sign_flips(np.array([0.1, 1.0, -0.2, 0.0])))
    assert (found.wins, found.losses, found.ties) == (2, 1, 1)
    assert [change.first[0].example_id for change in comparison.changes()[0]] == ["e1", "e0"]
    assert comparison.gain_text(found).startswith("+0.225 (")


def test_no_interval_of_shares_goes_beyond_what_there_is() -> None:
    (few,) = Comparison((side("a", 0, 1), side("b", 1, 1))).differences()
    assert (few.low, few.high) == (-1, 1)
    (graded,) = Comparison((side("a", 0, 5), side("b", 5, 5))).differences()
    assert graded.low is not None
    assert graded.low < -5


def test_samples_of_one_example_are_one_observation() -> None:
    once = Comparison((side("a", 0, 0, 0, 1), side("b", 1, 1, 1, 1)))
    thrice = Comparison((side("a", *[0] * 9, 1, 1, 1, samples=3), side("b", *[1] * 12, samples=3)))
    assert [d.p_value for d in thrice.differences()] == [d.p_value for d in once.differences()]
    mixed = Comparison((side("a", 0, 1, 1, 0, samples=2), side("b", 1, 0, 1, 1, samples=2)))
    (found,) = mixed.differences()
    assert (found.wins, found.losses, found.ties, found.test) == (1, 0, 1, "sign flips")


def test_several_are_set_beside_the_first_and_beside_each_other() -> None:
    sides = side("a", *[0] * 12), side("b", *[1] * 8, *[0] * 4), side("c", *[1] * 11, 0)
    comparison = Comparison(sides)
    b, c = comparison.differences()
    assert (b.first, b.second, c.first, c.second) == ("a", "b", "a", "c")
    assert (b.adjusted, c.adjusted) == tuple(holm([mcnemar(8, 0), mcnemar(11, 0)]))
    assert c.adjusted > c.p_value
    assert [(m.first, m.second) for m in comparison.matrix()] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert comparison.matrix()[1].adjusted == pytest.approx(3 * c.p_value)
    assert [change.second[0].example_id for change in comparison.changes(2)[0]][-1] == "e10"
    assert "Holm's correction for 2" in comparison.text()
    assert "c beside b: +25.0 points" in comparison.text()


def test_costs_are_what_the_second_takes_more() -> None:
    cheap = side("a", 0, 1, prompt_tokens=100, completion_tokens=10, usd=0.01, seconds=1.0)
    dear = side("b", 1, 1, prompt_tokens=900, completion_tokens=20, usd=0.05, seconds=1.5)
    (found,) = Comparison((cheap, dear)).differences()
    assert (found.tokens, found.usd, found.seconds) == (2 * 810, pytest.approx(0.08), 0.5)
    assert found.cost() == "+1,620 tokens, +0.0800 USD, +0.500 s a sample"
    assert Comparison((side("a", 1), side("b", 1))).differences()[0].cost() == "+0.000 s a sample"


def test_what_cannot_be_compared_is_an_error() -> None:
    with pytest.raises(ValueError, match="two or more"):
        Comparison((side("a", 1),))
    with pytest.raises(ValueError, match="name of its own"):
        Comparison((side("a", 1), side("a", 1)))
    with pytest.raises(ValueError, match="other examples"):
        Comparison((side("a", 1), side("b", 1, 0)))


# -- evaluations made apart ----------------------------------------------------------------------------------


def test_only_examples_that_all_have_are_compared_in_the_order_of_the_first() -> None:
    first, second = shuffled("a", {"x": 0, "y": 0, "z": 1}), shuffled("b", {"z": 0, "w": 1, "x": 1})
    comparison = Comparison.on_common_examples([first, second])
    assert [record.example_id for record in comparison.after.records] == ["x", "z"]
    assert (comparison.left_out, comparison.before.accuracy) == (2, 0.5)
    (found,) = comparison.differences()
    assert (found.wins, found.losses) == (1, 1)


def test_a_problem_that_stands_twice_in_the_data_counts_twice() -> None:
    first, second = side("a", 0, 1), side("b", 1, 1)
    twice = [
        replace(each, evaluation=Evaluation(tuple(replace(r, example_id="same") for r in each.evaluation.records)))
        for each in (first, second)
    ]
    assert Comparison.on_common_examples(twice).before.n == 2


def test_evaluations_of_other_data_are_not_compared() -> None:
    with pytest.raises(DataError, match="no example in common"):
        Comparison.on_common_examples([shuffled("a", {"x": 0}), shuffled("b", {"y": 0})])
    other = Side("b", Evaluation((replace(record("x", 1), reference="another"),)))
    with pytest.raises(DataError, match="different references"):
        Comparison.on_common_examples([shuffled("a", {"x": 0}), other])


# -- files ---------------------------------------------------------------------------------------------------


def test_json_brings_a_comparison_back_and_says_what_was_found() -> None:
    shown = {"outputs": {"answer": "4", "experiences_used": ["one"]}, "shown": ("one", "two")}
    first, second = side("a", 0, 1, 0), side("b", 1, 1, 1)
    records = tuple(replace(r, **shown) for r in second.evaluation.records)  # type: ignore[arg-type]
    second = Side("b", Evaluation(records), "3f2a", 2, {"one": "golden: sums"})
    comparison = Comparison((first, second), 0.5, {"task": "math"}, 3)
    text = comparison.to_json()
    assert Comparison.from_json(text) == comparison
    document = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert document["differences"][0]["wins"] == 2
    assert (document["differences"][0]["won"], document["differences"][0]["lost"]) == (["e0", "e2"], [])
    assert document["accuracies"]["b"]["accuracy"] == 1
    assert "matrix" not in document


def test_a_single_example_has_no_interval_and_json_holds_no_infinity() -> None:
    comparison = Comparison((side("a", 0), side("b", 1)))
    assert comparison.gain == (1.0, -math.inf, math.inf)
    assert comparison.gain_text(comparison.differences()[0]) == "+100.0 points"
    document = json.loads(comparison.to_json(), parse_constant=lambda name: pytest.fail(name))
    assert document["differences"][0]["low"] is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "flex-dspy-comparison/1", "comparison": {"sides": 3}}'])
def test_what_is_no_comparison_is_said(text: str) -> None:
    with pytest.raises(DataError, match=r"found\.json holds no comparison"):
        Comparison.from_json(text, "found.json")


def test_an_answer_is_what_there_is_a_reference_for() -> None:
    outputs = {"reasoning": "because", "answer": 4, "certain": True, "experiences_used": []}
    with_label = Record("x", "?", "4", outputs, 1.0, labels={"answer": 4})
    assert answer_of(with_label) == "4"
    assert answer_of(replace(with_label, labels={})) == "answer: 4\ncertain: True"
    assert answer_of(record("x", 0, error="it broke")) == ""


# -- measuring -----------------------------------------------------------------------------------------------


def test_libraries_are_measured_on_the_same_examples() -> None:
    library = planted(0, 6, 6)
    kinds = {kind: ExperienceLibrary([e for e in library if e.category == kind]) for kind in ("helpful", "neutral")}
    asked: Sequence[dspy.Example] = problems(60, library)
    comparison = compare(
        ExperienceLibrary(), kinds["helpful"], Quick(library), asked, right,
        others={"neutral": kinds["neutral"]}, names=("none", "helpful"), progress=False,
    )  # fmt: skip
    helpful, neutral = comparison.differences()
    assert helpful.p_value < 0.01 < neutral.p_value
    assert [s.name for s in comparison.sides] == ["none", "helpful", "neutral"]
    assert [s.size for s in comparison.sides] == [0, 6, 6]
    assert comparison.sides[1].library == kinds["helpful"].hash
    assert set(comparison.sides[1].entries.values()) == {"golden: helpful"}
    assert all(name in kinds["helpful"] for name in comparison.sides[1].entries)

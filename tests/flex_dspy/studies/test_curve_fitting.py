"""Curves are found again that points were drawn from, and their intervals hold what they should."""

import math

import numpy as np
import pytest

from flex_dspy.studies.curve_fitting import fit

SIZES = [50, 200, 800, 3_200, 12_800, 51_200]


def drawn(curve, error: float, seed: int) -> list[float]:
    noise = np.random.default_rng(seed).normal(0, error, len(SIZES))
    return [curve(n) + float(each) for n, each in zip(SIZES, noise, strict=True)]


def line(n: float) -> float:
    return 0.05 + 0.1 * math.log10(n)


def power(n: float) -> float:
    return 0.6 - 2.0 * n**-0.4


def sigmoid(n: float) -> float:
    return 1 / (1 + (2_000 / n) ** 1.1)


@pytest.mark.parametrize(
    ("curve", "form", "parameters"),
    [
        (line, "log-linear", {"a": 0.05, "b": 0.1}),
        (power, "power law", {"a": 0.6, "b": 2.0, "c": 0.4}),
        (sigmoid, "logistic", {"m": 2_000, "c": 1.1}),
    ],
)
def test_the_form_and_its_parameters_are_found_again(curve, form: str, parameters: dict[str, float]) -> None:
    found = fit(SIZES, drawn(curve, 0.002, seed=1), [0.002] * 6)
    assert found.form == form
    for name, value in parameters.items():
        estimate = found.parameters[name]
        assert estimate.low < value < estimate.high
        assert estimate.value == pytest.approx(value, rel=0.15)
    middle, low, high = found.at([100, 10_000])
    assert middle == pytest.approx([curve(100), curve(10_000)], abs=0.01)
    assert (low < middle).all()
    assert (middle < high).all()


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    fits = [fit(SIZES, drawn(line, 0.02, seed), [0.02] * 6, form="log-linear") for seed in range(30)]
    holds = sum(each.parameters["b"].low < 0.1 < each.parameters["b"].high for each in fits)
    assert 26 <= holds <= 30
    assert len({each.parameters["b"].low for each in fits}) == 30


def test_more_scatter_than_the_errors_explain_widens_the_intervals() -> None:
    y = [value + (0.03 if n % 2 else -0.03) for n, value in enumerate(map(line, SIZES))]
    sure, honest = fit(SIZES, list(map(line, SIZES)), [0.005] * 6), fit(SIZES, y, [0.005] * 6, form="log-linear")
    assert honest.chi2 / honest.freedom > 10
    widths = [each.parameters["b"].high - each.parameters["b"].low for each in (sure, honest)]
    assert widths[1] > 3 * widths[0]


def test_errors_in_common_make_the_level_less_sure_and_the_slope_more() -> None:
    common = np.full((6, 6), 0.8) + 0.2 * np.eye(6)
    y = list(map(line, SIZES))
    alone, shared = (fit(SIZES, y, [0.02] * 6, correlation=c, form="log-linear") for c in (None, common))

    def width(found, n: float) -> float:
        _, low, high = found.at(n)
        return float(high - low)

    assert width(shared, 2_000) > 1.5 * width(alone, 2_000)
    slopes = [found.parameters["b"] for found in (alone, shared)]
    assert slopes[1].high - slopes[1].low < 0.7 * (slopes[0].high - slopes[0].low)


def test_forms_that_cannot_be_told_apart_say_so() -> None:
    near = fit([100, 200, 400, 800], [0.30, 0.34, 0.38, 0.42], [0.05] * 4)
    assert {near.form, *near.rivals} == {"log-linear", "logistic"}
    assert "power law" not in near.criteria  # it would rise ever faster, to no ceiling
    far = fit(SIZES, drawn(sigmoid, 0.002, seed=1), [0.002] * 6)
    assert far.rivals == []


def test_points_that_allow_no_fit() -> None:
    with pytest.raises(ValueError, match="at least 3 different sizes above 0, and there are 2"):
        fit([50, 100, 100], [0.1, 0.2, 0.25], [0.02] * 3)
    with pytest.raises(ValueError, match="at least 4 different sizes"):
        fit([50, 100, 200], [0.1, 0.2, 0.25], [0.02] * 3, form="power law")
    with pytest.raises(ValueError, match="single example"):
        fit([50, 100, 200], [0.1, 0.2, 0.25], [0.02, math.inf, 0.02])
    with pytest.raises(ValueError, match="no form 'logistic'"):
        fit([50, 100, 200], [-0.1, 0.2, 1.25], [0.02] * 3, form="logistic")


def test_extreme_points_end_in_numbers() -> None:
    for y in ([0.0] * 4, [1.0] * 4, [0.0, 0.0, 1.0, 1.0], [0.9, 0.5, 0.3, 0.1]):
        found = fit([10, 100, 1_000, 10_000], y, [0.01] * 4)
        assert np.isfinite(found.at([10, 10_000])).all()
        assert not any(math.isnan(bound) for p in found.parameters.values() for bound in (p.value, p.low, p.high))


def test_the_same_points_give_the_same_intervals() -> None:
    y = drawn(line, 0.02, seed=3)
    assert fit(SIZES, y, [0.02] * 6) == fit(SIZES, y, [0.02] * 6)
    assert fit(SIZES, y, [0.02] * 6, seed=1).parameters != fit(SIZES, y, [0.02] * 6).parameters

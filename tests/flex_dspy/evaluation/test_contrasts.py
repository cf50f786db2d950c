"""Estimates from coins: unbiased, precise, and honest about how sure they are."""

import math

import numpy as np
import pytest

from flex_dspy.evaluation.contrasts import chance_below, contrasts, half_width, residual_contrasts, step_up


def simulated(
    effects: list[float], examples: int, pairs: int, seed: int, noise: float = 0.5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs that each show half of the entries; the noise of a difference has this deviation."""
    draw = np.random.default_rng(seed)
    shown = np.argsort(draw.random((examples, len(effects))), axis=1) < len(effects) / 2
    asked = np.arange(pairs) % examples
    coins = shown[asked] * draw.choice((-1.0, 1.0), size=(pairs, len(effects)))
    return coins, coins @ np.array(effects) + draw.normal(0, noise, pairs), asked


EFFECTS = [-0.4, -0.2, 0.0, 0.0, 0.0, 0.1, 0.2, 0.4]


def test_effects_are_found_without_bias() -> None:
    found = np.mean([contrasts(*simulated(EFFECTS, 20, 60, seed)).effect for seed in range(200)], axis=0)
    assert found == pytest.approx(EFFECTS, abs=0.025)


@pytest.mark.parametrize(("examples", "pairs"), [(6, 12), (15, 60), (40, 200)])
def test_intervals_hold_as_often_as_they_say(examples: int, pairs: int) -> None:
    held = []
    for seed in range(150):
        found = contrasts(*simulated(EFFECTS, examples, pairs, seed))
        for place, effect in enumerate(EFFECTS):
            half = half_width(found.error[place], int(found.examples[place]), 0.05)
            held.append(abs(found.centre[place] - effect) <= half)
    assert np.mean(held) >= 0.94


def test_what_the_other_entries_add_is_taken_off() -> None:
    coins, differences, asked = simulated([0.5] * 10, 40, 400, seed=1, noise=0.1)
    rough = (coins * differences[:, None])[coins[:, 0] != 0, 0]
    fine = residual_contrasts(coins, differences, asked)[coins[:, 0] != 0, 0]
    assert fine.std() < 0.5 * rough.std()
    assert not residual_contrasts(coins, differences, asked)[coins == 0].any()


def test_more_entries_than_pairs_is_no_trouble() -> None:
    found = contrasts(*simulated([0.3] * 60, 8, 16, seed=0))
    assert np.isfinite(found.effect).all()
    assert np.mean(found.effect) == pytest.approx(0.3, abs=0.2)


def test_the_prediction_for_an_example_does_not_know_it() -> None:
    coins, differences, asked = simulated(EFFECTS, 20, 100, seed=3)
    here = asked == 0
    changed = np.where(here, differences + 7, differences)
    shift = (residual_contrasts(coins, changed, asked) - residual_contrasts(coins, differences, asked))[here]
    assert shift == pytest.approx(7 * coins[here])


def test_an_entry_that_was_never_shown_is_not_estimated() -> None:
    found = contrasts(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([1.0, -1.0]), np.array([0, 1]))
    assert found.effect[0] == 1.0
    assert math.isnan(found.effect[1])
    assert (found.examples.tolist(), found.pairs.tolist()) == ([2, 0], [2, 0])
    assert half_width(found.error[1], 0, 0.05) == math.inf
    assert chance_below(0.0, found.error[1], 0, 0.0) == 1.0


def test_one_example_says_nothing_of_others() -> None:
    found = contrasts(np.ones((50, 1)), np.ones(50), np.zeros(50, dtype=int))
    assert found.error[0] == math.inf


def test_a_few_pairs_that_agree_are_not_certain() -> None:
    def width(pairs: int) -> float:
        found = contrasts(np.ones((pairs, 1)), -np.ones(pairs), np.arange(pairs))
        return float(found.centre[0] + half_width(found.error[0], pairs, 0.05))

    assert width(2) > 0
    assert width(3) > 0
    assert width(12) < 0


def test_nothing_measured_is_no_error() -> None:
    found = contrasts(np.zeros((0, 3)), np.zeros(0), np.zeros(0, dtype=int))
    assert np.isnan(found.effect).all()
    assert step_up([], 0.05).tolist() == []


def test_of_what_is_rejected_few_are_true() -> None:
    draw = np.random.default_rng(0)
    wrong, all_rejected = 0.0, 0
    for _ in range(400):
        chances = np.r_[draw.random(80), draw.random(20) * 1e-3]
        rejected = step_up(chances, 0.1)
        wrong += rejected[:80].sum() / max(rejected.sum(), 1)
        all_rejected += rejected[80:].sum()
    assert wrong / 400 <= 0.1
    assert all_rejected == 400 * 20
    assert not step_up([0.2, 0.9], 0.1).any()

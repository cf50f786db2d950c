from itertools import combinations

import numpy as np
import pytest

from flex_dspy.metrics.pass_at_k import majority_score, pass_at_k, sizes


def test_it_is_the_share_of_all_choices_of_k_samples_that_hold_a_right_one():
    for samples in range(1, 8):
        for right in range(samples + 1):
            outcome = [1] * right + [0] * (samples - right)
            for k in range(1, samples + 1):
                share = np.mean([max(chosen) for chosen in combinations(outcome, k)])
                assert pass_at_k([right], samples=samples, k=k)[0] == pytest.approx(share)


def test_it_is_exact_where_floats_would_overflow():
    assert pass_at_k([1], samples=2000, k=1000)[0] == pytest.approx(0.5)


@pytest.mark.parametrize(("right", "k"), [([1], 0), ([1], 5), ([5], 2), ([-1], 2)])
def test_numbers_out_of_range_are_refused(right, k):
    with pytest.raises(ValueError):
        pass_at_k(right, samples=4, k=k)


def test_the_sizes_worth_naming():
    assert [sizes(n) for n in (1, 2, 5, 8)] == [[1], [1, 2], [1, 2, 4, 5], [1, 2, 4, 8]]


@pytest.mark.parametrize(
    ("answers", "scores", "expected"),
    [
        (["1", "2", "2"], [1, 0, 0], 0.0),
        (["1", "1", "2"], [1, 1, 0], 1.0),
        (["1", "2"], [1, 0], 0.5),  # the lot decides
        (["", "", "1"], [0, 0, 1], 1.0),  # who abstains does not vote
        (["", ""], [0, 0], 0.0),
    ],
)
def test_the_majority_decides(answers, scores, expected):
    assert majority_score(answers, scores) == expected

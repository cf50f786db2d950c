"""How far a model's label is trusted beside the vote: what weighs more, and what a fit finds."""

import random

import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.search.retrieval import ExperienceRetriever
from flex_dspy.search.trust import DECISIVE, LEAST_CASES, Answered, fit_trust, weigh

LABELS = ("card", "loan", "rent", "tax")


@pytest.mark.parametrize(
    ("shares", "trust", "label"),
    [
        ({"card": 0.7, "loan": 0.3}, 1, "card"),
        ({"card": 0.7, "loan": 0.3}, 2, "card"),
        ({"card": 0.7, "loan": 0.3}, 3, "loan"),
        ({"card": 1.0}, 50, "card"),
        ({"card": 1.0}, DECISIVE + 0.1, "loan"),
        ({"card": 0.5, "loan": 0.5}, 1, "loan"),
        ({}, 1, "loan"),
    ],
)
def test_the_models_share_is_multiplied_by_the_trust(shares, trust, label):
    assert weigh(shares, "loan", trust) == label


def test_the_alphabet_decides_between_equal_votes():
    assert weigh({"rent": 0.5, "card": 0.5}, "tax", 1) == "card"


def cases(count: int, model: float, vote: float, seed: int = 1) -> list[Answered]:
    """Cases in which the model, and the winner of the vote, are right so often, independently of each other."""
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        right = chance.choice(LABELS)
        wrong = [label for label in LABELS if label != right]
        answer = right if chance.random() < model else chance.choice(wrong)
        first = right if chance.random() < vote else chance.choice(wrong)
        second = chance.choice([label for label in LABELS if label != first])
        made.append(Answered({first: 0.7, second: 0.3}, answer, right))
    return made


def accuracy(tried: list[Answered], trust: float | None) -> float:
    answers = [case.answer if trust is None else weigh(case.shares, case.answer, trust) for case in tried]
    return sum(answer == case.right for answer, case in zip(answers, tried, strict=True)) / len(tried)


@pytest.mark.parametrize(("model", "vote"), [(0.4, 0.8), (0.7, 0.7), (0.95, 0.5)])
def test_the_fitted_trust_is_no_worse_than_the_better_source(model, vote):
    trust = fit_trust(cases(300, model, vote), LABELS)
    fresh = cases(2_000, model, vote, seed=2)
    assert accuracy(fresh, trust) > max(accuracy(fresh, None), accuracy(fresh, 1)) - 0.02


def test_a_better_model_is_trusted_more():
    found = [fit_trust(cases(300, model, 0.7), LABELS) or DECISIVE for model in (0.3, 0.6, 0.9)]
    assert found == sorted(found)
    assert found[0] < 2 < found[2]


def test_a_model_that_is_always_right_stands():
    assert fit_trust(cases(100, 1.0, 0.3), LABELS) is None


@pytest.mark.parametrize("vote", [0.9, 0.0])
def test_a_model_that_is_never_right_is_never_asked_to_decide(vote):
    assert fit_trust(cases(100, 0.0, vote), LABELS) == 1


def test_a_right_label_that_is_not_among_the_labels_is_left_out():
    known = cases(40, 0.6, 0.7)
    assert fit_trust([*known, Answered({"card": 1.0}, "card", "unheard")], LABELS) == fit_trust(known, LABELS)


def test_few_cases_are_no_fit():
    with pytest.raises(ValueError, match=f"needs {LEAST_CASES} known answers, got {LEAST_CASES - 1}"):
        fit_trust(cases(LEAST_CASES - 1, 0.5, 0.5), LABELS)
    with pytest.raises(ValueError, match="got 0"):
        fit_trust([Answered({}, "card", "unheard")] * LEAST_CASES, LABELS)


@pytest.mark.parametrize("trust", [0.5, -1, "much"])
def test_a_trust_is_a_factor_of_one_or_more(trust):
    with pytest.raises(ConfigurationError, match="trust"):
        ExperienceRetriever(trust=trust)

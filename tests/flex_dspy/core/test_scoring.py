"""Metrics of every form, and keeping answers out of feedback."""

import asyncio
import random
from fractions import Fraction

import dspy
import numpy as np
import pytest

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.core.scoring import WITHHELD, ascore, failure_feedback, lacks_reference, redact, score
from flex_dspy.core.trajectory import Feedback
from flex_dspy.metrics.aime import aime, integer_answer
from flex_dspy.metrics.molecules import canonical_smiles

EXAMPLE = dspy.Example(question="6*7?", answer="42").with_inputs("question")
PREDICTION = dspy.Prediction(answer="42")


def two(example, prediction):
    return example.answer == prediction.answer


def three(example, prediction, trace=None):
    assert trace is None
    return 0.5


def five(gold, pred, trace, pred_name, pred_trace):
    assert (trace, pred_name, pred_trace) == (None, None, None)
    return dspy.Prediction(score=0.25, feedback="Not quite.")


def any_number(*arguments):
    return float(len(arguments))


def keywords_too(example, prediction, *, strict=True):
    return strict


class Callable_:
    def __call__(self, example, prediction):
        return 1


def importing_nothing(example, prediction):
    import nothing_of_this_name  # noqa: F401


def unwritten(example, prediction):
    raise NotImplementedError


@pytest.mark.parametrize(
    ("metric", "verdict"),
    [
        (two, Feedback(1.0)),
        (three, Feedback(0.5)),
        (five, Feedback(0.25, "Not quite.")),
        (any_number, Feedback(2.0)),
        (keywords_too, Feedback(1.0)),
        (Callable_(), Feedback(1.0)),
        (lambda example, prediction: {"score": 1, "feedback": "Right."}, Feedback(1.0, "Right.")),
        (lambda example, prediction: {"score": True}, Feedback(1.0)),
        (lambda example, prediction: dspy.Prediction(score=0.0, feedback=None), Feedback(0.0)),
        (lambda example, prediction: False, Feedback(0.0)),
    ],
)
def test_every_form_of_metric(metric, verdict):
    assert score(metric, EXAMPLE, PREDICTION) == verdict


@pytest.mark.parametrize(
    "verdict", [None, "good", [1.0], {"points": 1}, dspy.Prediction(feedback="no score"), {"score": None}]
)
def test_a_broken_metric_is_a_configuration_error(verdict):
    def broken(example, prediction):
        return verdict

    with pytest.raises(ConfigurationError, match="'broken'"):
        score(broken, EXAMPLE, PREDICTION)


@pytest.mark.parametrize(
    ("points", "score_"),
    [
        (np.float64(0.5), 0.5),
        (np.bool_(True), 1.0),
        (np.float32(0.25), 0.25),
        (np.array(0.5), 0.5),
        (Fraction(1, 4), 0.25),
        (-2.5, -2.5),
        (12, 12.0),
    ],
)
def test_a_score_is_any_number(points, score_):
    for verdict in (points, {"score": points}, dspy.Prediction(score=points, feedback="so")):
        found = score(lambda example, prediction, verdict=verdict: verdict, EXAMPLE, PREDICTION)
        assert found.score == score_
        assert type(found.score) is float


@pytest.mark.parametrize("points", [float("nan"), float("inf"), np.nan, dspy.Prediction(score=float("-inf"))])
def test_a_score_that_is_no_finite_number_is_said(points):
    def broken(example, prediction):
        return points

    with pytest.raises(ValueError, match=r"metric 'broken' returned -?(nan|inf)"):
        score(broken, EXAMPLE, PREDICTION)


def test_a_verdict_may_be_any_object_with_a_score():
    class Verdict:
        feedback = "Look again."

        @property
        def score(self):
            return 0.5

    assert score(lambda example, prediction: Verdict(), EXAMPLE, PREDICTION) == Feedback(0.5, "Look again.")


async def later(example, prediction, trace=None):
    await asyncio.sleep(0)
    return dspy.Prediction(score=example.answer == prediction.answer, feedback="So it is.")


class Judge(dspy.Module):
    def forward(self, example, prediction, trace=None):
        assert trace is None
        return dspy.Prediction(score=0.75)


class LaterJudge(dspy.Module):
    async def aforward(self, example, prediction):
        return dspy.Prediction(score=0.25)


def test_dspys_own_metrics_are_asked_as_they_are_meant():
    assert score(dspy.evaluate.answer_exact_match, EXAMPLE, PREDICTION) == Feedback(1.0)
    assert score(Judge(), EXAMPLE, PREDICTION) == Feedback(0.75)


@pytest.mark.parametrize(
    ("metric", "points"), [(later, 1.0), (two, 1.0), (Judge(), 0.75), (LaterJudge(), 0.25), (five, 0.25)]
)
def test_on_the_event_loop_and_off_it_the_verdict_is_the_same(metric, points):
    async def inside():
        return score(metric, EXAMPLE, PREDICTION), await ascore(metric, EXAMPLE, PREDICTION)

    inside_a_loop, awaited = asyncio.run(inside())
    assert inside_a_loop == awaited == score(metric, EXAMPLE, PREDICTION)
    assert awaited.score == points


def test_what_is_bound_to_the_context_reaches_a_metric():
    def asks_dspy(example, prediction):
        return dspy.settings.lm

    async def inside():
        with dspy.context(lm=0.5):
            return await ascore(asks_dspy, EXAMPLE, PREDICTION)

    assert asyncio.run(inside()).score == 0.5


@pytest.mark.parametrize(
    "metric",
    [
        lambda example: 1,
        lambda: 1,
        lambda a, b, c, d, e, f: 1,
        lambda example, prediction, *, needed: 1,
        lambda example, prediction: undefined,  # noqa: F821
        importing_nothing,
        unwritten,
        lambda example, prediction: "1",
    ],
)
def test_a_metric_that_cannot_work_is_a_configuration_error(metric):
    with pytest.raises(ConfigurationError, match="metric '"):
        score(metric, EXAMPLE, PREDICTION)


@pytest.mark.parametrize(
    ("metric", "lacks"),
    [
        (lambda example, prediction: example.label, True),
        (lambda example, prediction: example["label"], True),
        (lambda example, prediction: prediction.label, False),
        (lambda example, prediction: prediction["label"], False),
        (lambda example, prediction: {}[prediction.answer], False),
        (lambda example, prediction: example.answer.label, False),
        (lambda example, prediction: aime(dspy.Example(), prediction), True),
        (lambda example, prediction: int("x"), False),
    ],
)
def test_a_failure_for_want_of_a_reference_is_told_from_others(metric, lacks):
    with pytest.raises(Exception) as caught:
        score(metric, EXAMPLE, PREDICTION)
    assert lacks_reference(caught.value, EXAMPLE) is lacks
    verdict = failure_feedback(metric, caught.value)
    assert (verdict.score, verdict.failed) == (0.0, True)
    assert f"<lambda> raised {type(caught.value).__name__}: " in verdict.text


def test_a_metric_may_fail_on_its_own():
    def broken(example, prediction):
        return 1 / 0

    with pytest.raises(ZeroDivisionError):
        score(broken, EXAMPLE, PREDICTION)


# -- redact ------------------------------------------------------------------------------------------------


def _integer(text):
    value = integer_answer(text)
    return None if value is None else str(value)


@pytest.mark.parametrize("normalize", [None, _integer, canonical_smiles])
def test_text_without_the_answer_is_untouched(normalize):
    text = "  Look at the second step:\n\tthe sign is\xa0wrong.  "
    assert redact(text, "CCOC(C)=O" if normalize is canonical_smiles else "42", "41", normalize) == (text, False)


def test_nothing_is_withheld_without_a_reference():
    assert redact("42 is right", "", "41") == ("42 is right", False)


@pytest.mark.parametrize("text", ["Paris", "paris.", "It is PARIS!", "(Paris)", "capital=Paris", "'Paris'?"])
def test_words_are_withheld_in_any_case(text):
    result, redacted = redact(text, "Paris", "answer: London")
    assert redacted
    assert "paris" not in result.casefold()


def test_longer_words_that_hold_the_answer_stay():
    assert redact("Parisians say 421", "42", "answer: 7") == ("Parisians say 421", False)
    assert redact("Parisians", "Paris", "answer: London") == ("Parisians", False)


def test_every_field_of_an_answer_of_several_fields_is_withheld():
    reference = "reasoning: six times seven\nanswer: 42"
    result, redacted = redact("The answer must be 42, of course.", reference, "reasoning: six plus six\nanswer: 36")
    assert redacted
    assert "42" not in result
    assert result.startswith("The answer must be")


@pytest.mark.parametrize("seed", range(40))
def test_no_number_equal_to_the_answer_survives(seed):
    dice = random.Random(seed)
    secret = dice.randrange(1000)
    written = [str(secret), f"{secret}.", f"${secret}$", f"\\boxed{{{secret}}}", f"{secret:03d},", f"x={secret}"]
    others = [str(n) for n in dice.sample([n for n in range(1000) if n != secret], 5)]
    words = [*dice.sample(written, 3), *others, "step", "wrong"]
    dice.shuffle(words)
    result, redacted = redact(" ".join(words), str(secret), "answer: none", _integer)
    assert redacted
    assert result.split().count(WITHHELD) == 3
    assert [word for word in result.split() if word in others] == [word for word in words if word in others]


MOLECULES = ("CC(=O)Cl", "NCc1ccccc1", "OB(O)c1ccccc1", "C[C@H](N)C(=O)O", "Brc1ccncc1")


@pytest.mark.parametrize("seed", range(60))
def test_no_molecule_of_the_answer_survives_in_any_spelling(seed):
    from rdkit import Chem

    dice = random.Random(seed)
    one, two_, other = dice.sample(MOLECULES, 3)

    def spelt(smiles):
        mol = Chem.MolFromSmiles(smiles)
        return Chem.MolToRandomSmilesVect(mol, 1, randomSeed=dice.randrange(1, 10**6))[0]

    text = f"Take {spelt(one)} or ({spelt(two_)}), never {other}; {spelt(two_)}.{spelt(one)} reacts."
    result, redacted = redact(text, f"{one}.{two_}", f"reactants: {other}", canonical_smiles)
    assert redacted
    assert other in result
    words = [word.strip("();,.") for word in result.split()]
    left = {canonical_smiles(part) for word in words for part in word.split(".") if len(part) > 3}
    assert not left & {canonical_smiles(one), canonical_smiles(two_)}


@pytest.mark.parametrize("text", ["x is42 now", "the 42th case", "_42_", "answer=042", r"\boxed{042}", "n=42.", "(42)"])
def test_a_whole_number_is_withheld_however_it_is_embedded(text) -> None:
    said, redacted = redact(text, "42", "17")
    assert redacted
    assert "42" not in said


@pytest.mark.parametrize("text", ["the 142 cases", "0.42 of them", "4.2", "1,042,000 of them", "42.5"])
def test_another_number_that_holds_its_digits_stays(text) -> None:
    assert redact(text, "42", "17") == (text, False)


@pytest.mark.parametrize(("points", "accepted"), [(0.3, True), (1.0, False)])
def test_a_metric_may_say_itself_what_is_a_success(points, accepted):
    def metric(example, prediction):
        return dspy.Prediction(score=points, accepted=accepted)

    verdict = score(metric, EXAMPLE, PREDICTION)
    assert (verdict.score, verdict.accepted) == (points, accepted)


@pytest.mark.parametrize("metric", [None, "exact"])
def test_what_cannot_be_called_is_no_metric(metric):
    with pytest.raises(ConfigurationError, match="a metric is a function or a module, got"):
        score(metric, EXAMPLE, PREDICTION)
    with pytest.raises(ConfigurationError, match="a metric is a function or a module, got"):
        asyncio.run(ascore(metric, EXAMPLE, PREDICTION))

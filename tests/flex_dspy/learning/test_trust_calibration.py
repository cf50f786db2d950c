"""Learning how far to trust a model that picks labels."""

from typing import Literal

import dspy
import pytest

from flex_dspy import ExperienceLibrary, equip, precedent_library
from flex_dspy.core.errors import BudgetError, ConfigurationError, ModelError
from flex_dspy.learning.trust_calibration import TrustCalibration
from flex_dspy.models.spending import Ledger
from tests.llm_server import LLMServer


class Intent(dspy.Signature):
    """Name the intent."""

    message: str = dspy.InputField()
    intent: Literal["card", "loan", "rent"] = dspy.OutputField()


TOPICS = {"card": "pin chip plastic", "loan": "debt credit owing", "rent": "flat tenant landlord"}
TRAIN = [
    dspy.Example(message=f"{word} number {number} {TOPICS[label]}", intent=label).with_inputs("message")
    for number, word in enumerate(["please", "now", "today", "again", "why", "how", "when", "where"])
    for label in TOPICS
]
LIBRARY = precedent_library(TRAIN, ["intent"])
PROGRAM = equip(dspy.Predict(Intent), LIBRARY)
RIGHT = {example.message: example.intent for example in TRAIN}


def using(server: LLMServer):
    return dspy.context(lm=dspy.LM("openai/test", api_base=server.url, api_key="none", cache=False, num_retries=0))


def calibrated(answer, program=PROGRAM, trainset=TRAIN, **options):
    """The program after calibration, the optimizer and the server, of a model that answers as the function says."""
    with LLMServer(lambda _, fields, *__: {"intent": answer(fields["message"])}) as server:
        optimizer = TrustCalibration(progress=False, **options)
        with using(server):
            return optimizer.compile(program, trainset=trainset), optimizer, server


def test_a_model_that_knows_nothing_is_overruled():
    program, optimizer, server = calibrated(lambda _: "rent")
    assert program.retriever.trust is not None
    assert len(optimizer.cases) == len(server.requests) == len(TRAIN)
    found, _, _ = calibrated(lambda _: "rent", program)  # the same program, asked again
    assert found.retriever.trust == program.retriever.trust
    with LLMServer(lambda *_: {"intent": "rent"}) as again, using(again):
        assert program(message="my plastic chip").intent == "card"
        assert PROGRAM(message="my plastic chip").intent == "rent"
    assert PROGRAM.retriever.trust is None


def test_a_sentence_says_what_came_of_it():
    _, optimizer, _ = calibrated(lambda _: "rent")
    right = sum(case.right == "rent" for case in optimizer.cases)
    assert f"of 24 answers the model has {right} right, the vote 24, both together 24" in optimizer.summary
    _, optimizer, _ = calibrated(RIGHT.get)
    assert "the model has 24 right, the vote 24, both together 24" in optimizer.summary
    assert optimizer.summary.startswith("trust None (the model decides alone): of 24 answers")


def test_a_calibration_that_fails_says_nothing_of_an_earlier_one():
    _, optimizer, _ = calibrated(RIGHT.get)
    with LLMServer(lambda *_: {"intent": "gibberish"}) as server, using(server), pytest.raises(ModelError):
        optimizer.compile(PROGRAM, trainset=TRAIN)
    assert (optimizer.cases, optimizer.failures, optimizer.summary) == ([], [], "")


def test_a_model_that_is_always_right_beside_a_useless_vote_decides():
    shuffled = [dspy.Example(message=e.message, intent=TRAIN[(n * 5 + n // 3) % 24].intent).with_inputs("message")
                for n, e in enumerate(TRAIN)]  # fmt: skip
    truth = {example.message: example.intent for example in shuffled}
    program = equip(dspy.Predict(Intent), precedent_library(TRAIN, ["intent"]))
    found, _, _ = calibrated(truth.get, program, shuffled)
    assert found.retriever.trust is None


def test_an_example_has_no_vote_on_itself():
    _, optimizer, _ = calibrated(RIGHT.get)
    alone = [equip(dspy.Predict(Intent), LIBRARY).shares(message=example.message) for example in TRAIN]
    assert sorted(map(sorted, (case.shares.items() for case in optimizer.cases))) == sorted(
        map(sorted, (shares.items() for shares in alone))
    )


def test_an_earlier_trust_is_fitted_anew():
    doubted, _, _ = calibrated(RIGHT.get, equip(dspy.Predict(Intent), LIBRARY, trust=1))
    fresh, _, _ = calibrated(RIGHT.get)
    assert doubted.retriever.trust == fresh.retriever.trust


def test_repeated_problems_are_asked_once():
    _, _, server = calibrated(RIGHT.get, trainset=[*TRAIN, *TRAIN])
    assert len(server.requests) == len(TRAIN)


def test_as_many_examples_as_asked_for():
    first, second = (calibrated(RIGHT.get, examples=20, seed=seed)[2] for seed in (1, 2))
    assert len(first.requests) == len(second.requests) == 20
    assert {r.messages[-1]["content"] for r in first.requests} != {r.messages[-1]["content"] for r in second.requests}


@pytest.mark.parametrize(
    ("program", "obstacle"),
    [
        (dspy.Predict(Intent), "no library yet: call equip first"),
        (equip(dspy.Predict("message -> answer"), LIBRARY), "outputs of this one are answer: none is a Literal"),
        (equip(dspy.Predict("message -> urgent: bool"), LIBRARY), "outputs of this one are urgent: none is a Literal"),
        (equip(dspy.Predict(Intent), LIBRARY, tally=0), "key= or tally=0"),
        (equip(dspy.Predict(Intent), LIBRARY, key=["message"]), "key= or tally=0"),
    ],
    ids=["bare", "no label", "bool", "no vote", "own key"],
)
def test_a_program_without_a_vote_is_refused(program, obstacle):
    with pytest.raises(ConfigurationError, match=f"made by equip.*{obstacle}$"):
        TrustCalibration().compile(program, trainset=TRAIN)


def test_a_program_of_several_predictors_is_refused():
    class Two(dspy.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = dspy.Predict(Intent), dspy.Predict(Intent)

    with pytest.raises(ConfigurationError, match="2 predictors"):
        TrustCalibration().compile(equip(Two(), LIBRARY), trainset=TRAIN)


def test_few_examples_are_refused_before_the_model_is_asked():
    strange = [dspy.Example(message=f"m{n}", intent="unheard").with_inputs("message") for n in range(30)]
    message = "20 training examples with a label, got 5 of 35: .*'intent' .* card, loan, rent, and one has 'unheard'$"
    with pytest.raises(ConfigurationError, match=message):
        TrustCalibration().compile(PROGRAM, trainset=[*TRAIN[:5], *strange])
    with pytest.raises(ConfigurationError, match=r"got 0 of 0: .* card, loan, rent$"):
        TrustCalibration().compile(PROGRAM, trainset=[])
    with pytest.raises(ConfigurationError, match="20 training examples with different problems, got 5"):
        TrustCalibration().compile(PROGRAM, trainset=TRAIN[:5] * 5)
    with pytest.raises(ConfigurationError, match="at least 20"):
        TrustCalibration(examples=5)


def test_an_empty_library_is_refused_before_the_model_is_asked():
    with LLMServer(lambda *_: {"intent": "rent"}) as server, using(server):
        with pytest.raises(ConfigurationError, match="library is empty"):
            TrustCalibration(progress=False).compile(equip(dspy.Predict(Intent), ExperienceLibrary()), trainset=TRAIN)
        assert not server.requests


def test_a_library_of_lessons_alone_gives_no_answers_to_use():
    lessons = ExperienceLibrary().add("Read the message.", ["Look for the product."], author="Ann")
    with pytest.raises(ModelError, match=r"only 0 of 24 .* 0 answers hold no intent .* 24 have no similar"):
        calibrated(RIGHT.get, equip(dspy.Predict(Intent), lessons))


def test_calls_that_fail_are_left_out():
    broken = {example.message for example in TRAIN[10:12]}
    _, optimizer, _ = calibrated(lambda message: "gibberish" if message in broken else RIGHT[message])
    assert len(optimizer.failures) == 2
    assert len(optimizer.cases) == len(TRAIN) - 2


def test_the_ledgers_budget_holds():
    ledger = Ledger(budget_tokens=200)
    with pytest.raises((BudgetError, BaseExceptionGroup)):
        calibrated(RIGHT.get, ledger=ledger, concurrency=1)
    assert 200 <= ledger.total.tokens < 1_000


@pytest.mark.parametrize(
    ("names", "reason"),
    [(("message", "label"), "24 answers hold no intent"), (("text", "intent"), "24 have no similar precedents")],
    ids=["output", "input"],
)
def test_a_program_that_renames_a_field_is_refused(names, reason):
    class Renames(dspy.Module):
        def __init__(self):
            super().__init__()
            self.answer = dspy.Predict(Intent)

        def forward(self, **inputs):
            return dspy.Prediction(**{names[1]: self.answer(message=inputs[names[0]]).intent})

    train = [dspy.Example({names[0]: e.message, "intent": e.intent}).with_inputs(names[0]) for e in TRAIN]
    with pytest.raises(ModelError, match=f"{reason}.*under their names"):
        calibrated(RIGHT.get, equip(Renames(), LIBRARY), train)

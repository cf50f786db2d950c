"""The verifier: who decides, and what its feedback never holds."""

import dspy
import pytest

from flex_dspy.core.trajectory import Feedback
from flex_dspy.metrics.aime import integer_answer
from flex_dspy.metrics.molecules import canonical_smiles
from flex_dspy.programs import Verifier
from tests.llm_server import Fault, LLMServer

TOO_LONG = Fault(400, "too many words", code="context_length_exceeded")


@pytest.fixture
def server(llm_server: LLMServer, lm: dspy.LM) -> LLMServer:
    return llm_server


def integer(text: str) -> str | None:
    value = integer_answer(text)
    return None if value is None else str(value)


def says(feedback: str, accepted: bool = False):
    return lambda role, inputs, messages: {"accepted": accepted, "feedback": feedback}


def test_what_the_metric_accepts_needs_no_model(server, ask):
    server.script = says("never asked")
    verdict = ask(Verifier(), problem="6*7", attempt="answer: 42", measured=Feedback(1.0, "Right."), reference="42")
    assert (verdict.accepted, verdict.feedback, verdict.redacted) == (True, "Right.", False)
    assert server.requests == []


def test_what_the_metric_rejects_the_model_cannot_accept(server, ask, adapter):
    server.script = says("Add once more.", accepted=True)
    verdict = ask(
        Verifier(), problem="6*7", attempt="answer: 36", measured=Feedback(0.25, "Too small."), reference="42"
    )
    assert (verdict.accepted, verdict.feedback, verdict.redacted) == (False, "Add once more.", False)
    (request,) = server.requests
    assert request.role == "verifier"
    assert request.inputs == {
        "problem": "6*7",
        "attempt": "answer: 36",
        "measured": "rejected (score 0.25). Too small.",
        "reference": "42",
    }


@pytest.mark.parametrize("accepted", [True, False])
def test_without_a_measurement_the_model_decides(server, ask, accepted):
    server.script = says("Because.", accepted)
    verdict = ask(Verifier(), problem="6*7", attempt="answer: 36")
    assert verdict.accepted is accepted
    assert server.requests[0].inputs == {"problem": "6*7", "attempt": "answer: 36"}


def test_what_is_not_known_has_no_place_in_the_prompt(server):
    server.script = says("Because.")
    verifier = Verifier()
    for reference in ("42", ""):
        verifier(problem="6*7", attempt="answer: 36", reference=reference)
        verifier(problem="6*7", attempt="answer: 36", measured=Feedback(0.0), reference=reference)
    fields = [set(request.inputs) - {"problem", "attempt"} for request in server.requests]
    assert fields == [{"reference"}, {"measured", "reference"}, set(), {"measured"}]
    described = ["[[ ## measured ## ]]" in request.messages[0]["content"] for request in server.requests]
    assert described == [False, True, False, True]


def test_the_threshold_is_the_least_score_that_counts(server):
    server.script = says("never asked")
    assert Verifier(threshold=0.5)(problem="p", attempt="a", measured=Feedback(0.5)).accepted


@pytest.mark.parametrize(
    "leak",
    [
        "The right answer is 42.",
        "You should get $42$, not 36.",
        r"Hence \boxed{042}.",
        "6*7=42",
        "The result (42) is even.",
        "**42**",
    ],
)
def test_an_integer_is_withheld_however_it_is_written(server, ask, leak):
    server.script = says(leak)
    verifier = Verifier(normalize=integer)
    verdict = ask(verifier, problem="6*7", attempt="answer: 36", measured=Feedback(0.0), reference="42")
    assert verdict.redacted
    assert "[withheld]" in verdict.feedback
    assert "42" not in verdict.feedback


def test_other_numbers_and_the_attempts_own_are_not_withheld(server):
    server.script = says("36 is wrong: 6 * 7 is more than 40, and 142 or 4.2 are no candidates.")
    verifier = Verifier(normalize=integer)
    verdict = verifier(problem="6*7", attempt="answer: 36", measured=Feedback(0.0), reference="42")
    assert not verdict.redacted
    assert "[withheld]" not in verdict.feedback


REACTANTS = "CC(=O)O.NCc1ccccc1"


@pytest.mark.parametrize(
    "leak",
    [
        "CC(=O)O.NCc1ccccc1",
        "c1ccccc1CN.OC(C)=O",
        "OC(C)=O",
        "`OC(C)=O`,",
        "(OC(C)=O)",
        "c1ccc(cc1)CN.CC(Cl)=O",
        "C1=CC=CC=C1CN.OC(C)=O.ClCCl",
    ],
)
def test_a_molecule_is_withheld_however_it_is_written(server, ask, leak):
    server.script = says(f"Use {leak} instead of the ester.")
    verifier = Verifier(normalize=canonical_smiles)
    attempt = "reactants: CC(=O)OC.NCCc1ccccc1"
    verdict = ask(verifier, problem="CC(=O)NCc1ccccc1", attempt=attempt, measured=Feedback(0.0), reference=REACTANTS)
    assert verdict.redacted
    assert verdict.feedback.startswith("Use ")
    assert verdict.feedback.endswith(" instead of the ester.")
    secrets = {canonical_smiles(part) for part in REACTANTS.split(".")}
    words = [part.strip("`,()") for word in verdict.feedback.split() for part in word.split(".")]
    assert secrets.isdisjoint({canonical_smiles(word) for word in words if len(word) > 3})


def test_a_part_that_the_attempt_already_has_may_be_named(server):
    server.script = says("The amine NCc1ccccc1 is right, the ester is not.")
    verdict = Verifier(normalize=canonical_smiles)(
        problem="CC(=O)NCc1ccccc1",
        attempt="reactants: CC(=O)OC.c1ccccc1CN",
        measured=Feedback(0.0),
        reference=REACTANTS,
    )
    assert not verdict.redacted


def test_a_verdict_that_cannot_be_read_is_an_error_where_nothing_was_measured(server, ask):
    server.script = lambda role, inputs, messages: "I would rather not."
    with pytest.raises(dspy.utils.exceptions.AdapterParseError):
        ask(Verifier(), problem="p", attempt="a")
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("remarks", "feedback"), [("Too small; 42 is right.", "Too small; [withheld] is right."), ("", None)]
)
def test_else_the_metrics_remarks_are_the_feedback(server, ask, remarks, feedback):
    server.script = lambda role, inputs, messages: "I would rather not."
    verdict = ask(Verifier(), problem="p", attempt="36", measured=Feedback(0.0, remarks), reference="42")
    assert not verdict.accepted
    assert verdict.feedback == (feedback or "The answer is not right.")
    assert verdict.redacted == bool(feedback)


def test_a_long_attempt_shrinks_until_the_prompt_fits(server, ask):
    fits = {"accepted": False, "feedback": "No."}
    server.script = lambda role, inputs, messages: fits if len(inputs["attempt"]) < 3_000 else TOO_LONG
    attempt = "reasoning: first " + "w" * 20_000 + "\nanswer: 36"
    assert ask(Verifier(), problem="p" * 9_000, attempt=attempt, reference="42").feedback == "No."
    first, second, third = (request.inputs for request in server.requests)
    assert first["attempt"] == attempt
    for shorter in (second["attempt"], third["attempt"]):
        assert shorter.startswith("reasoning: first")
        assert shorter.endswith("answer: 36")
    assert third["problem"] == "p" * 9_000


def test_what_still_overflows_is_an_error(server, ask):
    server.script = lambda role, inputs, messages: TOO_LONG
    with pytest.raises(dspy.utils.exceptions.ContextWindowExceededError):
        ask(Verifier(), problem="p", attempt="a", measured=Feedback(0.0, "No."))
    assert len(server.requests) == 1


def test_a_server_that_hangs_up_is_an_error_of_the_model(server, ask):
    server.script = lambda role, inputs, messages: Fault(0)
    with pytest.raises(dspy.utils.exceptions.LMError):
        ask(Verifier(), problem="p", attempt="a")


def test_it_saves_and_loads(server, tmp_path):
    server.script = says("ok")
    verifier = Verifier()
    verifier.verify.signature = verifier.verify.signature.with_instructions("Judge.")
    verifier.save(tmp_path / "verifier.json")
    again = Verifier()
    again.load(tmp_path / "verifier.json")
    again.deepcopy()(problem="p", attempt="a")
    assert "Judge." in server.requests[0].messages[0]["content"]


def test_the_metrics_own_word_goes_before_the_threshold(server):
    server.script = says("Try another.")
    assert Verifier()(problem="p", attempt="a", measured=Feedback(0.3, accepted=True)).accepted
    assert not Verifier()(problem="p", attempt="a", measured=Feedback(1.0, accepted=False)).accepted

"""Predictors that pick a label read the answer of similar precedents. They are offered the labels these leave open."""

import asyncio
import enum
from collections.abc import Callable
from typing import Literal

import dspy
import pytest

from flex_dspy import ExperienceLibrary, equip
from flex_dspy.core.examples import problem_text
from flex_dspy.libraries.experience import Experience, Precedent
from flex_dspy.programs.experienced import tell_attempts
from flex_dspy.search.rendering import NONE
from flex_dspy.signatures.labels import label_output
from tests.llm_server import LLMServer


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Intent(dspy.Signature):
    """Name the intent."""

    message: str = dspy.InputField()
    intent: Literal["pending", "declined", "fee"] = dspy.OutputField()


CASES = [("transfer declined again", "declined"), ("card declined", "declined"), ("declined payment", "declined"),
         ("payment still pending", "pending"), ("transfer still pending", "pending")]  # fmt: skip
PRECEDENTS = [Experience("golden", "", precedents=(Precedent(p, p, answer),)) for p, answer in CASES]
LIBRARY = ExperienceLibrary(PRECEDENTS)
ASKED = "was my card payment declined?"


@pytest.mark.parametrize(
    ("signature", "output"),
    [
        (Intent, "intent"),
        (dspy.ChainOfThought(Intent).predict.signature, "intent"),
        ("question -> is_right: bool", "is_right"),
        (dspy.Signature({"text": (str, dspy.InputField()), "size": (Size, dspy.OutputField())}), "size"),
        ("question -> answer", None),
        ("question -> answer: int", None),
        ("question -> is_right: bool, why", None),
        ("question -> labels: list[str]", None),
    ],
    ids=["literal", "reasons first", "bool", "enum", "text", "number", "two outputs", "list"],
)
def test_a_label_is_the_one_output_with_few_values(signature, output):
    assert label_output(dspy.ensure_signature(signature)) == output


def ask(program: dspy.Module, answer: str, **inputs: str) -> tuple[dspy.Prediction, list[str]]:
    """The prediction, and the text of each request, of a model that always gives one label."""
    with LLMServer(lambda *_: {"intent": answer, "answer": answer, "reasoning": "so"}) as server:
        lm = dspy.LM("openai/test", api_base=server.url, api_key="none", cache=False)
        with dspy.context(lm=lm):
            prediction = program(**(inputs or {"message": ASKED}))
        sent = ["\n".join(message["content"] for message in request.messages) for request in server.requests]
        return prediction, sent


def asked(program: dspy.Module, **inputs: str) -> str:
    """All that a program sends."""
    return ask(program, "declined", **inputs)[1][-1]


def test_a_predictor_that_picks_a_label_reads_the_likely_one():
    prompt = asked(equip(dspy.Predict(Intent), LIBRARY))
    assert f"[[ ## message ## ]]\n{ASKED}\n\n[[ ## likely_intent ## ]]\ndeclined\n" in prompt
    assert "[[ ## experiences ## ]]" not in prompt
    assert "Answers to the" not in prompt
    assert "pending; declined; fee" in prompt


def test_one_that_reasons_first_reads_it_too():
    assert "[[ ## likely_intent ## ]]\ndeclined" in asked(equip(dspy.ChainOfThought(Intent), LIBRARY))


def test_lessons_stand_beside_it():
    lesson = Experience("golden", "Read the word declined.", precedents=(Precedent("x", "x", "fee"),))
    prompt = asked(equip(dspy.Predict(Intent), ExperienceLibrary([lesson, *PRECEDENTS])))
    assert "Read the word declined." in prompt
    assert "[[ ## likely_intent ## ]]\ndeclined" in prompt


def test_demos_say_that_they_had_none():
    program = equip(dspy.Predict(Intent), LIBRARY, demonstrations=1)
    program.demos = [dspy.Example(message="mine", intent="fee")]
    prompt = asked(program)
    assert prompt.count(f"[[ ## likely_intent ## ]]\n{NONE}") == 2
    assert "not supplied" not in prompt


def test_tally_zero_asks_what_the_bare_program_asks():
    assert asked(equip(dspy.Predict(Intent), LIBRARY, tally=0)) == asked(dspy.Predict(Intent))


def test_other_programs_are_told_nothing_by_default():
    program = equip(dspy.Predict("message -> answer"), LIBRARY)
    assert asked(program) == asked(dspy.Predict("message -> answer"))


def test_a_field_of_that_name_stays_the_programs_own():
    own = dspy.Predict(Intent.append("likely_intent", dspy.InputField(), str))
    prompt = asked(equip(own, LIBRARY), message=ASKED, likely_intent="fee, says the customer")
    assert "fee, says the customer" in prompt
    assert prompt.count("[[ ## likely_intent ## ]]\ndeclined") == 0


def test_what_an_example_may_not_see_is_not_counted():
    prompt = asked(equip(dspy.Predict(Intent), ExperienceLibrary(PRECEDENTS[:4])), message="card declined")
    assert "likely_intent" not in prompt  # three others are too few to say whether answers repeat


# -- labels that are not offered ----------------------------------------------------------------------------------

TOPICS = {"declined": "declined refused rejected", "pending": "pending waiting delayed", "fee": "fee charge cost"}
MANY = [
    (f"{word} {thing} {number}", label)
    for label, words in TOPICS.items()
    for word in words.split()
    for number, thing in enumerate(("card", "transfer", "payment", "order", "loan", "cheque", "account"))
]


def library_of(cases: list[tuple[str, str]], write: Callable[[str], str] = str) -> ExperienceLibrary:
    entries = [Experience("golden", "", precedents=(Precedent(p, write(p), label),)) for p, label in cases]
    return ExperienceLibrary(entries)


class Topic(dspy.Signature):
    """Name the intent."""

    message: str = dspy.InputField()
    intent: Literal["fee", "unseen", "pending", "declined"] = dspy.OutputField()


def narrowed(**settings: object) -> dspy.Module:
    return equip(dspy.Predict(Topic), library_of(MANY), **settings)


def test_the_prompt_offers_the_labels_that_similar_precedents_leave_open():
    prompt = asked(narrowed())
    assert "unseen; declined" in prompt
    assert "Literal['unseen', 'declined']" in prompt
    assert "pending" not in prompt
    assert "[[ ## likely_intent ## ]]\ndeclined" in prompt


def test_asynchronous_calls_offer_the_same():
    with LLMServer(lambda *_: {"intent": "declined"}) as server:
        lm = dspy.LM("openai/test", api_base=server.url, api_key="none", cache=False)
        with dspy.context(lm=lm):
            asyncio.run(narrowed().acall(message=ASKED))
        sent = "\n".join(message["content"] for message in server.requests[-1].messages)
    assert sent == asked(narrowed())


def test_coverage_one_offers_all_labels():
    prompt = asked(narrowed(coverage=1))
    assert "fee; unseen; pending; declined" in prompt
    assert "[[ ## likely_intent ## ]]\ndeclined" in prompt


def test_an_answer_with_another_declared_label_counts():
    prediction, requests = ask(narrowed(), "pending")
    assert prediction.intent == "pending"
    assert len(requests) == 1


def test_an_answer_with_no_label_at_all_is_asked_for_again():
    with pytest.raises(dspy.AdapterParseError, match="expected one of unseen, declined"):
        ask(narrowed(), "refund")


def test_the_program_keeps_its_labels():
    program = narrowed()
    asked(program)
    assert program.signature.output_fields["intent"].annotation == Topic.output_fields["intent"].annotation


def test_a_saved_program_offers_the_same(tmp_path):
    path = tmp_path / "program.json"
    program = narrowed(coverage=0.5, embed=True)
    program.save(path)
    loaded = equip(dspy.Predict(Topic), ExperienceLibrary())
    loaded.load(path)
    assert loaded.retriever.coverage == 0.5
    assert asked(loaded) == asked(program)
    assert "coverage" not in narrowed().dump_state()["experience"]


@pytest.mark.parametrize(
    "signature",
    [
        dspy.Signature({"message": (str, dspy.InputField()), "intent": (bool, dspy.OutputField())}),
        dspy.Signature(
            {
                "message": (str, dspy.InputField()),
                "intent": (enum.Enum("Kind", {"Y": "True", "N": "False"}), dspy.OutputField()),
            }
        ),
    ],
    ids=["bool", "enum"],
)
def test_a_bool_and_an_enum_keep_all_values(signature):
    library = library_of([(problem, str(label == "declined")) for problem, label in MANY])
    with_all = ask(equip(dspy.Predict(signature), library, coverage=1), "True", message=ASKED)[1]
    assert ask(equip(dspy.Predict(signature), library), "True", message=ASKED)[1] == with_all
    assert "likely_intent" in with_all[0]


class TwoSteps(dspy.Module):
    def __init__(self):
        super().__init__()
        self.rewrite = dspy.Predict("message -> answer")
        self.pick = dspy.Predict(Topic)

    def forward(self, message):
        self.rewrite(message=message)
        return self.pick(message=message)


def test_a_program_of_several_predictors_offers_all_labels():
    assert "fee; unseen; pending; declined" in asked(equip(TwoSteps(), library_of(MANY)))


def test_an_answer_that_is_not_declared_is_not_told():
    library = library_of([*MANY, *[(f"card declined {n} {n}", "refund") for n in range(9)]])
    prompt = asked(equip(dspy.Predict(Topic), library))
    assert "[[ ## likely_intent ## ]]\ndeclined" in prompt
    assert "refund" not in prompt


def test_a_search_by_other_text_than_the_problem_offers_all_labels():
    assert "fee; unseen; pending; declined" in asked(narrowed(key=["message"]))


def test_problems_of_several_inputs_are_asked_about_as_wholes():
    signature = Topic.prepend("customer", dspy.InputField(), str)
    library = library_of(MANY, lambda text: problem_text({"customer": "Ann", "message": text}))
    prompt = asked(equip(dspy.Predict(signature), library), customer="Ann", message=ASKED)
    assert "unseen; declined" in prompt


def test_demonstrations_show_labels_that_are_offered():
    prompt = asked(narrowed(demonstrations=60))
    assert prompt.count("[[ ## intent ## ]]\ndeclined") > 5
    assert "[[ ## intent ## ]]\npending" not in prompt


def test_in_a_near_tie_the_model_sees_the_nearest_precedents_and_chooses():
    message = "my card was declined, or is it pending?"
    prompt = asked(narrowed(), message=message)
    assert "unseen; pending; declined" in prompt
    assert "likely_intent" not in prompt
    assert prompt.count("[[ ## intent ## ]]\ndeclined") + prompt.count("[[ ## intent ## ]]\npending") == 8
    without = asked(narrowed(demonstrations=0), message=message)
    assert prompt.count("[[ ## intent ## ]]") == without.count("[[ ## intent ## ]]") + 8


# -- trust -----------------------------------------------------------------------------------------------


def test_precedents_overrule_a_model_that_is_not_trusted():
    prediction, _ = ask(equip(dspy.Predict(Intent), LIBRARY, trust=1), "fee")
    assert prediction.intent == "declined"
    assert prediction.model_intent == "fee"


def test_a_trusted_model_decides():
    prediction, _ = ask(equip(dspy.Predict(Intent), LIBRARY, trust=1_000), "fee")
    assert prediction.intent == prediction.model_intent == "fee"


def test_trust_changes_no_prompt():
    with_trust, without_trust = (ask(equip(dspy.Predict(Intent), LIBRARY, trust=t), "fee")[1] for t in (1, None))
    assert with_trust == without_trust


def test_without_trust_the_models_answer_stands_alone():
    prediction, _ = ask(equip(dspy.Predict(Intent), LIBRARY), "fee")
    assert prediction.intent == "fee"
    assert "model_intent" not in prediction


def test_a_rejected_label_is_not_voted_for_again():
    with tell_attempts("1. declined: wrong"):
        prediction, _ = ask(equip(dspy.Predict(Intent), LIBRARY, trust=1), "fee")
    assert prediction.intent == "fee"


def test_labels_keep_their_type():
    signature = dspy.Signature({"message": (str, dspy.InputField()), "stars": (Literal[1, 2], dspy.OutputField())})
    entries = [Experience("golden", "", precedents=(Precedent(p, p, "2"),)) for p, _ in CASES]
    with LLMServer(lambda *_: {"stars": 1}) as server:
        lm = dspy.LM("openai/test", api_base=server.url, api_key="none", cache=False)
        with dspy.context(lm=lm):
            program = equip(dspy.Predict(signature), ExperienceLibrary(entries), trust=1)
            assert program(message=ASKED).stars == 2
            assert asyncio.run(program.acall(message=ASKED)).stars == 2


def test_an_empty_library_overrules_nothing():
    prediction, _ = ask(equip(dspy.Predict(Intent), ExperienceLibrary(), trust=1), "fee")
    assert prediction.intent == "fee"


def test_trust_is_saved_with_the_program(tmp_path):
    equip(dspy.Predict(Intent), LIBRARY, trust=2.5).save(tmp_path / "agent.json")
    loaded = equip(dspy.Predict(Intent), LIBRARY)
    loaded.load(tmp_path / "agent.json")
    assert loaded.retriever.trust == 2.5


def test_shares_are_those_of_similar_precedents():
    program = equip(dspy.Predict(Intent), LIBRARY)
    shares = program.shares(message=ASKED)
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=shares.get) == "declined"
    assert program.shares(message=CASES[0][0]) != shares  # without its own vote
    assert equip(dspy.Predict(Intent), LIBRARY, tally=0).shares(message=ASKED) == {}

"""Answers as real models write them, through DSPy's adapters: read at once, or asked for again with the reason."""

import asyncio
import contextlib
import json

import cloudpickle
import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError
from pydantic import BaseModel

from flex_dspy.libraries.experience import Experience, Precedent
from flex_dspy.models.adapter import MOST_REQUESTS, ReadingChatAdapter, reading_adapter, reading_answers
from flex_dspy.programs import Actor, Critic, Updater, Verifier
from flex_dspy.programs.equip import equip
from flex_dspy.tasks.gsm8k import SolveWordProblem
from tests.llm_server import Fault

SOLVE = dspy.Signature("problem -> reasoning, answer: int")
NAME = dspy.Signature("message -> intent: Literal['pending_transfer', 'failed_transfer']")


def chat(**fields: str) -> str:
    blocks = [f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items()]
    return "\n\n".join([*blocks, "[[ ## completed ## ]]"])


def read(signature: type[dspy.Signature], answer: str) -> dict:
    return reading_adapter().parse(signature, answer)


@pytest.fixture
def lm(llm_server) -> dspy.LM:
    return dspy.LM("openai/test", api_base=llm_server.url, api_key="none", num_retries=0)


@pytest.fixture(params=["sync", "async"])
def ask(request, lm):
    def ask_it(program: dspy.Module, **inputs) -> dspy.Prediction:
        with dspy.context(lm=lm):
            return program(**inputs) if request.param == "sync" else asyncio.run(program.acall(**inputs))

    return ask_it


# -- the forms of a whole answer ---------------------------------------------------------------------------

READ = {
    "as asked": chat(reasoning="hm", answer="70"),
    "boxed": chat(reasoning="hm", answer=r"$\boxed{070}$"),
    "bold": chat(reasoning="hm", answer="**70**"),
    "a sentence": chat(reasoning="hm", answer="The answer is 70"),
    "reasoning tags": chat(reasoning="hm", answer="<think>maybe \\boxed{12}</think>\nThe answer is 70."),
    "reasoning before": "<think>[[ ## answer ## ]] 12?</think>\n\n" + chat(reasoning="hm", answer="70"),
    "reasoning that the template opened": "maybe [[ ## answer ## ]] 12</think>\n" + chat(reasoning="hm", answer="70"),
    "decorated markers": "**[[ ## reasoning ## ]]**\nhm\n**[[ ## answer ## ]]** 70\n",
    "markers without blanks": "[[##reasoning##]]\nhm\n[[##answer##]]\n70",
    "labels": "Reasoning: we add.\n\n**Answer:** 70",
    "headings": "### Reasoning\nwe add\n\n### Answer\n70",
    "JSON": '{"reasoning": "hm", "answer": 70}',
    "JSON in a fence": 'Here it is:\n```json\n{"reasoning": "hm", "answer": "70"}\n```',
    "no form at all": "We add 30 and 40. The answer is 70.",
    "a reasoning without its marker": "We add.\n\n[[ ## answer ## ]]\n70\n\n[[ ## completed ## ]]",
    "no reasoning": chat(answer="70"),
    "the answer at the end of the reasoning": "[[ ## reasoning ## ]]\nWe add.\n\nSo there are \\(\\boxed{70}\\) cans.",
    "corrected by itself": "[[ ## reasoning ## ]]\nhm\n[[ ## answer ## ]]\n12\nNo.\n[[ ## answer ## ]]\n70\n",
    "another problem behind": chat(answer="70") + "\n\n[[ ## problem ## ]]\nNext\n[[ ## answer ## ]]\n5",
    "a token of the chat's format": chat(reasoning="hm", answer="70<|im_end|>"),
    "a lone surrogate and a NUL": chat(reasoning="\ud83d", answer="7\x000"),
}
UNREADABLE = {
    "a refusal": "I would rather not.",
    "nothing": "   ",
    "a doubt": chat(reasoning="hm", answer="70 or 71"),
    "no number": chat(reasoning="hm", answer="I cannot tell"),
    "a reasoning that was cut short": "[[ ## reasoning ## ]]\nThe answer is 70, or is it?\n\nWe add 30 + 40 = 70",
    "only another problem behind": chat(reasoning="hm") + "\n\n[[ ## problem ## ]]\nNext\n[[ ## answer ## ]]\n70",
    "reasoning without an end": "<think>maybe [[ ## answer ## ]] 70",
    "JSON that was cut short": '{"reasoning": "hm", "answer": 70, "note": "and',
    "brackets without end": "{" * 100_000,
}


@pytest.mark.parametrize("form", READ)
def test_a_person_would_read_it(form):
    assert read(SOLVE, READ[form])["answer"] == 70


@pytest.mark.parametrize("form", UNREADABLE)
def test_nobody_could_read_it(form):
    with pytest.raises(AdapterParseError):
        read(SOLVE, UNREADABLE[form])


ANY = dspy.Signature("question -> answer")


@pytest.mark.parametrize(
    "text",
    [
        "[O-]c1ccccc1",
        "[Paris](https://example.org)",
        "{a} and {b} are disjoint",
        "See also:\n[[Paris]]\nIt is the capital.",
        "if\n[[ x ]]\nthen echo hi",
        "To close write </think> at the end",
        "Use <thought>x</thought> here",
    ],
)
def test_a_text_may_hold_what_looks_like_a_form(text):
    assert read(ANY, chat(answer=text))["answer"] == text
    assert read(ANY, json.dumps({"answer": text}))["answer"] == text


def test_lists_in_lists_are_no_markers():
    assert read(dspy.Signature("question -> matrix: list[list[int]]"), chat(matrix="[[1]]"))["matrix"] == [[1]]


def test_tags_that_are_fields_are_no_reasoning():
    answer = "<reasoning>\nbecause\n</reasoning>\n<answer>\n70\n</answer>"
    assert reading_adapter(dspy.XMLAdapter()).parse(SOLVE, answer) == {"reasoning": "because", "answer": 70}


@pytest.mark.parametrize("adapter", [dspy.ChatAdapter(), dspy.JSONAdapter()])
@pytest.mark.parametrize(
    "answer",
    [
        'Either {"answer": 5} or {"answer": 6}',
        'Here:\n{"reasoning": "abc", "answer": 7',
        '{"a":' * 5_000 + "1" + "}" * 5_000,
        '{"answer":' + "[" * 3_000 + "1" + "]" * 3_000 + "}",
        "x" + "{" * 20_000 + "y",
        "{a " * 6_000 + "}",
        '{"answer": null}',
    ],
    ids=["two", "cut short", "nested objects", "nested lists", "open", "repetitive", "null"],
)
def test_an_object_is_read_whole_or_not_at_all(adapter, answer):
    for signature in (dspy.Signature("question -> answer: int"), ANY):
        with pytest.raises(AdapterParseError):
            reading_adapter(adapter).parse(signature, answer)


def test_a_field_may_be_called_completed():
    signature = dspy.Signature("task -> summary, completed: bool")
    answer = "[[ ## summary ## ]]\ns\n\n[[ ## completed ## ]]\nTrue\n\n[[ ## completed ## ]]"
    assert read(signature, answer.removesuffix("\n\n[[ ## completed ## ]]"))["completed"] is True


@pytest.mark.parametrize("answer", ['{"answer": 42}', "Answer: 42", "42"])
def test_a_field_that_may_be_none_is_looked_for(answer):
    assert read(dspy.Signature("question -> answer: Optional[int]"), answer)["answer"] == 42


@pytest.mark.parametrize("kind", ["list[str]", "Union[int, str]"])
def test_a_refusal_is_no_value(kind):
    with pytest.raises(AdapterParseError):
        read(dspy.Signature(f"question -> answer: {kind}"), "Sorry, but unfortunately impossible")


def test_a_label_inside_a_text_is_no_field():
    signature = dspy.Signature("question -> answer: int, explanation")
    answer = "Answer: 5\nExplanation: Since the\nAnswer: is about 5"
    with pytest.raises(AdapterParseError):
        read(signature, answer)


def test_an_adapter_can_be_pickled():
    assert cloudpickle.loads(cloudpickle.dumps(reading_adapter())).parse(SOLVE, chat(answer="70"))["answer"] == 70


def test_a_label_is_known_in_any_writing():
    assert read(NAME, chat(intent="Pending Transfer."))["intent"] == "pending_transfer"
    assert read(NAME, "I think it is `failed_transfer`.")["intent"] == "failed_transfer"
    with pytest.raises(AdapterParseError, match="found two of them"):
        read(NAME, chat(intent="pending_transfer or failed_transfer"))


def test_a_text_is_left_as_it_is():
    assert read(dspy.Signature("question -> answer"), chat(answer="**bold** `code`"))["answer"] == "**bold** `code`"


def test_a_field_with_a_default_never_costs_a_second_request():
    signature = dspy.Signature("question -> answer: int").append("ids", dspy.OutputField(default=[]), list[int])
    assert read(signature, chat(answer="70", ids="as I said"))["ids"] == []


class Lesson(BaseModel):
    text: str
    rank: int = 1


@pytest.mark.parametrize("adapter", [dspy.ChatAdapter(), dspy.JSONAdapter(), dspy.XMLAdapter()])
def test_each_adapter_reads_tolerantly(adapter):
    signature = dspy.Signature("problem -> answer: int, lessons: list[Lesson]", custom_types={"Lesson": Lesson})
    lessons = '[{"text": "t", "rank": 2}]'
    answers = {
        "ChatAdapter": chat(answer="**70**", lessons=lessons),
        "JSONAdapter": f'{{"answer": "**70**", "lessons": {lessons}}}',
        "XMLAdapter": f"<answer>**70**</answer>\n<lessons>{lessons}</lessons>",
    }
    values = reading_adapter(adapter).parse(signature, answers[type(adapter).__name__])
    assert (values["answer"], values["lessons"]) == (70, [Lesson(text="t", rank=2)])


# -- requests ----------------------------------------------------------------------------------------------


def solver(kind: str) -> dspy.Module:
    programs = {"actor": Actor(SOLVE), "equipped": equip(dspy.Predict(SOLVE))}
    return programs[kind]


@pytest.mark.parametrize("kind", ["actor", "equipped"])
@pytest.mark.parametrize("answer", [r"$\boxed{070}$", "**70**", "The answer is 70"])
def test_what_can_be_read_takes_one_request(llm_server, ask, kind, answer):
    llm_server.script = lambda role, inputs, messages: {"reasoning": "hm", "answer": answer}
    assert ask(solver(kind), problem="35 + 35?").answer == 70
    assert len(llm_server.requests) == 1


@pytest.mark.parametrize("kind", ["actor", "equipped"])
def test_the_second_request_says_what_was_wrong(llm_server, ask, kind):
    answers = [{"reasoning": "hm", "answer": "I cannot tell"}, {"reasoning": "hm", "answer": "70"}]
    llm_server.script = lambda role, inputs, messages: answers.pop(0)
    assert ask(solver(kind), problem="35 + 35?").answer == 70
    first, second = (request.messages[-1]["content"] for request in llm_server.requests)
    assert second.startswith(first)
    assert "expected one integer, found no number in 'I cannot tell'" in second


@pytest.mark.parametrize("kind", ["actor", "equipped"])
def test_what_cannot_be_read_is_never_served_from_the_cache(llm_server, ask, kind):
    llm_server.script = lambda role, inputs, messages: "I would rather not."
    with pytest.raises(AdapterParseError):
        ask(solver(kind), problem="35 + 35?")
    assert len(llm_server.requests) == MOST_REQUESTS
    llm_server.script = lambda role, inputs, messages: {"reasoning": "hm", "answer": "70"}
    assert ask(solver(kind), problem="35 + 35?").answer == 70
    assert ask(solver(kind), problem="35 + 35?").answer == 70  # this one is
    assert len(llm_server.requests) == MOST_REQUESTS + 1


@pytest.mark.parametrize("role", ["verifier", "critic", "updater"])
def test_each_role_is_told_what_was_wrong(llm_server, ask, role):
    lesson = Experience("golden", "Use the table.")
    calls = {
        "verifier": lambda: ask(Verifier(), problem="p", attempt="a"),
        "critic": lambda: ask(Critic(), precedent=Precedent("e", "p", "r")),
        "updater": lambda: ask(Updater(), lesson=lesson, nearest=[lesson]),
    }
    llm_server.script = lambda role, inputs, messages: "I would rather not."
    with contextlib.suppress(AdapterParseError):  # the updater inserts the lesson instead
        calls[role]()
    notes = [request.messages[-1]["content"].count("could not be read") for request in llm_server.requests]
    assert notes == [0, 1, 1]


def test_a_json_mode_that_a_server_lacks_costs_no_answer(llm_server, ask):
    def script(role, inputs, messages):
        if "JSON object" in messages[-1]["content"]:
            return Fault(400, "response_format is not supported")
        return {"reasoning": "hm", "answer": "70"} if len(llm_server.requests) > 3 else "I would rather not."

    llm_server.script = script
    assert ask(Actor(SOLVE), problem="35 + 35?").answer == 70


def test_the_first_prompt_is_dspys_own():
    arguments = (SOLVE, [], {"problem": "35 + 35?"})
    assert reading_adapter().format(*arguments) == dspy.ChatAdapter().format(*arguments)
    assert reading_adapter(dspy.JSONAdapter()).format(*arguments) == dspy.JSONAdapter().format(*arguments)


def test_an_adapter_of_another_kind_is_left_alone():
    two_steps = dspy.TwoStepAdapter(dspy.LM("openai/test"))
    assert reading_adapter(two_steps) is two_steps


def test_the_settings_are_left_as_they_were():
    with reading_answers():
        assert isinstance(dspy.settings.adapter, ReadingChatAdapter)
    assert dspy.settings.adapter is None


def test_an_empty_library_asks_what_the_bare_program_asks(llm_server, ask):
    llm_server.script = lambda role, inputs, messages: {"reasoning": "hm", "answer": 70}
    ask(dspy.ChainOfThought(SolveWordProblem), problem="35 + 35?")
    answer = ask(Actor(SolveWordProblem), problem="35 + 35 ?")
    bare, own = (request.messages for request in llm_server.requests)
    assert [m["content"].replace("35 ?", "35?") for m in own] == [m["content"] for m in bare]
    assert answer.experiences_used == []

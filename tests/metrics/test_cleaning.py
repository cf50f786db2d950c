import pytest

from flex_dspy.metrics.cleaning import (
    MAX_ANSWER,
    after_retraction,
    clean_answer,
    out_of_container,
    parse_container,
    visible_answer,
    without_fence,
    without_quotes,
    without_reasoning,
    without_strong,
)
from flex_dspy.metrics.integers import integer_answer
from tests.metrics.test_integer_forms import NOT_SEVENTY


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("70", "70"),
        ("<think>12</think>70", "70"),
        ("a<think>12</think>b", "ab"),
        ("<think>12", ""),
        ("a <think>12", "a "),
        ("12</think>70", "70"),
        ("1</think>2</think>3", "3"),
        ("<think>a<think>b</think>c</think>d", "d"),
        ("<think>a</reasoning>12", ""),
        ("<thinking>a</think>b", "b"),
        ("<THINK>a</THINK>b", "b"),
        ('<think type="deep">a</think>b', "b"),
        ("<reasoning>a</reasoning><analysis>b</analysis>c", "c"),
        ("<thinking>a</thinking>b", "b"),
        ("[THINK]a[/THINK]b", "b"),
        ("◁think▷a◁/think▷b", "b"),
        ("<|begin_of_thought|>a<|end_of_thought|>b", "b"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>", "b"),
        ("<|channel|>analysis<|message|>a", ""),
        ("I think <b>so</b>", "I think <b>so</b>"),
        ("a < think > b", "a < think > b"),
    ],
)
def test_reasoning_is_no_answer(text, left):
    assert without_reasoning(text) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("**70**", "70"),
        ("***70***", "70"),
        ("__70__", "70"),
        ("**Answer:** 70", "Answer: 70"),
        ("**a** and **b**", "a and b"),
        ("(**a**), **b**.", "(a), b."),
        ("**CC(=O)Cl.NCC**", "CC(=O)Cl.NCC"),
        ("**[*]CC**", "[*]CC"),
        ("*CC*", "*CC*"),
        ("C**C", "C**C"),
        ("C**C.N**N", "C**C.N**N"),
        ("2**3", "2**3"),
        ("2 ** 3 ** 4", "2 ** 3 ** 4"),
        ("**open", "**open"),
        ("**a\nb**", "**a\nb**"),
        ("a__b__c", "a__b__c"),
    ],
)
def test_emphasis_goes_and_what_only_looks_like_it_stays(text, left):
    assert without_strong(text) == left


def test_names_may_begin_with_underscores():
    assert without_strong("__a__ + **b**", underscores=False) == "__a__ + b"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"answer": 70}', "70"),
        ('{"answer": "70"}', "70"),
        ("{'answer': '70'}", "70"),
        ('["70"]', "70"),
        ("(70,)", "70"),
        ('{"answer": {"value": [70]}}', "70"),
        ('{"answer": 70, "why": "so"}', "70"),
        ('{"answer": true}', "true"),
        ("[70, 71]", "[70, 71]"),
        ('{"a": 70, "b": 71}', '{"a": 70, "b": 71}'),
        ('{"answer": 70, "result": 71}', '{"answer": 70, "result": 71}'),
        ('{"answer": null}', '{"answer": null}'),
        ('{"answer": 70', '{"answer": 70'),
        ("['a' 'b']", "['a' 'b']"),
        ("[C]", "[C]"),
        ("[Na+]", "[Na+]"),
        ("(__import__('os').getcwd())", "(__import__('os').getcwd())"),
        ("[" * 1000 + "]" * 1000, "[" * 1000 + "]" * 1000),
    ],
)
def test_one_value_comes_out_of_its_container(text, left):
    assert out_of_container(text) == left


def test_a_deep_or_long_container_is_not_parsed():
    assert parse_container("[" * 100_000 + "]" * 100_000) is None
    assert parse_container("[" + "1," * 100_000 + "1]") is None


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("```\n70\n```", "70\n"),
        ("```json\n70\n```", "70\n"),
        ("```json\n70", "70"),
        ("~~~\n70\n~~~", "70\n"),
        ("```\n1\n```\nor\n```\n2\n```", "```\n1\n```\nor\n```\n2\n```"),
        ("70", "70"),
    ],
)
def test_a_fence_around_the_whole_goes(text, left):
    assert without_fence(text) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("'a'", "a"),
        ('"a"', "a"),
        ("`a`", "a"),
        ("“a”", "a"),
        ("*a*", "a"),
        ("'a' or 'b'", "'a' or 'b'"),
        ("''", "''"),
        ("'", "'"),
    ],
)
def test_one_pair_of_quotes_goes(text, left):
    assert without_quotes(text) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("12. Wait, that is wrong. 70", "70"),
        ("12. That answer is incorrect: 70", "70"),
        ("12. Scratch that. 70", "70"),
        ("12. Wait, no: 70", "70"),
        ("12. Correction: 70", "70"),
        ("70. That is wrong.", ""),
        ("We wait 70 minutes.", "We wait 70 minutes."),
        ("70, that is right.", "70, that is right."),
    ],
)
def test_a_retracted_draft_is_no_answer(text, left):
    assert after_retraction(text) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("\u200b7\u200d0\ufeff", "70"),
        ("70\u00a0kg", "70 kg"),
        ("## **Answer**\n70", "Answer\n70"),
        ("answer = '70'", "70"),
        ("```python\nanswer = 70\n```", "70"),
        (r"pending\_transfer", "pending_transfer"),
        ("<think>a</think>", ""),
        ("> 70", "> 70"),
        ("C#", "C#"),
    ],
)
def test_the_whole_step(text, left):
    assert clean_answer(text) == left
    assert clean_answer(left) == left


@pytest.mark.parametrize("text", NOT_SEVENTY)
def test_cleaning_never_turns_a_wrong_answer_into_a_right_one(text):
    cleaned = clean_answer(text)
    assert cleaned.strip() not in ("70", "070", "70.")
    assert integer_answer(cleaned) != 70 or integer_answer(text) == 70 or "<" in text


@pytest.mark.parametrize(
    "unit",
    [
        "(",
        "{",
        "[",
        "\\boxed{",
        "<think>",
        "</think>",
        "a ",
        "**",
        "** a",
        " __a__",
        "`",
        "'",
        "# ",
        "<|channel|>final<|message|>",
    ],
)
def test_a_huge_text_is_cut_before_it_is_cleaned(unit):
    text = unit * (10_000_000 // len(unit))
    assert len(visible_answer(text)) <= MAX_ANSWER
    assert len(clean_answer(text)) <= MAX_ANSWER

import json

import pytest
from pydantic import BaseModel

from flex_dspy.core.text import MAX_LENGTH, sound, sound_text, truncate


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("\ud83d", "\ufffd"),
        ("a\udc00b", "a\ufffdb"),
        ("\ud83d\ude00", "😀"),
        ("😀 é 漢", "😀 é 漢"),
        ("a\x00b\x07\x1b[0m\x7f\x9f", "ab[0m"),
        ("a\r\nb\rc\u2028d\u2029e\x85f", "a\nb\nc\nd\ne\nf"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x08oxed{7}", r"\boxed{7}"),
        ("\x0crac{1}{2}", r"\frac{1}{2}"),
        ("\text{a} 2 \times 3", r"\text{a} 2 \times 3"),
        ("x \neq 3", r"x \neq 3"),
        ("(1\right)", r"(1\right)"),
        ("\vec{a} \x07lpha", r"\vec{a} \alpha"),
        ("a\textra column\nequal rights\rights", "a\textra column\nequal rights\nights"),
        ("page\x0cNext", "pageNext"),
    ],
)
def test_a_text_is_made_sound(text, expected):
    assert sound_text(text) == expected
    assert sound_text(expected) == expected


@pytest.mark.parametrize(
    "unit", ["(", "{", "\\boxed{", "<think>", "a ", "\ud83d", "\x00", "\r\n", "\x08a", "\t", '"', "\\"]
)
def test_ten_megabytes_are_cut_first(unit):
    text = "begin" + unit * (10_000_000 // len(unit)) + "end"
    made = sound_text(text)
    assert len(made) <= 2 * MAX_LENGTH
    assert made.startswith("begin")
    assert made.endswith("end")
    json.dumps(made).encode()


@pytest.mark.parametrize("limit", [0, 1, 5, 20, 99, 100])
def test_a_cut_text_has_its_beginning_and_its_end_and_is_never_longer(limit):
    text = "a" * 50 + "z" * 60
    assert len(truncate(text, limit)) <= limit
    if limit > 40:
        assert truncate(text, limit).startswith("aa")
        assert truncate(text, limit).endswith("zz")
        assert "left out" in truncate(text, limit)


def test_a_short_text_is_not_cut():
    assert truncate("abc", 3) == "abc"


class Lesson(BaseModel):
    method: str
    rules: list[str] = []


def test_every_text_in_a_value_is_made_sound():
    value = {"a\x00": ["\ud83d", ("b\r\n", 3)], "lesson": Lesson(method="\ud83d", rules=["\x00x"]), "none": None}
    assert sound(value) == {"a": ["\ufffd", ("b\n", 3)], "lesson": Lesson(method="\ufffd", rules=["x"]), "none": None}
    assert value["a\x00"] == ["\ud83d", ("b\r\n", 3)]  # the value itself stays as it was


def test_a_value_without_end_ends():
    deep: list = []
    for _ in range(10_000):
        deep = [deep]
    assert sound(deep) is not None

"""How models write a lesson as a JSON object, and texts that must not be read as it."""

import contextlib
from typing import Literal

import pydantic
import pytest

from flex_dspy.models.reading import UnreadableError, read_value


class Lesson(pydantic.BaseModel):
    method: str
    rules: list[str] = []
    zone: Literal["golden", "warning"] = "golden"


EXPECTED = Lesson(method="Add", rules=["carry"], zone="warning")
PLAIN = '{"method": "Add", "rules": ["carry"], "zone": "warning"}'

RIGHT = [
    PLAIN,
    f" {PLAIN}\n",
    '{\n  "method": "Add",\n  "rules": ["carry"],\n  "zone": "warning"\n}',
    '{"zone": "warning", "rules": ["carry"], "method": "Add"}',
    f"```json\n{PLAIN}\n```",
    f"```\n{PLAIN}\n```",
    f"```JSON\n{PLAIN}\n```",
    f"```json\n{PLAIN}",
    f"`{PLAIN}`",
    f"**{PLAIN}**",
    f"Here is the lesson:\n{PLAIN}",
    f"Here is the lesson: {PLAIN} I hope it helps!",
    f"Sure!\n\n```json\n{PLAIN}\n```\n\nLet me know if you need more.",
    f"lesson = {PLAIN}",
    f"json\n{PLAIN}",
    f"<think>a draft: {{\"method\": \"Multiply\"}}</think>{PLAIN}",
    f"<think>hm</think>\n```json\n{PLAIN}\n```",
    f"drafts</think>{PLAIN}",
    f"{PLAIN}<|im_end|>",
    f"\ufeff{PLAIN}",
    f"[{PLAIN}]",
    f'{{"lesson": {PLAIN}}}',
    f'{{"Lesson": {PLAIN}}}',
    f'```json\n{{"output": {PLAIN}}}\n```',
    f"{PLAIN}\n{PLAIN}",
    "{'method': 'Add', 'rules': ['carry'], 'zone': 'warning'}",
    "```python\n{'method': 'Add', 'rules': ['carry'], 'zone': 'warning'}\n```",
    '{"method": "Add", "rules": ["carry"], "zone": "warning",}',
    '{"method": "Add", "rules": ["carry",], "zone": "warning"}',
    '{"method": "Add", // how\n "rules": ["carry"], "zone": "warning"}',
    '{"method": "Add", /* how */ "rules": ["carry"], "zone": "warning"}',
    '{"method": "Add", # how\n "rules": ["carry"], "zone": "warning"}',
    '{"method": "Add", "rules": ["carry"], "zone": "warning", "unsure": None}',
    '{"method": "Add", "rules": ["carry"], "zone": "warning", "sure": True}',
    '{"method": "Add", "rules": ["carry"], "zone": "warning", "confidence": 0.9}',
    '{"method": "Add", "rules": ["carry"], "zone": "Warning"}',
    '{"method": "Add", "rules": ["carry"], "zone": "**warning**"}',
    '{"method": "Add", "rules": "- carry", "zone": "warning"}',
    '{"method": "Add", "rules": "[\\"carry\\"]", "zone": "warning"}',
    '{method: "Add", rules: ["carry"], zone: "warning"}',
    '{"method": "Add" "rules": ["carry"] "zone": "warning"}',
    "{“method”: “Add”, “rules”: [“carry”], “zone”: “warning”}",
]  # fmt: skip

WRONG = [
    "",
    "Add",
    "none",
    "{}",
    "[]",
    "null",
    PLAIN[:-1],
    PLAIN[:-12],
    PLAIN[:30],
    PLAIN[:10],
    f"```json\n{PLAIN[:-1]}\n```",
    f'{{"lesson": {PLAIN}',
    f"[{PLAIN}",
    f'{PLAIN} {{"method": "Mult',
    f'{PLAIN}\n{{"method": "Multiply"}}',
    f'[{PLAIN}, {{"method": "Multiply"}}]',
    f"<think>{PLAIN}</think>",
    f"<think>{PLAIN}",
    f"{PLAIN}</think>",
    f'<think>{PLAIN}</think>{{"method": "Multiply"}}',
    '{"rules": ["carry"], "zone": "warning"}',
    '{"Method": "Add", "rules": ["carry"], "zone": "warning"}',
    '{"method": null, "rules": ["carry"], "zone": "warning"}',
    '{"method": 3, "rules": ["carry"], "zone": "warning"}',
    '{"method": ["Add"], "rules": ["carry"], "zone": "warning"}',
    '{"method": "Add", "rules": ["carry"], "zone": "silver"}',
    '{"method": "Add", "rules": ["carry"], "zone": "golden or warning"}',
    '{"method": "Add", "rules": ["carry"], "zone": "not warning"}',
    '{"method": "Add", "rules": {"a": "carry"}, "zone": "warning"}',
    '{"method": "Add", "rules": [1], "zone": "warning"}',
    '{"method": "Add" or "Multiply", "rules": ["carry"], "zone": "warning"}',
    '{"method": Add or Multiply, "rules": ["carry"], "zone": "golden"}',
    '{"type": "object", "properties": {"method": {"type": "string"}}}',
    '{"lessons": [' + PLAIN + "]}",
    "method: Add, rules: carry, zone: warning",
]

UNREADABLE = [text for text in WRONG if text]


@pytest.mark.parametrize("text", RIGHT)
def test_a_form_of_the_lesson_is_read(text):
    assert read_value(text, Lesson) == EXPECTED


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_whole_lesson_is_not_read_as_it(text):
    with contextlib.suppress(UnreadableError):
        assert read_value(text, Lesson) != EXPECTED


@pytest.mark.parametrize("length", range(1, len(PLAIN)))
def test_a_lesson_cut_anywhere_is_refused(length):
    with pytest.raises(UnreadableError, match=r"cut short|no JSON object"):
        read_value(PLAIN[:length], Lesson)


@pytest.mark.parametrize(
    ("written", "method"),
    [
        (r'{"method": "put it in \\boxed{3}"}', r"put it in \boxed{3}"),
        (r'{"method": "put it in \boxed{3}"}', r"put it in \boxed{3}"),
        (r'{"method": "write \frac{1}{2}"}', r"write \frac{1}{2}"),
        (r'{"method": "use \text{a} and \times"}', r"use \text{a} and \times"),
        (r'{"method": "in \(x\) or \[y\]"}', r"in \(x\) or \[y\]"),
        ('{"method": "first\nsecond"}', "first\nsecond"),
        ('{"method": "say \\"no\\" to it"}', 'say "no" to it'),
        ('{"method": "say "no" to it"}', 'say "no" to it'),
        ('{"method": "use {braces} and [brackets]"}', "use {braces} and [brackets]"),
        ('{"method": "a } alone"}', "a } alone"),
        ('{"method": "mind <think> tags </think>"}', "mind <think> tags </think>"),
        ('{"method": "see // this # not a comment"}', "see // this # not a comment"),
        ("{'method': \"it's\"}", "it's"),
        ('{"method": "half \\ud83d of a pair"}', "half \ufffd of a pair"),
        ('{"method": "nul \\u0000 goes"}', "nul  goes"),
    ],
)
def test_texts_inside_an_object_come_out_as_they_were_meant(written, method):
    assert read_value(written, Lesson).method == method

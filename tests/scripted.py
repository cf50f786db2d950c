"""A scripted model that learns: a made-up operation, and lessons of their own for each of its cases.

The operation is the product plus one. The model forgets the one, in every second case, until it is told so.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import dspy

from flex_dspy.search.rendering import parse

FAMILIES = 20
_SYLLABLES = (("ba", "co", "di", "fu", "ge", "lo"), ("rn", "sp", "tt", "vv"), ("an", "el", "ix", "om", "us"))
_WORDS = [a + b + c for a in _SYLLABLES[0] for b in _SYLLABLES[1] for c in _SYLLABLES[2]]


def problems(count: int, start: int = 0) -> list[dspy.Example]:
    """Cases of the operation, all different, with answers from 0 to 999."""
    cases = ((n, 3 + n % 17, 2 + n % 23) for n in range(start, start + count))
    return [
        dspy.Example(problem=f"Case {n}: what is {a} # {b}?", answer=a * b + 1).with_inputs("problem")
        for n, a, b in cases
    ]


def write(examples: list[dspy.Example], path: Path) -> Path:
    """The examples as a file that the command line reads."""
    path.write_text("".join(json.dumps({"problem": e.problem, "answer": e.answer}) + "\n" for e in examples))
    return path


def right(example: dspy.Example, prediction: dspy.Prediction) -> bool:
    """Whether an answer is right."""
    return bool(example.answer == prediction.answer)


def student(role: str, inputs: dict[str, str], messages: list[dict[str, str]]) -> dict[str, Any]:
    """What the model says."""
    if role == "verifier":
        return {"accepted": False, "feedback": "Something was forgotten in the last step."}
    if role == "updater":
        return {"decision": _decision(inputs)}
    number, first, second = map(int, re.findall(r"\d+", inputs["problem"])[:3])
    if role == "critic":
        return {"lesson": lesson(number)}
    knows = number % 2 == 0 or inputs["earlier_attempts"] != "none"
    return {"reasoning": "step by step " * 20, "answer": first * second + knows, "experiences_used": []}


def lesson(number: int) -> dict[str, Any]:
    """A lesson of some 900 characters in words of its own, and of one of twenty families."""
    words = random.Random(number).choices(_WORDS, k=110)
    texts = [" ".join(words[start : start + 20]) for start in range(0, 100, 20)]
    return {
        "category": f"family {number % FAMILIES}",
        "method": f"Case {number}: {texts[0]} {texts[1]}.",
        "rules": [{"text": f"When {text}, do so.", "examples": [text[:40]]} for text in texts[2:4]],
        "trajectory": texts[4],
    }


def _decision(inputs: dict[str, str]) -> dict[str, Any]:
    """Merge into an entry of the same family and zone, where one is shown."""
    new = parse(inputs["new_lesson"])[0]
    same = (e.id for e in parse(inputs["nearest"]) if (e.zone, e.category) == (new.zone, new.category))
    target = next(same, None)
    return {"action": "merge", "target": target} if target else {"action": "insert"}

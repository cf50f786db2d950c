"""A scripted model that can be coached: in each role it does well on easy cases, and on others once it is shown how.

The operation ``#`` is the product plus one, and case numbers that are even are easy. On the others a role fails unless
its instructions say so (``COACHED``), or a good demonstration stands before the question. The actor is also helped
by a lesson in its prompt; to it, no case up to number twenty is easy.
"""

from __future__ import annotations

import json
import re
from typing import Any

import dspy

from flex_dspy.libraries.experience import Experience, Precedent, Rule
from flex_dspy.libraries.library import ExperienceLibrary
from flex_dspy.search.rendering import parse
from tests.llm_server import read_prompt

COACHED = "Mind the very last step."
LESSON = "what is a # b: multiply, then add one"
EASY = 20
EMPTY = "what is a # b: work with care"

DULL = Experience("warning", f"{EMPTY}, always.", rules=(Rule(EMPTY),), precedents=(Precedent("x", "7 # 7?", "50"),))
LIBRARY = ExperienceLibrary([DULL])


def problems(*numbers: int) -> list[dspy.Example]:
    """Cases of the operation."""
    return [
        dspy.Example(question=f"Case {n}: what is {n} # 3?", answer=str(3 * n + 1)).with_inputs("question")
        for n in numbers
    ]


def right(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> dspy.Prediction:
    """The task's metric."""
    good = pred is not None and gold.answer == pred.answer
    return dspy.Prediction(score=float(good), feedback="Right." if good else "The last step is missing.")


def exact(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> float:
    """The same as a number, which optimizers that take what is true for a success need."""
    return float(right(gold, pred).score)


def model(role: str, inputs: dict[str, str], messages: list[dict[str, str]]) -> dict[str, Any]:
    """What the model says."""
    outputs = read_prompt(messages[-1]["content"])[1]
    if advice := {name: _advice(name, inputs) for name in outputs if name in _OPTIMIZERS}:
        return {name: advice.get(name, "...") for name in outputs}
    demonstrations = [message["content"] for message in messages if message["role"] == "assistant"]
    coached = COACHED in messages[0]["content"] or any(_GOOD.get(role, "") in text for text in demonstrations)
    return _ROLES[role](inputs, coached)


# Output fields of the prompts that optimizers make; by which of them, in order: GEPA, MIPROv2 (five), SIMBA.
_OPTIMIZERS = (
    "new_instruction",
    "proposed_instruction",
    "observations",
    "summary",
    "program_description",
    "module_description",
    "module_advice",
)


def _advice(name: str, inputs: dict[str, str]) -> Any:
    if name == "module_advice":
        return dict.fromkeys(json.loads(inputs["module_names"]), COACHED)
    basic = inputs.get("current_instruction", inputs.get("basic_instruction", ""))
    return f"{basic}\n{COACHED}" if name.endswith("instruction") else "cases of an operation"


def _number(text: str) -> int:
    return int(re.findall(r"Case (\d+)", text)[-1])


def _easy(text: str) -> bool:
    return _number(text) % 2 == 0


def _actor(inputs: dict[str, str], coached: bool) -> dict[str, Any]:
    n = _number(inputs["question"])
    knows = coached or LESSON in inputs.get("experiences", "") or (n > EASY and n % 2 == 0)
    return {"reasoning": "product first", "answer": str(3 * n + knows), "experiences_used": []}


def _critic(inputs: dict[str, str], coached: bool) -> dict[str, Any]:
    text = LESSON if coached or _easy(inputs["problem"]) else EMPTY
    method = f"{text} (met in Case {_number(inputs['problem'])})"
    return {"lesson": {"category": "operations", "method": method, "rules": [{"text": text}], "trajectory": "short"}}


def _updater(inputs: dict[str, str], coached: bool) -> dict[str, Any]:
    if coached or _easy(inputs["new_lesson"]):
        return {"decision": {"action": "merge", "target": parse(inputs["nearest"])[0].id, "reason": "it says more"}}
    return {"decision": {"action": "discard", "reason": "it looks the same"}}


def _verifier(inputs: dict[str, str], coached: bool) -> dict[str, Any]:
    good = f"answer: {3 * _number(inputs['problem']) + 1}" in inputs["attempt"]
    knows = coached or _easy(inputs["problem"])
    return {"accepted": good if knows else not good, "feedback": "See the last step."}


_GOOD = {"critic": LESSON, "updater": "merge"}  # what makes a demonstration one to learn from
_ROLES = {"actor": _actor, "critic": _critic, "updater": _updater, "verifier": _verifier}

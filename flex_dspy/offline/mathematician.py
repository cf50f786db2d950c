"""The offline mathematician: the four roles for problems that end in an integer, without a language model.

It reads the prompts that a language model would read. It knows primitives (counting, binomials, remainders, ...; see
``procedures``), and can search for a procedure that explains an answer. It learns only from the experiences in its
prompt which procedure belongs to which wording of a problem. It does not understand sentences: a problem is a pattern
of words with numbers in it. It runs in worker processes, so this module does not import DSPy.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flex_dspy.offline.procedure_search import Instance, cost, explains, find_procedures
from flex_dspy.offline.procedures import VARIABLES, Procedure, order_arguments, parse, run, steps, text
from flex_dspy.offline.wording import Wording, likeness, read
from flex_dspy.search import rendering

LARGEST_ANSWER = 999
_MOST_RULES = 6  # largest number of procedures that a lesson or an entry teaches
_MOST_AVOIDED = 3  # largest number of wrong procedures that one lesson warns of
_MOST_INSTANCES = 8  # largest number of instances that an attempt reports to the critic
_ALIKE = 0.85  # two patterns with this likeness are wordings of the same problem

_QUOTED = re.compile(r"`([^`]*)`")
_INSTANCE = re.compile(r"\(([0-9]+(?:, [0-9]+)*)\) gives ([0-9]{1,3})\b", re.ASCII)
_ANSWER = re.compile(r"^  answer: *(-?[0-9]{1,12})\s*$", re.MULTILINE | re.ASCII)
_ROUND = re.compile(r"^Attempt [0-9]+:$", re.MULTILINE | re.ASCII)


def answer(inputs: Mapping[str, str], outputs: Sequence[str]) -> dict[str, Any]:
    """Play the role whose output fields are asked for.

    Args:
        inputs: The prompt's input fields.
        outputs: Names of the output fields.

    Raises:
        ValueError: If the fields belong to no role of the mathematician.
    """
    for name, role in (("lesson", distil), ("decision", decide), ("feedback", verify)):
        if name in outputs:
            return role(inputs)
    if "answer" in outputs and "problem" in inputs:
        return act(inputs)
    raise ValueError(f"the offline mathematician has no role with the output fields {', '.join(outputs)}")


def is_quick(outputs: Sequence[str]) -> bool:
    """Whether a role only compares a few texts, so that sending it to another process would cost more."""
    return "decision" in outputs or "feedback" in outputs


# -- lessons ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Advice:
    """The advice of an entry in a prompt: by rule text, the procedures to use and to avoid."""

    id: str
    zone: str
    rules: list[str]
    pattern: str = ""
    good: dict[str, Procedure] = field(default_factory=dict)
    bad: dict[str, Procedure] = field(default_factory=dict)
    instances: list[Instance] = field(default_factory=list)


@functools.lru_cache(maxsize=32)  # the rounds of a rollout ask with the same lessons
def _lessons(block: str) -> tuple[_Advice, ...]:
    examples = _examples(block)
    return tuple(_lesson(entry, examples.get(entry.id, "")) for entry in rendering.parse(block))


def _lesson(entry: rendering.Rendered, examples: str) -> _Advice:
    lesson = _Advice(entry.id, entry.zone, entry.rules, instances=_instances(examples))
    for rule in entry.rules:
        quoted = _QUOTED.findall(rule)
        if rule.startswith(_WHERE) and quoted:
            lesson.pattern = quoted[0]
        elif quoted and (procedure := parse(quoted[0])) is not None:
            (lesson.bad if rule.startswith("Avoid:") else lesson.good)[rule] = order_arguments(procedure)
    return lesson


def _examples(block: str) -> dict[str, str]:
    """The examples of each entry's rules, by the entry's id. ``rendering.parse`` skips them."""
    entries: dict[str, str] = {}
    entry = ""
    for line in block.partition(f"\n{rendering.CLOSE}")[0].splitlines():
        if line.startswith("## "):
            entry = line.removeprefix("## ").partition(" | ")[0]
        elif line.startswith("  e.g. "):
            entries[entry] = entries.get(entry, "") + line + "\n"
    return entries


def _instances(written: str) -> list[Instance]:
    """The instances that a text contains, each once."""
    found = (
        Instance(tuple(int(number[:13]) for number in numbers.split(", ")), int(result))
        for numbers, result in _INSTANCE.findall(written)
    )
    return list(dict.fromkeys(found))


def _instance_text(instance: Instance) -> str:
    return f"({', '.join(map(str, instance.numbers))}) gives {instance.answer}"


# -- actor -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Solution:
    """A procedure, and the lessons that teach it."""

    procedure: Procedure
    value: int
    refuted: int
    ids: list[str] = field(default_factory=list)


def act(inputs: Mapping[str, str]) -> dict[str, Any]:
    """Find lessons with the problem's pattern, and run the procedure that they agree on. Guess if there is none."""
    wording = read(inputs["problem"])
    tried = {int(found) for found in _ANSWER.findall(inputs.get("earlier_attempts", ""))}
    lessons = _fitting(wording, _lessons(inputs.get("experiences", "")))
    known = list(dict.fromkeys(instance for lesson in lessons for instance in lesson.instances))
    told = "".join(f" {_instance_text(instance)}." for instance in known[:_MOST_INSTANCES])
    fresh = [candidate for candidate in _candidates(wording, lessons, known) if candidate.value not in tried]
    if not fresh:
        return {
            "reasoning": f"No lesson at hand has a procedure left for this problem: this is a guess.{told}",
            "answer": str(_guess(wording, tried)),
            "experiences_used": [],
        }
    best = fresh[0]
    return {
        "reasoning": f"{len(best.ids)} lessons on this pattern teach `{text(best.procedure)}`.{told}",
        "answer": str(best.value),
        "experiences_used": best.ids[:5],
    }


def _fitting(wording: Wording, lessons: Sequence[_Advice]) -> list[_Advice]:
    """The lessons for exactly this pattern; if there are none, the lessons for the most similar pattern."""
    by_pattern: dict[str, list[_Advice]] = {}
    for lesson in lessons:
        if lesson.pattern.count("N") == wording.pattern.count("N"):
            by_pattern.setdefault(lesson.pattern, []).append(lesson)
    if wording.pattern in by_pattern:
        return by_pattern[wording.pattern]
    closest = max(sorted(by_pattern), key=lambda pattern: likeness(pattern, wording.pattern), default="")
    return by_pattern[closest] if closest and likeness(closest, wording.pattern) >= _ALIKE else []


def _candidates(wording: Wording, lessons: Sequence[_Advice], known: Sequence[Instance]) -> list[_Solution]:
    """Procedures with an answer in range, best first: least refuted, then taught by most lessons, then simplest."""
    avoided = {procedure for lesson in lessons for procedure in lesson.bad.values()}
    candidates: dict[Procedure, _Solution] = {}
    for lesson in lessons:
        for procedure in lesson.good.values():
            value = run(procedure, wording.numbers)
            if value is not None and value <= LARGEST_ANSWER and procedure not in avoided:
                refuted = sum(not explains(procedure, instance) for instance in known)
                candidates.setdefault(procedure, _Solution(procedure, value, refuted)).ids.append(lesson.id)
    size = len(wording.numbers)
    return sorted(candidates.values(), key=lambda c: (c.refuted, -len(c.ids), cost(c.procedure, size)))


def _guess(wording: Wording, tried: Iterable[int]) -> int:
    start = zlib.crc32(repr(wording).encode())
    return next(n for place in range(2_000) if (n := (start + 7 * place) % (LARGEST_ANSWER + 1)) not in tried)


# -- verifier --------------------------------------------------------------------------------------------------


def verify(inputs: Mapping[str, str]) -> dict[str, Any]:
    """Pass on the remarks of the exact check. Without it, accept any answer that is possible."""
    measured = inputs.get("measured", "")
    if measured:
        remarks = measured.partition(". ")[2] or measured
        return {"accepted": not measured.startswith("rejected"), "feedback": remarks}
    given = re.findall(r"^answer: *([0-9]{1,3})\s*$", inputs.get("attempt", ""), re.MULTILINE | re.ASCII)
    if given:
        return {"accepted": True, "feedback": "The answer is in range; there is no reference to compare with."}
    return {"accepted": False, "feedback": "The answer is no whole number of at most three digits."}


# -- critic ----------------------------------------------------------------------------------------------------

_WHERE = "Where the problem reads"


def distil(inputs: Mapping[str, str]) -> dict[str, Any]:
    """Write the procedures that lead from the problem's numbers to the right answer, and the wrong procedures."""
    wording = read(inputs["problem"])
    reference = re.fullmatch(r"\s*([0-9]{1,3})\s*", inputs["reference"], re.ASCII)
    if reference is None or not wording.numbers:
        return {"lesson": _no_lesson()}
    here = Instance(wording.numbers, int(reference[1]))
    attempts = inputs.get("attempts", "")
    tried = _procedures_of_attempts(attempts)
    wrong = [procedure for procedure in tried if not explains(procedure, here)]
    right = [procedure for procedure in tried if explains(procedure, here)]
    found = right[:1] or _explaining(here, _instances(attempts), set(wrong))
    if not found:
        return {"lesson": _no_lesson()}
    return {"lesson": _lesson_fields(wording, here, found, wrong[:_MOST_AVOIDED], "verdict: rejected" in attempts)}


def _procedures_of_attempts(attempts: str) -> list[Procedure]:
    """The procedures that attempts used, each once."""
    quoted = (_QUOTED.search(round_) for round_ in _ROUND.split(attempts)[1:])
    parsed = (parse(found[1]) for found in quoted if found)
    return list(dict.fromkeys(order_arguments(procedure) for procedure in parsed if procedure is not None))


def _explaining(here: Instance, known: Sequence[Instance], wrong: set[Procedure]) -> list[Procedure]:
    """Procedures that explain this instance and the known ones; only this instance if none explains all."""
    alike = [instance for instance in known if len(instance.numbers) == len(here.numbers)][:_MOST_INSTANCES]
    found = find_procedures([here, *alike], _MOST_RULES) if alike else []
    return [procedure for procedure in found or find_procedures([here], _MOST_RULES) if procedure not in wrong]


def _lesson_fields(
    wording: Wording, here: Instance, found: Sequence[Procedure], wrong: Sequence[Procedure], failed: bool
) -> dict[str, Any]:
    names = ", ".join(VARIABLES[: len(wording.numbers)])
    do = "Instead: answer" if failed else "Answer"
    where = {"text": f"{_WHERE} `{wording.pattern}`, call its numbers {names}", "examples": [_instance_text(here)]}
    rules = [{"text": f"{do} `{text(procedure)}`", "examples": []} for procedure in found]
    rules += [{"text": f"Avoid: `{text(procedure)}` gave a wrong answer", "examples": []} for procedure in wrong]
    return {
        "category": ", ".join(dict.fromkeys(steps(found[0])[:3])).replace("_", " ") or "a number as it is given",
        "method": f"A problem that reads '{wording.pattern}' is solved by one procedure on its numbers, taken in the "
        "order in which they are read. Where several procedures are taught, prefer the one that explains every known "
        "instance, then the one that more lessons teach, then the simpler one.",
        "rules": [where, *rules],
        "trajectory": f"With the numbers {', '.join(map(str, here.numbers))}, `{text(found[0])}` is {here.answer}.",
        "priority": 3,
    }


def _no_lesson() -> dict[str, Any]:
    return {
        "category": "unexplained",
        "method": "No procedure was found that leads from the numbers of the problem to its answer.",
        "rules": [],
        "trajectory": "",
        "priority": 1,
    }


# -- updater ---------------------------------------------------------------------------------------------------


def decide(inputs: Mapping[str, str]) -> dict[str, Any]:
    """Merge lessons on the same pattern in the same zone, keeping the procedures that explain all instances."""
    lesson = _lessons(inputs["new_lesson"])[0]
    if not lesson.good:
        return {"decision": {"action": "discard", "reason": "it teaches no procedure"}}
    for entry in _lessons(inputs["nearest"]):
        if (entry.zone, entry.pattern) == (lesson.zone, lesson.pattern):
            reason = "the entry is about the same pattern"
            decision = {"action": "merge", "target": entry.id, "rules": _merge_rules(entry, lesson), "reason": reason}
            return {"decision": decision}
    return {"decision": {"action": "insert", "reason": "no entry is about this pattern"}}


def _merge_rules(entry: _Advice, lesson: _Advice) -> list[dict[str, Any]]:
    """One decision for each rule. If new instances refute a rule, a rule that explains all replaces it."""
    refuted = [rule for rule, procedure in entry.good.items() if not _explains_all(procedure, lesson.instances)]
    room = _MOST_RULES - len(entry.good)
    decisions: list[dict[str, Any]] = []
    for number, rule in enumerate(lesson.rules):
        sound = rule not in lesson.good or _explains_all(lesson.good[rule], entry.instances)
        fresh = rule not in entry.rules
        if sound and refuted:
            decisions.append({"rule": number, "action": "replace", "replaces": refuted.pop(0)})
        elif rule.startswith(_WHERE):  # an entry collects the instances of all its lessons
            decisions.append({"rule": number, "action": "add"})
        elif sound and fresh and room > 0 and rule in lesson.good:
            decisions.append({"rule": number, "action": "add"})
            room -= 1
        elif fresh and rule in lesson.bad and len(entry.bad) < _MOST_AVOIDED:
            decisions.append({"rule": number, "action": "add"})
        else:
            decisions.append({"rule": number, "action": "skip"})
    return decisions


def _explains_all(procedure: Procedure, instances: Sequence[Instance]) -> bool:
    return all(explains(procedure, instance) for instance in instances)

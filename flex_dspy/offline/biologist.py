"""The offline biologist: the four roles for fitness prediction by formulas, without a language model.

It reads the prompts that a language model would read: a table of an assay's score columns, never a mutant. Without a
lesson it gives the columns of published models equal weights. It can follow lessons that name formulas, families and
ways of weighing, but contains no lesson itself. It reads lessons as data: a formula in them counts if it parses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from flex_dspy.data.reference_formula import weighted_sum
from flex_dspy.libraries.experience import MAX_RULE
from flex_dspy.offline.assay_lessons import (
    Advice,
    AssayLesson,
    advice,
    is_regression,
    preference_rule,
    read_lessons,
    warning_rule,
    weights_in,
)
from flex_dspy.offline.assay_table import AssayTable, ScoreColumn, read_table
from flex_dspy.search import rendering

_MOST_RULES = 12
_MOST_COLUMNS = {"rank": 24, "z": 40}  # largest number of columns in a formula; a regression needs more of them
_LEAST_WEIGHT = 0.04  # least weight in a formula, as a share of the greatest weight
_BASE = 3.0  # equal weights count like this many lessons, because one or two lessons are mostly chance
_MOST_AVOIDED = 2

_TRIED = re.compile(r"^  formula: *(.+)$", re.MULTILINE)
_ATTEMPT = re.compile(r"^Attempt \d+:$", re.MULTILINE)
_WAY = re.compile(r"weights: (equal|spearman|best five)\b")
_SCORE = re.compile(r"\|Spearman\| (\d\.\d+)")
_GAIN = re.compile(r"a gain of ([+-]\d\.\d+)")
_HELD_BACK = re.compile(r"Held back by: ([^:]*?)\.(?:\s|$)")
_HELD = re.compile(r'(?:"([^"\n]+)"|([A-Za-z_][A-Za-z0-9_]*)) -0\.(?!00[0-4])\d+', re.ASCII)


def answer(inputs: Mapping[str, str], outputs: Sequence[str]) -> dict[str, Any]:
    """Play the role whose output fields are asked for.

    Args:
        inputs: The prompt's input fields.
        outputs: Names of the output fields.

    Raises:
        ValueError: If the fields belong to no role of the biologist.
    """
    for name, role in (("formula", act), ("lesson", distil), ("decision", decide), ("feedback", verify)):
        if name in outputs:
            return role(inputs)
    raise ValueError(f"the offline biologist has no role with the output fields {', '.join(outputs)}")


def is_quick(outputs: Sequence[str]) -> bool:
    """True, because all roles are cheap and run in this process."""
    return True


# -- actor -----------------------------------------------------------------------------------------------------


def act(inputs: Mapping[str, str]) -> dict[str, Any]:
    """Answer with the combined advice of the lessons. If it was rejected, weigh columns in other ways."""
    table = read_table(inputs["assay"])
    tried = {text.strip() for text in _TRIED.findall(inputs.get("earlier_attempts", ""))}
    told = advice(table, read_lessons(inputs.get("experiences", "")))
    for way, weights in _ways(table, told):
        formula = _formula(weights, "z" if way == "lessons" and told.is_regression else "rank")
        if formula and formula not in tried:
            return {
                "reasoning": _reasoning(table, told, way),
                "formula": formula,
                "experiences_used": list(told.ids[:5]) if way == "lessons" else [],
            }
    return {"reasoning": "No way of weighing these columns is left.", "formula": "", "experiences_used": []}


def _ways(table: AssayTable, told: Advice) -> list[tuple[str, dict[str, float]]]:
    """Weights of columns in the order in which they are tried."""
    base = weigh_columns(table, told.way)
    ways = [(way, weigh_columns(table, way)) for way in ("equal", "spearman", "best five") if way != told.way]
    if not told.weights:
        return [(told.way, base), *ways]
    if told.is_regression:
        return [("lessons", dict(told.weights)), (told.way, base), *ways]
    whole = {name: _BASE * base.get(name, 0.0) + told.weights.get(name, 0.0) for name in table.names}
    return [("lessons", whole), (told.way, base), *ways]


def weigh_columns(table: AssayTable, way: str) -> dict[str, float]:
    """Weights whose absolute values add up to 1.

    Args:
        table: The assay.
        way: ``equal``, over the published models where there are any; ``spearman``, by the column's Spearman in the
            table; ``best five``, equal weights of the five columns with the greatest.
    """
    columns = [column for column in table.columns if column.is_published] or list(table.columns)
    if way == "best five":
        columns = sorted(table.columns, key=lambda column: -abs(column.spearman))[:5]
    if way == "spearman":
        weights = {column.name: column.spearman for column in table.columns}
    else:
        weights = {column.name: _sign(column) for column in columns}
    total = sum(map(abs, weights.values()))
    return {name: weight / total for name, weight in weights.items()} if total else {}


def _sign(column: ScoreColumn) -> float:
    """The direction of a column: the known direction, otherwise the direction on the labelled mutants."""
    return 1.0 if column.is_turned or column.spearman >= 0 else -1.0


def _formula(weights: Mapping[str, float], function: str) -> str:
    """The formula with these weights, scaled so that the greatest is 1. Very small weights are left out."""
    largest = max(map(abs, weights.values()), default=0.0)
    if largest == 0:
        return ""
    kept = {name: weight / largest for name, weight in weights.items() if abs(weight) >= _LEAST_WEIGHT * largest}
    even = len({round(abs(weight), 6) for weight in kept.values()}) == 1
    names = list(kept) if even else sorted(kept, key=lambda name: -abs(kept[name]))[: _MOST_COLUMNS[function]]
    return weighted_sum(names, [round(kept[name], 2) for name in names], function)


def _reasoning(table: AssayTable, told: Advice, way: str) -> str:
    if way != "lessons":
        return f"weights: {way}. No lesson at hand names a formula or a family for this, or it was rejected."
    if told.is_regression:
        return f"{told.own} lessons are from this assay; the weights of their regressions were averaged."
    return (
        f"{told.own} lessons are from this assay, and lessons from {told.others} other assays name families that it "
        "has; their weights were averaged."
    )


# -- verifier --------------------------------------------------------------------------------------------------


def verify(inputs: Mapping[str, str]) -> dict[str, Any]:
    """Pass on the metric's remarks. Without remarks, accept any formula over the table's columns."""
    measured = inputs.get("measured", "")
    if measured:
        remarks = measured.partition(". ")[2] or measured
        return {"accepted": not measured.startswith("rejected"), "feedback": remarks}
    given = re.findall(r"^formula: *(.+)$", inputs.get("attempt", ""), re.MULTILINE)
    names = read_table(inputs.get("problem", "")).names
    if given and weights_in(given[0].strip(), names):
        return {"accepted": True, "feedback": "The formula can be read; there is nothing to measure it on."}
    return {"accepted": False, "feedback": "There is no formula over the columns of this assay."}


# -- critic ----------------------------------------------------------------------------------------------------


def distil(inputs: Mapping[str, str]) -> dict[str, Any]:
    """Write lessons on weights of columns and families, the best way of weighing, and harmful columns."""
    table = read_table(inputs["problem"])
    weights = weights_in(inputs["reference"].strip(), table.names)
    if not weights:
        return {"lesson": _no_lesson()}
    attempts = [_Attempt(text) for text in _ATTEMPT.split(inputs.get("attempts", ""))[1:]]
    failed = any(not attempt.accepted for attempt in attempts)
    lesson = _lesson(table, weights, is_regression(inputs["reference"].strip()))
    rules = [{"text": lesson.text("Instead: i" if failed else "I"), "examples": []}]
    rules += [{"text": text, "examples": []} for text in (*_way_rule(attempts), *_warnings(table.name, attempts))]
    best = max((attempt.score for attempt in attempts), default=0.0)
    done = f" The best of {len(attempts)} attempts reached {best:.3f}." if attempts else ""
    return {
        "lesson": {
            "category": f"fitness of {table.name}",
            "method": f"For {table.name}, add up columns with small weights; take away what shares the mistakes of the "
            "others and not the signal. Average the weights of all formulas that are taught for an "
            "assay; for another assay, average what is said of families, and give each family's weight to its columns.",
            "rules": rules,
            "trajectory": f"Of {len(table.columns)} columns {len(lesson.weights)} were chosen on {table.shown} "
            f"mutants: {lesson.formula}.{done}",
            "priority": 3,
        }
    }


def _lesson(table: AssayTable, weights: Mapping[str, float], regression: bool) -> AssayLesson:
    """The lesson with these weights. Columns with the smallest weights are left out until a rule can hold it."""
    names = sorted(weights, key=lambda name: -abs(weights[name]))
    while True:
        kept = {name: weights[name] for name in names}
        lesson = AssayLesson(table.name, kept, table.by_family(kept), regression)
        if len(lesson.text("Instead: i")) <= MAX_RULE or len(names) == 1:
            return lesson
        names.pop()


class _Attempt:
    """The facts of one round of the rollout."""

    def __init__(self, text: str) -> None:
        self.accepted = "verdict: accepted" in text
        found, score, gain, way = _TRIED.search(text), _SCORE.search(text), _GAIN.search(text), _WAY.search(text)
        self.formula = found[1].strip() if found else ""
        self.score = float(score[1]) if score else 0.0
        self.gain = float(gain[1]) if gain else None
        self.way = way[1] if way else ""
        held = _HELD_BACK.search(text)
        weights = weights_in(self.formula)
        names = [quoted or bare for quoted, bare in _HELD.findall(held[1])] if held else []
        self.held_back = [(name, weights[name] > 0) for name in names if weights.get(name)]


def _way_rule(attempts: Sequence[_Attempt]) -> list[str]:
    """The rule on the best way of weighing, if several were tried."""
    tried = {attempt.way: attempt.score for attempt in attempts if attempt.way and attempt.score}
    if len(tried) < 2:
        return []
    order = sorted(tried, key=lambda way: -tried[way])
    return [preference_rule(order[0], {way: tried[way] for way in order})]


def _warnings(name: str, attempts: Sequence[_Attempt]) -> list[str]:
    wrong = [attempt for attempt in attempts if not attempt.accepted and attempt.formula and attempt.gain is not None]
    rules = [
        f"Avoid: in the assay `{name}` a formula like `{attempt.formula[:200]}`, a gain of {attempt.gain:+.3f}"
        for attempt in wrong[:1]
    ]
    held = dict.fromkeys(pair for attempt in attempts for pair in attempt.held_back)
    return rules + [warning_rule(name, column, added) for column, added in [*held][:_MOST_AVOIDED]]


def _no_lesson() -> dict[str, Any]:
    return {
        "category": "unexplained",
        "method": "The labelled mutants do not say that any column has to do with fitness.",
        "rules": [],
        "trajectory": "",
        "priority": 1,
    }


# -- updater ---------------------------------------------------------------------------------------------------


def decide(inputs: Mapping[str, str]) -> dict[str, Any]:
    """Gather the lessons on an assay, zone by zone, in entries of a few rules."""
    lesson = rendering.parse(inputs["new_lesson"])[0]
    if not lesson.rules:
        return {"decision": {"action": "discard", "reason": "it teaches no formula"}}
    for entry in rendering.parse(inputs["nearest"]):
        fresh = [number for number, rule in enumerate(lesson.rules) if rule not in entry.rules]
        same = (entry.zone, entry.category) == (lesson.zone, lesson.category)
        if same and len(entry.rules) + len(fresh) <= _MOST_RULES:
            rules = [
                {"rule": number, "action": "add" if number in fresh else "skip"} for number in range(len(lesson.rules))
            ]
            reason = "the entry is about the same assay"
            return {"decision": {"action": "merge", "target": entry.id, "rules": rules, "reason": reason}}
    return {"decision": {"action": "insert", "reason": "no entry about this assay has room"}}

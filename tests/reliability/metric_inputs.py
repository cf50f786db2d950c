"""Answers that no model should give, for every metric: each must get a score in [0, 1], and no exception."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import dspy

from flex_dspy.metrics.aime import aime
from flex_dspy.metrics.formula import canonical
from flex_dspy.metrics.gsm8k import gsm8k
from flex_dspy.metrics.uspto50k import maxfrag, uspto50k

PIECES = [
    *(
        "42",
        "-7",
        "1e999",
        "NaN",
        "\\boxed{",
        "}",
        "<answer>",
        "</answer>",
        "####",
        ",",
        ".",
        "٣",
        "½",
        "0" * 500,
        "the",
    ),
    *("CC(=O)O", "c1ccccc1", "[C@@H]", "C1CC", "(((", ")))", "[*:1]", "%99", "[U+99]", ">>", "~", "$$", "C=C=", "[13C"),
    *("log(", "column_1", "**", "1/0", "if", "__import__('os')", "{", "\\frac{1}{", "|", "'", '"'),
    *("\0", "\x1b[2J", "\u202e", "\ud800", "\U0001f600", "\r\n", "\t", " ", "e\u0301", "ﬁ", "\ufeff"),
]
VALUES: list[Any] = [None, True, 3, -0.0, math.inf, math.nan, 10**400, b"\xff", [], ["C", None], {}, {"a": 1}, object()]

Metric = Callable[[Any, Any], Any]
METRICS: dict[str, tuple[Metric, dict[str, Any], str]] = {
    "aime": (aime, {"answer": "42"}, "answer"),
    "gsm8k": (gsm8k, {"answer": "42"}, "answer"),
    "uspto50k": (uspto50k, {"product": "CC(=O)NCC", "reactants": "CC(=O)Cl.NCC"}, "reactants"),
    "maxfrag": (maxfrag, {"product": "CC(=O)NCC", "reactants": "CC(=O)Cl.NCC"}, "reactants"),
    "formula": (lambda gold, pred: float(canonical(str(pred.answer)) is not None), {}, "answer"),
}


def hostile(rng: random.Random) -> Any:
    """An answer."""
    if rng.random() < 0.1:
        return rng.choice(VALUES)
    pieces = rng.choices(PIECES, k=rng.randrange(12))
    return rng.choice(["", " "]).join(pieces) * rng.choice([1, 1, 1, 1, 30])


def check(name: str, rng: random.Random) -> None:
    """Let one metric judge one answer."""
    metric, gold, field = METRICS[name]
    answer = hostile(rng)
    given = dspy.Prediction() if rng.random() < 0.02 and name != "formula" else dspy.Prediction(**{field: answer})
    result = metric(dspy.Example(**gold), given)
    score = float(getattr(result, "score", result))
    assert 0.0 <= score <= 1.0, (name, answer, score)

"""What was measured, side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flex_dspy.evaluation.differences import Difference, Side, correct_p_values, difference, seconds
from flex_dspy.evaluation.evaluate import Evaluation
from flex_dspy.evaluation.intervals import score_text
from flex_dspy.models.spending import Usage
from tests.benchmarks.language_model.catalogue import BARE, Family


@dataclass(frozen=True)
class Result:
    """What was measured of one method.

    Attributes:
        method: Its name.
        family: Whose it is.
        evaluation: Its answers to the test examples.
        spent: Tokens for learning.
        learning_seconds: How long the model worked for learning.
        note: What a reader must know to judge it.
    """

    method: str
    family: Family
    evaluation: Evaluation
    spent: Usage
    learning_seconds: float
    note: str = ""

    @property
    def unreadable(self) -> int:
        """Answers that could not be read, or never came."""
        return sum(bool(record.error) for record in self.evaluation.records)

    @property
    def prompt_tokens(self) -> float:
        """Mean tokens sent for an answer."""
        return sum(record.prompt_tokens for record in self.evaluation.records) / self.evaluation.n

    @property
    def completion_tokens(self) -> float:
        """Mean tokens received for an answer."""
        return sum(record.completion_tokens for record in self.evaluation.records) / self.evaluation.n

    @property
    def seconds(self) -> float:
        """Mean seconds for an answer."""
        return seconds(self.evaluation)

    @property
    def side(self) -> Side:
        """Its side of a comparison."""
        return Side(self.method, self.evaluation)

    def numbers(self) -> dict[str, float]:
        """Everything measured, as numbers by name."""
        return {
            **self.evaluation.metrics(),
            "unreadable": float(self.unreadable),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "seconds": self.seconds,
            "learning_tokens": float(self.spent.tokens),
            "learning_calls": float(self.spent.calls),
            "learning_seconds": self.learning_seconds,
        }


@dataclass(frozen=True)
class Report:
    """All methods on the same examples.

    Attributes:
        about: Task, model, data and settings, by name.
        results: One a method, in the order of the catalogue.
    """

    about: Mapping[str, Any]
    results: tuple[Result, ...]

    def beside_bare(self) -> dict[str, Difference]:
        """Each method beside the bare program, by name; p-values also corrected for all of them (Holm)."""
        bare = next((result for result in self.results if result.method == BARE), None)
        others = [result for result in self.results if result is not bare]
        if bare is None:
            return {}
        found = correct_p_values([difference(bare.side, other.side) for other in others])
        return {each.second: each for each in found}

    def rival_of(self, result: Result) -> Result | None:
        """The most accurate method of another family: of DSPy's for FLEX, of FLEX's for DSPy."""
        others = [other for other in self.results if {other.family, result.family} == {"dspy", "flex"}]
        return max(others, key=lambda other: other.evaluation.accuracy, default=None)

    def beside_rival(self) -> dict[str, Difference]:
        """Each method beside the most accurate one of the other family."""
        pairs = ((result, self.rival_of(result)) for result in self.results)
        return {result.method: difference(rival.side, result.side) for result, rival in pairs if rival is not None}

    def table(self) -> str:
        """A markdown table."""
        bare, rivals = self.beside_bare(), self.beside_rival()
        rows = [_row(result, bare.get(result.method), rivals.get(result.method)) for result in self.results]
        lines = [_HEAD, ["---"] * len(_HEAD), *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def text(self) -> str:
        """The table with what it is about."""
        about = ", ".join(f"{name} {value}" for name, value in self.about.items())
        notes = "\n".join(f"- {result.method}: {result.note}" for result in self.results if result.note)
        return f"{about}\n\n{self.table()}\n\n{_LEGEND}\n\n{notes}\n"

    def to_json(self) -> str:
        """Everything but the answers, which lie in each method's ``records.jsonl``."""
        bare, rivals = self.beside_bare(), self.beside_rival()
        methods = [
            {
                "method": result.method,
                "family": result.family,
                **result.numbers(),
                "note": result.note,
                "beside_bare": _as_dict(bare.get(result.method)),
                "beside_rival": _as_dict(rivals.get(result.method)),
            }
            for result in self.results
        ]
        return json.dumps({"about": dict(self.about), "methods": methods}, indent=1, default=str) + "\n"


_HEAD = [
    "method", "accuracy (95% interval)", "n", "gain on bare, points", "won, lost", "p (Holm)",
    "beside the best other", "p", "tokens to learn", "tokens an answer", "s an answer", "unreadable",
]  # fmt: skip
_LEGEND = (
    "Exact McNemar tests; Holm's correction is for all methods beside bare. The best other is the most accurate method "
    "of the other side (DSPy's for FLEX, FLEX's for DSPy). Tokens an answer: sent + received."
)


def _row(result: Result, bare: Difference | None, rival: Difference | None) -> list[str]:
    evaluation = result.evaluation
    low, high = evaluation.interval
    return [
        result.method,
        f"{score_text(evaluation.accuracy, low, high)} ({score_text(low, low, high)} to {score_text(high, low, high)})",
        str(evaluation.n),
        "" if bare is None else _points(bare),
        "" if bare is None else f"{bare.wins}, {bare.losses}",
        "" if bare is None else f"{bare.p_value:.2g} ({bare.adjusted:.2g})",
        "" if rival is None else f"{_points(rival)} on {rival.first}",
        "" if rival is None else f"{rival.p_value:.2g}",
        f"{result.spent.tokens:,}",
        f"{result.prompt_tokens:,.0f} + {result.completion_tokens:,.0f}",
        f"{result.seconds:.1f}",
        str(result.unreadable),
    ]


def _points(found: Difference) -> str:
    return f"{100 * found.gain:+.1f}"


def _as_dict(found: Difference | None) -> dict[str, Any] | None:
    return None if found is None else asdict(found)


def in_order(results: Sequence[Result], names: Sequence[str]) -> tuple[Result, ...]:
    """Results in the order of these names."""
    return tuple(sorted(results, key=lambda result: names.index(result.method)))

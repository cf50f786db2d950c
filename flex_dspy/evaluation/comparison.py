"""Compares libraries on the same examples: gains with intervals and p-values, and the examples won and lost.

Example:
    >>> from flex_dspy.evaluation.records import Record
    >>> def measured(*scores):
    ...     return Evaluation(tuple(Record(f"e{n}", "?", "", {}, score) for n, score in enumerate(scores)))
    >>> both = Comparison((Side("old", measured(0, 0, 0, 0, 1, 1)), Side("new", measured(1, 1, 1, 1, 1, 0))))
    >>> (found,) = both.differences()
    >>> found.wins, found.losses, round(found.gain, 3), found.p_value
    (4, 1, 0.5, 0.375)
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import dspy
from pydantic import ConfigDict, TypeAdapter, ValidationError

from flex_dspy.core import representations
from flex_dspy.core.errors import DataError
from flex_dspy.core.scoring import ACCURACY, Metric
from flex_dspy.evaluation.differences import (
    Difference,
    ExampleChange,
    Samples,
    Side,
    correct_p_values,
    difference,
    seconds,
)
from flex_dspy.evaluation.evaluate import Evaluation, evaluate
from flex_dspy.evaluation.records import by_example
from flex_dspy.evaluation.settings import SOLVED
from flex_dspy.libraries.library import ExperienceLibrary

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "Difference", "ExampleChange", "Side", "compare"]


@dataclass(frozen=True, slots=True)
class Comparison(representations.Representable):
    """Evaluations of the same examples, each compared with the first.

    Attributes:
        sides: At least two sides, with the same examples in the same order.
        solved: The score from which an answer counts as right.
        about: Facts that all sides share, such as the task, the data and the model, by name.
        left_out: Number of examples that ``on_common_examples`` left out because not all sides had them.

    Raises:
        ValueError: If there are fewer than two sides, two sides have the same name, or their examples differ.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    sides: tuple[Side, ...]
    solved: float = SOLVED
    about: Mapping[str, str] = field(default_factory=dict)
    left_out: int = 0

    def __post_init__(self) -> None:
        names = [side.name for side in self.sides]
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(f"a comparison needs two or more, each with a name of its own, got {names}")
        first, *others = [[group[0].example_id for group in by_example(side.evaluation.records)] for side in self.sides]
        if any(other != first for other in others):
            raise ValueError("the evaluations are of other examples, or in another order: see on_common_examples()")

    @classmethod
    def on_common_examples(cls, sides: Sequence[Side], **details: Any) -> Self:
        """Compare separate evaluations on the examples that all of them have.

        Args:
            sides: At least two sides.
            **details: The other attributes of ``Comparison``.

        Raises:
            DataError: If the sides have no example in common, or an example has different references.
        """
        groups = [_by_occurrence(side) for side in sides]
        common = [key for key in groups[0] if all(key in other for other in groups[1:])]
        if not common:
            raise DataError(f"{' and '.join(side.name for side in sides)} have no example in common")
        for key in common:
            if len({group[key][0].reference for group in groups if group[key][0].reference}) > 1:
                raise DataError(f"example {key[0]} was judged against different references: these are different data")
        kept = [
            replace(side, evaluation=replace(side.evaluation, records=tuple(r for key in common for r in group[key])))
            for side, group in zip(sides, groups, strict=True)
        ]
        return cls(tuple(kept), left_out=len(set().union(*groups)) - len(common), **details)

    # -- two -----------------------------------------------------------------------------------------------

    @property
    def before(self) -> Evaluation:
        """Evaluation of the first side."""
        return self.sides[0].evaluation

    @property
    def after(self) -> Evaluation:
        """Evaluation of the last side."""
        return self.sides[-1].evaluation

    @property
    def gain(self) -> tuple[float, float, float]:
        """Accuracy of the last side minus the first, with its 95% interval: infinite for a single example."""
        found = self.differences()[-1]
        low, high = -math.inf if found.low is None else found.low, math.inf if found.high is None else found.high
        return found.gain, low, high

    def metrics(self) -> dict[str, float]:
        """Metrics of the last side, ``accuracy_before``, ``accuracy_gain`` with its interval, and ``p_value``."""
        found = self.differences()[-1]
        before = {"accuracy_before": self.before.accuracy, "accuracy_gain": found.gain, "p_value": found.adjusted}
        bounds = {"accuracy_gain_low": found.low, "accuracy_gain_high": found.high}
        return self.after.metrics() | before | {name: value for name, value in bounds.items() if value is not None}

    # -- two or more ---------------------------------------------------------------------------------------

    def differences(self) -> tuple[Difference, ...]:
        """Differences of each side from the first, in order."""
        return correct_p_values([difference(self.sides[0], side) for side in self.sides[1:]])

    def matrix(self) -> tuple[Difference, ...]:
        """Differences of all pairs of sides; the p-values are corrected for the number of pairs."""
        return correct_p_values([difference(first, second) for first, second in combinations(self.sides, 2)])

    def changes(self, place: int = 1) -> tuple[tuple[ExampleChange, ...], tuple[ExampleChange, ...]]:
        """Examples on which a side scores higher than the first side, and examples on which it scores lower.

        Args:
            place: Index of the side; the first side is 0.

        Returns:
            Wins and losses. Each is sorted by the size of the difference, then by the order of the examples.
        """
        pairs = zip(*(by_example(self.sides[side].evaluation.records) for side in (0, place)), strict=True)
        found = sorted((ExampleChange(*pair) for pair in pairs), key=lambda change: -abs(change.difference))
        return tuple(c for c in found if c.difference > 0), tuple(c for c in found if c.difference < 0)

    @property
    def title(self) -> str:
        """Title for a reader: the task, if known, and the names of the sides."""
        names = [side.name for side in self.sides]
        told = f"{names[1]} beside {names[0]}" if len(names) == 2 else ", ".join(names)
        return f"{self.about['task']}: {told}" if "task" in self.about else told

    @property
    def score(self) -> str:
        """Name of the mean score. An evaluation without this name (from older records) uses the name of the others."""
        names = (side.evaluation.score for side in self.sides)
        return next((name for name in names if name != ACCURACY), ACCURACY)

    @property
    def are_shares(self) -> bool:
        """Whether all scores are from 0 to 1; then a mean can be shown as a percentage."""
        return all(0 <= record.score <= 1 for side in self.sides for record in side.evaluation.records)

    def gain_text(self, found: Difference) -> str:
        """Text of a gain with its interval, in percentage points if the scores are accuracies from 0 to 1."""
        known = [number for number in (found.gain, found.low, found.high) if number is not None]
        is_accuracy = self.score == ACCURACY
        if is_accuracy and self.are_shares:
            gain, *bounds = (f"{100 * number:+.1f}" for number in known)
            gain += " points"
        else:
            gain, *bounds = (f"{number:+.4g}" if is_accuracy else f"{number:+.3f}" for number in known)
        return gain + (f" ({' to '.join(bounds)})" if bounds else "")

    def __repr__(self) -> str:
        return self.text()

    def text(self) -> str:
        """Text with one line for each side; with more than two sides, also one line for each pair."""
        holm = f" (Holm's correction for {len(self.sides) - 1})" if len(self.sides) > 2 else ""
        lines = [
            f"{each.second} beside {each.first}: {self.gain_text(each)}, {each.test} p = {each.adjusted:.2g}{holm}; "
            f"{each.wins} won, {each.losses} lost, {each.ties} the same; {each.cost()}"
            for each in self.differences()
        ]
        if len(self.sides) > 2:
            count = len(matrix := self.matrix())
            lines += ["", f"each beside each, p by Holm's correction for {count}:"]
            lines += [f"{m.second} beside {m.first}: {self.gain_text(m)}, p = {m.adjusted:.2g}" for m in matrix]
        return "\n".join(lines)

    # -- elsewhere -----------------------------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        """Results as JSON values: ``accuracies`` by name, and ``differences`` with ids of the examples."""
        accuracies = {
            side.name: side.evaluation.metrics(solved=self.solved)
            | {"tokens": side.evaluation.tokens, "usd": side.evaluation.usd, "seconds": seconds(side.evaluation)}
            | {"library": side.library, "size": side.size}
            for side in self.sides
        }
        beside = [
            asdict(each) | {"ties": each.ties, "won": _ids(won), "lost": _ids(lost)}
            for place, each in enumerate(self.differences(), start=1)
            for won, lost in [self.changes(place)]
        ]
        found = {"about": dict(self.about), "score": self.score, "accuracies": accuracies, "differences": beside}
        matrix = [asdict(each) | {"ties": each.ties} for each in self.matrix()]
        return found | ({"matrix": matrix} if len(self.sides) > 2 else {})

    def to_json(self) -> str:
        """JSON text with the results and, under ``comparison``, all the data that they were computed from."""
        whole = _JSON.dump_python(self, mode="json", fallback=str)
        found = json.dumps({"format": _FORMAT, **self.summary()}, ensure_ascii=False, indent=1)
        # The part for a person comes first, line by line; the records are for programs.
        return f'{found.removesuffix("}").rstrip()},\n "comparison": {json.dumps(whole, ensure_ascii=False)}\n}}\n'

    @classmethod
    def from_json(cls, text: str | bytes, source: str | Path = "the text") -> Comparison:
        """Read a comparison back.

        Args:
            text: Output of ``to_json``.
            source: Name of the text's origin, for errors.

        Raises:
            DataError: If the text is not a comparison.
        """
        try:
            document = json.loads(text)
            if not isinstance(document, dict) or document.get("format") != _FORMAT:
                raise DataError(f"{source} holds no comparison of the format {_FORMAT}")
            return _JSON.validate_python(document.get("comparison"))
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, fault["loc"]))
            raise DataError(f"{source} holds no comparison: {place}: {fault['msg']}") from error
        except ValueError as error:
            raise DataError(f"{source} holds no comparison: {error}") from error

    def to_pandas(self) -> pd.DataFrame:
        """Table with one row for each example. See ``flex_dspy.display.comparisons.comparison_frame``."""
        return representations.frame(self)


_JSON: TypeAdapter[Comparison] = TypeAdapter(Comparison)
_FORMAT = "flex-dspy-comparison/1"


def _ids(changes: Sequence[ExampleChange]) -> list[str]:
    return [change.first[0].example_id for change in changes]


def _by_occurrence(side: Side) -> dict[tuple[str, int], Samples]:
    """Samples of each example. The key has a number because a set may hold the same problem twice."""
    seen: Counter[str] = Counter()
    found = {}
    for group in by_example(side.evaluation.records):
        name = group[0].example_id
        found[name, seen[name]] = group
        seen[name] += 1
    return found


def compare(
    before: ExperienceLibrary,
    after: ExperienceLibrary,
    program: dspy.Module,
    examples: Sequence[dspy.Example],
    metric: Metric,
    *,
    others: Mapping[str, ExperienceLibrary] | None = None,
    names: tuple[str, str] = ("before", "after"),
    solved: float = SOLVED,
    **options: Any,
) -> Comparison:
    """Measure libraries on the same examples, none of which they were learned from.

    Args:
        before: The first library. All others are compared with it. An empty library stands for no library.
        after: The second library.
        program: Any program that holds a retriever.
        examples: Validation examples.
        metric: See ``flex_dspy.core.scoring.score``.
        others: Further libraries by name.
        names: Names of the first two.
        solved: The score from which an answer counts as right.
        **options: Further arguments of ``flex_dspy.evaluation.evaluate.evaluate``.

    Raises:
        FlexError: For the same reasons as ``flex_dspy.evaluation.evaluate.evaluate``.
    """
    libraries = [*zip(names, (before, after), strict=True), *(others or {}).items()]
    sides = [
        Side.of(name, evaluate(program, examples, metric, library=library, label=name, **options), library)
        for name, library in libraries
    ]
    return Comparison(tuple(sides), solved)

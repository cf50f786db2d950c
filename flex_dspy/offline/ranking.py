"""The chemist's ranking of proposals, fitted to one library: a conditional logit with its numbers in a file.

The logarithm of a proposal's weight is a sum. It contains the terms of ``flex_dspy.offline.evidence``, each times its
coefficient, and the descriptors of ``flex_dspy.offline.descriptors``, each times its number. The numbers tell which
groups react before others, independent of the precedents at hand. All are fitted together (see
``flex_dspy.offline.fitting``), which is a convex problem.

The file is JSON and says what it was fitted on. Its numbers are only read, never executed.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from pydantic import ConfigDict, Field, NonNegativeInt, TypeAdapter, ValidationError

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.offline.changes import Numbers
from flex_dspy.offline.descriptors import PLACES, Descriptors
from flex_dspy.offline.evidence import COEFFICIENTS

FORMAT = "flex-dspy ranking 3"
TERMS = tuple(COEFFICIENTS)
# Sums of products of larger numbers would be infinite.
_Bounded = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


class Choice(NamedTuple):
    """One product with its proposals, as a fit sees it.

    Attributes:
        terms: The terms of each proposal, shape (m, 15).
        descriptors: The descriptors of each proposal.
        general: The logarithm of each proposal's weight by the general coefficients, shape (m,).
        right: Index of the right proposal.
    """

    terms: Numbers
    descriptors: Descriptors
    general: Numbers
    right: int


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity, as a key of caches
class Ranking:
    """Fitted coefficients.

    Attributes:
        coefficients: The coefficients of all ``TERMS``, by term.
        numbers: The numbers that are not 0, by place in the table of descriptors.
        fitted_on: Provenance: the library, the number of its precedents, and the score before and after.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    coefficients: dict[str, _Bounded]
    numbers: dict[NonNegativeInt, _Bounded] = field(default_factory=dict)
    fitted_on: dict[str, Any] = field(default_factory=dict)
    format: str = FORMAT

    def weight(self, terms: Numbers, descriptors: Descriptors) -> Numbers:
        """The logarithm of each proposal's weight, shape (m,).

        Args:
            terms: Shape (15, m).
            descriptors: The descriptors of the m proposals.
        """
        coefficients, numbers = _tables(self)
        return np.asarray(coefficients @ terms + descriptors.weigh(numbers), np.float32)

    def text(self) -> str:
        """The content of the file. Its beginning is readable for people."""
        head = {"format": self.format, "fitted_on": self.fitted_on, "coefficients": self.coefficients}
        lines = [f"{json.dumps(name)}: {json.dumps(value, indent=2)}" for name, value in head.items()]
        lines.append(f'"numbers": {json.dumps(self.numbers)}')
        return "{\n" + ",\n".join(lines) + "\n}\n"


@functools.lru_cache(maxsize=8)
def _tables(ranking: Ranking) -> tuple[Numbers, Numbers]:
    """The coefficients in the order of ``TERMS``, and the number of each place."""
    numbers = np.zeros(PLACES, np.float32)
    numbers[list(ranking.numbers)] = list(ranking.numbers.values())
    return np.array([ranking.coefficients[term] for term in TERMS], np.float32), numbers


UNFITTED = Ranking(COEFFICIENTS)
_ADAPTER: TypeAdapter[Ranking] = TypeAdapter(Ranking)
_DAMAGED = (
    "the ranking {path} is damaged: {place}: {problem}; delete it, or fit it anew (flex-dspy library fit). "
    "--lm offline/chemist asks the chemist without it"
)
_ANOTHER_VERSION = "the ranking {path} is none of this version: {problem}; fit it anew (flex-dspy library fit)"


def read_ranking(path: str | Path) -> Ranking:
    """The ranking in a file. The file is read again if it has changed.

    Raises:
        ConfigurationError: If the file does not exist, is damaged, or has another version.
    """
    try:
        return _read(str(path), Path(path).stat().st_mtime_ns)
    except OSError as error:
        raise ConfigurationError(f"the ranking {path} cannot be read: {error.strerror}. Check the path") from error


@functools.lru_cache(maxsize=8)
def _read(path: str, changed: int) -> Ranking:
    text = Path(path).read_bytes()
    try:
        ranking = _ADAPTER.validate_json(text)
    except ValidationError as error:
        if (problem := _problem_of_format(text)) is not None:
            raise ConfigurationError(_ANOTHER_VERSION.format(path=path, problem=problem)) from error
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigurationError(_DAMAGED.format(path=path, place=place, problem=first["msg"])) from error
    if (problem := _problem(ranking)) is not None:
        raise ConfigurationError(_ANOTHER_VERSION.format(path=path, problem=problem))
    return ranking


def _problem_of_format(text: bytes) -> str | None:
    """What is wrong with the format of a file that is no ranking of this version; None if that is not the reason."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    name = content.get("format") if isinstance(content, dict) else FORMAT
    return None if name == FORMAT else f"its format is {name!r}, not {FORMAT!r}"


def _problem(ranking: Ranking) -> str | None:
    if ranking.format != FORMAT:
        return f"its format is {ranking.format!r}, not {FORMAT!r}"
    if set(ranking.coefficients) != set(TERMS):
        return "it has other terms"
    return None if max(ranking.numbers, default=0) < PLACES else f"it has numbers beyond place {PLACES - 1}"

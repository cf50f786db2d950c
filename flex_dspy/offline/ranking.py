"""The chemist's ranking of proposals, fitted to one library: a conditional logit with its numbers in a file.

The logarithm of a proposal's weight is a sum. It contains the terms of ``flex_dspy.offline.evidence``, each times its
coefficient, and one number for each environment that the product loses or the reactants gain (2,048 of them; see
``flex_dspy.offline.changes``). These numbers tell which groups react before others, independent of the solved cases.
All numbers are fitted together (see ``flex_dspy.offline.fitting``), which is a convex problem.

The file is JSON and says what it was fitted on. Its numbers are only read, never executed.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, FiniteFloat, TypeAdapter, ValidationError

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.offline.changes import ENVIRONMENTS, GAINED, LOST, Bits, Numbers
from flex_dspy.offline.evidence import COEFFICIENTS, FURTHER_TERMS

FORMAT = "flex-dspy ranking 1"
TERMS = (*COEFFICIENTS, *FURTHER_TERMS)


class Choice(NamedTuple):
    """One product with its proposals, as a fit sees it.

    Attributes:
        terms: The terms of each proposal, shape (m, 20).
        changes: The environments of each proposal, shape (m, 4, 16).
        right: Index of the right proposal.
    """

    terms: Numbers
    changes: Bits
    right: int


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity, as a key of caches
class Ranking:
    """Fitted coefficients.

    Attributes:
        coefficients: The coefficients of all ``TERMS``, by term.
        lost: A number for each environment that the product may lose, 1,024 in all.
        gained: A number for each environment that the reactants may gain, 1,024 in all.
        fitted_on: Provenance: the library, the number of its precedents, and the score before and after.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    coefficients: dict[str, FiniteFloat]
    lost: tuple[FiniteFloat, ...]
    gained: tuple[FiniteFloat, ...]
    fitted_on: dict[str, Any] = field(default_factory=dict)
    format: str = FORMAT

    def weight(self, terms: Numbers, changes: Bits) -> Numbers:
        """The logarithm of each proposal's weight, shape (m,).

        Args:
            terms: Shape (20, m).
            changes: Shape (m, 4, 16).
        """
        coefficients = np.array([self.coefficients[term] for term in TERMS], np.float32)
        environments = np.array(self.lost + self.gained, np.float32)
        return np.asarray(coefficients @ terms + environments_of(changes) @ environments, np.float32)

    def write(self, path: Path) -> None:
        """Write the file. Its beginning is readable for people."""
        head = {"format": self.format, "fitted_on": self.fitted_on, "coefficients": self.coefficients}
        lines = [f"{json.dumps(name)}: {json.dumps(value, indent=2)}" for name, value in head.items()]
        lines += [f'"{name}": {json.dumps(getattr(self, name))}' for name in ("lost", "gained")]
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def environments_of(changes: Bits) -> npt.NDArray[np.float32]:
    """Which environments each proposal loses and gains, as zeros and ones, shape (m, 2048)."""
    sides = np.ascontiguousarray(changes[:, [LOST, GAINED]])
    return np.unpackbits(sides.view(np.uint8), axis=-1).reshape(len(changes), 2 * ENVIRONMENTS).astype(np.float32)


UNFITTED = Ranking({**COEFFICIENTS, **dict.fromkeys(FURTHER_TERMS, 0.0)}, (0.0,) * ENVIRONMENTS, (0.0,) * ENVIRONMENTS)
_ADAPTER: TypeAdapter[Ranking] = TypeAdapter(Ranking)


def read_ranking(path: str | Path) -> Ranking:
    """The ranking in a file. The file is read again if it has changed.

    Raises:
        ConfigurationError: If the file does not exist, is damaged, or has another version.
    """
    try:
        return _read(str(path), Path(path).stat().st_mtime_ns)
    except OSError as error:
        raise ConfigurationError(f"the ranking {path} cannot be read: {error.strerror}") from error


@functools.lru_cache(maxsize=8)
def _read(path: str, changed: int) -> Ranking:
    try:
        ranking = _ADAPTER.validate_json(Path(path).read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigurationError(f"the ranking {path} is damaged: {place}: {first['msg']}") from error
    if (problem := _problem(ranking)) is not None:
        raise ConfigurationError(f"the ranking {path} is none of this version: {problem}; fit it anew")
    return ranking


def _problem(ranking: Ranking) -> str | None:
    if ranking.format != FORMAT:
        return f"its format is {ranking.format!r}, not {FORMAT!r}"
    if set(ranking.coefficients) != set(TERMS):
        return "it has other terms"
    sizes: Sequence[int] = [len(ranking.lost), len(ranking.gained)]
    return None if sizes == [ENVIRONMENTS] * 2 else f"it has {sizes} environments, not {ENVIRONMENTS} on each side"

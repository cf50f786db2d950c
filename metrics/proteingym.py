"""ProteinGym: how well does a formula over score columns rank the mutants of an assay?

A formula has no fitted part. Cross-validation shows how certain its correlation is, and which column would have been
chosen without the mutants that judge the formula. For an assay itself, the labelled mutants are split into five parts.
In each part, the formula's Spearman is compared with that of the column that was best in the other four. For practice,
the mutants that were not shown are the only part, and the column is the best one on the shown mutants.

- ``score`` is the absolute value of the formula's Spearman, averaged over the parts;
- ``accepted`` says whether the score beats the best single column, chosen in this way, by ``MARGIN``.

Only ``spearman_of_held_out`` uses held-out mutants; it is for reports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import dspy
import numpy as np
import numpy.typing as npt

from flex_dspy.metrics.answers import unwrap
from flex_dspy.metrics.cleaning import out_of_container, visible_answer, without_quotes, without_strong
from flex_dspy.metrics.formula import Formula, FormulaError, parse, quote
from flex_dspy.metrics.formula_values import Table, Vector, evaluate, spearman

Rows = npt.NDArray[np.int64]

FOLDS = 5
MARGIN = 0.01
_MOST_WEIGHED = 30  # largest number of columns whose share in a formula is measured
_MOST_TOLD = 6
_LABEL = re.compile(
    r"\A[\s#>-]{0,9}(?:(?:the|final|my)\s)*(?:formula|score|fitness|proxy|answer)(?:\sis)?\s?[=:]\s*", re.I | re.A
)
_LOOKS = str.maketrans({"−": "-", "×": "*", "“": '"', "”": '"', "\u00a0": " ", "\u2009": " ", "\u202f": " "})
_AROUND = frozenset("'\"")


class Assay(Protocol):
    """The measurements that a formula is compared with; ``flex_dspy.data.assays.Assay`` is one."""

    @property
    def table(self) -> Table:
        """The score columns, one row per mutant."""

    @property
    def fitness(self) -> Vector:
        """The measured score of each mutant."""

    @property
    def missing(self) -> Mapping[str, float]:
        """The share of the mutants for which a column had no score."""


class Shares(Protocol):
    """How an example uses the mutants of its assay, by row; ``flex_dspy.data.proteingym.Shares`` is one."""

    @property
    def assay(self) -> Assay:
        """The assay."""

    @property
    def labelled(self) -> Rows:
        """The labelled mutants."""

    @property
    def shown(self) -> Rows:
        """The labelled mutants that the problem's text was made from."""

    @property
    def held_out(self) -> Rows:
        """The other mutants, for reports only."""


def score_formula(pred: Any, shares: Shares) -> dspy.Prediction:
    """Score a formula on the labelled mutants, with feedback on the columns that carried it.

    Args:
        pred: The answer; ``formula`` is a text.
        shares: The mutants.

    Returns:
        ``score`` (0 to 1), ``feedback``, ``accepted`` and ``gain`` (over the best single column).
    """
    assay = shares.assay
    try:
        formula = read_formula(pred, assay.table.columns)
        values = evaluate(formula, assay.table)[shares.labelled]
    except FormulaError as error:
        return _nothing(f"No formula: {error}.")
    measured, table, parts = assay.fitness[shares.labelled], assay.table.take(shares.labelled), _parts(shares)
    own = np.array([spearman(values[part], measured[part]) for part in parts])
    if not own.any():
        return _nothing("The formula gives all mutants the same value.")
    sign = 1.0 if own.mean() >= 0 else -1.0
    single, chosen = best_single(table, measured, parts)
    gains = sign * own - single
    judges = np.concatenate(parts)
    told = [
        *_comparison(sign * own, gains, len(judges), chosen),
        *(["Greater values of it are less fit."] if sign < 0 else []),
        *_carriers(formula, table.take(judges), measured[judges], sign),
        *_gaps(formula, assay.missing),
    ]
    score, gain = float(sign * own.mean()), float(gains.mean())
    return dspy.Prediction(score=score, feedback=" ".join(told), accepted=gain >= MARGIN, gain=gain)


def _nothing(why: str) -> dspy.Prediction:
    return dspy.Prediction(score=0.0, feedback=why, accepted=False, gain=0.0)


def _comparison(own: Vector, gains: Vector, judges: int, chosen: Sequence[str]) -> list[str]:
    """Lines that compare the formula with the best single column over the parts."""
    columns = ", ".join(map(quote, chosen[:3]))
    return [
        f"|Spearman| {own.mean():.3f} ± {_error(own, judges):.3f} on {judges} labelled mutants.",
        f"The best single column, chosen on others ({columns}), has {(own - gains).mean():.3f}: a gain of "
        f"{gains.mean():+.3f} ± {_error(gains, judges):.3f}.",
    ]


def spearman_of_held_out(pred: Any, shares: Shares) -> float:
    """|Spearman| of the formula with the fitness of the held-out mutants, for reports; 0 if there is no formula.

    Args:
        pred: The answer; ``formula`` is a text.
        shares: The mutants.
    """
    table, rest = shares.assay.table, shares.held_out
    try:
        values = evaluate(read_formula(pred, table.columns), table)[rest]
    except FormulaError:
        return 0.0
    return abs(spearman(values, shares.assay.fitness[rest]))


def read_formula(pred: Any, columns: tuple[str, ...]) -> Formula:
    """The formula in an answer: alone, in a fence, box, container or quotes, or after ``formula =``.

    Raises:
        FormulaError: The answer contains no formula.
    """
    given = pred.get("formula") if hasattr(pred, "get") else getattr(pred, "formula", None)
    text = _formula_text(str(given or ""), columns)
    if not text:
        raise FormulaError(1, "there is no formula")
    return parse(text, columns)


def _formula_text(text: str, columns: tuple[str, ...]) -> str:
    """The formula in an answer, without the text around it. Quotes around a column's name stay."""
    text = unwrap(without_strong(visible_answer(text).translate(_LOOKS), underscores=False))
    for _ in range(4):  # a label before quotes before a container
        before, text = text, _LABEL.sub("", text.strip("` \t\r\n"))
        if text.startswith("{"):
            text = out_of_container(text)
        elif text[:1] in _AROUND and without_quotes(text) not in columns:
            text = without_quotes(text)
        if text == before:
            break
    return text


def best_single(table: Table, measured: Vector, parts: list[Rows]) -> tuple[Vector, list[str]]:
    """For each part the Spearman of the best column of the other parts, and these columns, most frequent first."""
    reached, chosen = [], []
    for part in parts:
        rest = np.setdiff1d(np.arange(len(measured)), part)
        there = [spearman(column, measured[rest]) for column in table.values[rest].T]
        number = int(np.argmax(np.abs(there)))
        reached.append(np.sign(there[number]) * spearman(table.values[part, number], measured[part]))
        chosen.append(table.columns[number])
    return np.array(reached), sorted(set(chosen), key=lambda name: (-chosen.count(name), name))


def _parts(shares: Shares) -> list[Rows]:
    """The parts of the judging mutants, as indices among the labelled mutants. They are the same for every formula."""
    count = len(shares.labelled)
    if len(shares.shown) < count:
        return [np.flatnonzero(~np.isin(shares.labelled, shares.shown))]
    return [np.sort(part) for part in np.array_split(np.random.default_rng(count).permutation(count), FOLDS)]


def _error(values: Vector, judges: int) -> float:
    """The standard error of a mean over parts; with a single part, the standard error of a Spearman."""
    spread = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 1 / np.sqrt(judges - 1)
    return float(spread)


def _carriers(formula: Formula, table: Table, measured: Vector, sign: float) -> list[str]:
    """The contribution of each column: how much correlation is lost if the column is constant."""
    if len(formula.columns) < 2:
        return []
    whole = spearman(evaluate(formula, table), measured)
    shares = {
        name: sign * (whole - spearman(evaluate(formula, table.without(name)), measured))
        for name in formula.columns[:_MOST_WEIGHED]
    }
    order = sorted(shares, key=lambda name: -shares[name])
    carried = [f"{quote(name)} {shares[name]:+.3f}" for name in order if shares[name] > 0.001][:_MOST_TOLD]
    hurt = [f"{quote(name)} {shares[name]:+.3f}" for name in order[::-1] if shares[name] < -0.001][:_MOST_TOLD]
    told = [f"Carried by (what is lost without it): {', '.join(carried)}."] if carried else []
    return told + ([f"Held back by: {', '.join(hurt)}."] if hurt else [])


def _gaps(formula: Formula, missing: Any) -> list[str]:
    gaps = [f"{quote(name)} {missing[name]:.0%}" for name in formula.columns if missing.get(name, 0) >= 0.005]
    return (
        [f"Scores that are missing were filled by the column's median: {', '.join(gaps[:_MOST_TOLD])}."] if gaps else []
    )

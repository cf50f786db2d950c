"""Studies as pandas frames and as HTML cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from flex_dspy.core.scoring import ACCURACY
from flex_dspy.display import html
from flex_dspy.display.libraries import with_interval
from flex_dspy.learning.curve import CurvePoint
from flex_dspy.studies.ablation_study import Ablation
from flex_dspy.studies.conditions import SIGNIFICANT, Condition, gain_text, in_points, p_text
from flex_dspy.studies.inheritance_matrix import Inheritance
from flex_dspy.studies.scaling_law import Curve, Scaling

if TYPE_CHECKING:
    import pandas as pd

_FITTED = ("fitted", "fitted_low", "fitted_high")
_COMPARED = ("gain", "gain_low", "gain_high", "wins", "losses", "p", "p_adjusted")
_MEASURED = ("low", "high", "n", *_COMPARED)


# -- scaling -------------------------------------------------------------------------------------------------


def scaling_frame(study: Scaling) -> pd.DataFrame:
    """Table with one row for each version and set of examples. ``fitted`` and its bounds come from the curve."""
    import pandas as pd

    return pd.DataFrame([row for curve in study.curves for row in _curve_rows(curve)])


def _curve_rows(curve: Curve) -> Iterable[dict[str, Any]]:
    for point in curve.points:
        row = {"measured on": curve.name, **_point_cells(point)}
        at = curve.at(point)
        if curve.fit is not None and at > 0:
            row |= zip(_FITTED, (float(each) for each in curve.fit.at(at)), strict=True)
        yield row


def _point_cells(point: CurvePoint) -> dict[str, Any]:
    """Values of a point by field name. A graded mean score has its own name."""
    return {point.score if name == ACCURACY else name: value for name, value in asdict(point).items()}


def scaling_cell(study: Scaling) -> str:
    """HTML table of the fits and of all measured versions."""
    parts = [html.title(study.title)]
    for curve in study.curves:
        rows = [_point_row(row, curve) for row in _curve_rows(curve)]
        head = [
            curve.against if curve.against == "epochs" else "examples",
            "entries",
            f"{curve.score} (95% interval)",
            "n",
        ]
        parts += [html.heading(curve.name), html.soft(curve.text()), html.table([*head, "curve (95% band)"], rows)]
    return html.fragment(*parts)


def _point_row(row: dict[str, Any], curve: Curve) -> list[Any]:
    fitted = with_interval(*(row[name] for name in _FITTED), score=curve.score) if "fitted" in row else ""
    epochs = curve.against == "epochs" and curve.epoch
    first = row["examples"] / curve.epoch if epochs and curve.epoch else row["examples"]
    measured = with_interval(row[curve.score], row["low"], row["high"], score=curve.score)
    return [first, row["entries"], measured, row["n"], fitted]


# -- conditions ----------------------------------------------------------------------------------------------


def condition_row(condition: Condition) -> dict[str, Any]:
    """Row of a condition. The row of the reference has no comparison."""
    row = {condition.score: condition.accuracy, "low": condition.low, "high": condition.high, "n": condition.n}
    found = condition.compared
    if found is None:
        return row
    numbers = (found.gain, found.low, found.high, found.wins, found.losses, found.p_value, found.adjusted)
    return row | dict(zip(_COMPARED, numbers, strict=True))


def _frame(rows: Iterable[dict[str, Any]], score: str, *names: str) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=[*names, score, *_MEASURED]).astype({"wins": "Int64", "losses": "Int64"})


def inheritance_frame(study: Inheritance) -> pd.DataFrame:
    """Table with one row for each cell."""
    return _frame(
        (
            {"actor": actor, "library": library, "entries": study.entries.get(library, 0), **condition_row(condition)}
            for actor, row in study.cells.items()
            for library, condition in row.items()
        ),
        study.score, "actor", "library", "entries",
    )  # fmt: skip


def ablation_frame(study: Ablation) -> pd.DataFrame:
    """Table with one row for each condition."""
    rows = ({"condition": name, **condition_row(condition)} for name, condition in study.conditions.items())
    return _frame(rows, study.score, "condition")


def inheritance_cell(study: Inheritance) -> str:
    """HTML table of the matrix, with a row for each actor and a column for each library."""
    names = list(next(iter(study.cells.values())))
    head = [
        f"{name} ({html.count(study.entries[name], 'entry', 'entries')})" if name in study.entries else name
        for name in names
    ]
    rows = [[actor, *(_condition_cell(row[name]) for name in names)] for actor, row in study.cells.items()]
    conditions = [condition for row in study.cells.values() for condition in row.values()]
    title = "Inheritance" if study.score == ACCURACY else f"Inheritance, {study.score}"
    return html.fragment(html.title(title), html.table(["actor", *head], rows), _note(conditions, "no library"))


def ablation_cell(study: Ablation) -> str:
    """HTML table of the conditions, one row for each."""
    rows = [[name, _accuracy(each), *_comparison(each)] for name, each in study.conditions.items()]
    score = f"{study.score} (95% interval)"
    head = ["condition", score, f"difference{in_points(study.score)} (95% interval)", "wins, losses", "p"]
    note = _note(list(study.conditions.values()), "the whole library")
    return html.fragment(html.title("Ablation"), html.table(head, rows), note)


def _note(conditions: Sequence[Condition], reference: str) -> Markup:
    found = [each.compared for each in conditions if each.compared]
    tests = " and ".join(dict.fromkeys(each.test for each in found))
    unit = in_points(conditions[0].score)
    return html.soft(
        f"{html.count(conditions[0].n, 'example')}, compared with {reference} one by one, differences{unit}; "
        f"p by {tests}, with Holm's correction for {html.count(len(found), 'comparison')}."
    )


def _accuracy(condition: Condition) -> str:
    return with_interval(condition.accuracy, condition.low, condition.high, score=condition.score)


def _comparison(condition: Condition) -> list[Any]:
    found = condition.compared
    if found is None:
        return ["", "", ""]
    difference = gain_text(found, condition.score)
    kind = "fx-soft" if found.adjusted >= SIGNIFICANT else "fx-good" if found.gain > 0 else "fx-bad"
    marked = Markup('<span class="{}">{}</span>').format(kind, difference)
    return [marked, f"{found.wins}, {found.losses}", p_text(found.adjusted).removeprefix("p ").removeprefix("= ")]


def _condition_cell(condition: Condition) -> Markup:
    difference, _, p = _comparison(condition)
    more = (
        Markup("<br>{}<br>p {}").format(difference, p if p.startswith("<") else f"= {p}") if difference else Markup("")
    )
    return Markup("<b>{}</b>{}").format(_accuracy(condition), more)

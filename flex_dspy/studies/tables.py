"""Studies as pandas frames and as HTML cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from flex_dspy.display import html
from flex_dspy.display.libraries import with_interval
from flex_dspy.studies.ablation_study import Ablation
from flex_dspy.studies.conditions import SIGNIFICANT, Condition, gain_text, p_text
from flex_dspy.studies.inheritance_matrix import Inheritance
from flex_dspy.studies.scaling_law import Curve, Scaling

if TYPE_CHECKING:
    import pandas as pd

_COMPARED = ("gain", "gain_low", "gain_high", "wins", "losses", "p", "p_adjusted")
_MEASURED = ("accuracy", "low", "high", "n", *_COMPARED)


# -- scaling -------------------------------------------------------------------------------------------------


def scaling_frame(study: Scaling) -> pd.DataFrame:
    """One row a measured version and set of examples; ``fitted`` and its bounds are of the curve."""
    import pandas as pd

    return pd.DataFrame([row for curve in study.curves for row in _curve_rows(curve)])


def _curve_rows(curve: Curve) -> Iterable[dict[str, Any]]:
    for point in curve.points:
        row = {"measured on": curve.name, **asdict(point)}
        at = curve.at(point)
        if curve.fit is not None and at > 0:
            row |= zip(("fitted", "fitted_low", "fitted_high"), (float(each) for each in curve.fit.at(at)), strict=True)
        yield row


def scaling_cell(study: Scaling) -> str:
    """The fits, and every measured version."""
    parts = [html.title(study.title)]
    for curve in study.curves:
        rows = [_point_row(row, curve) for row in _curve_rows(curve)]
        head = [curve.against if curve.against == "epochs" else "examples", "entries", "accuracy (95% interval)", "n"]
        parts += [html.heading(curve.name), html.soft(curve.text()), html.table([*head, "curve (95% band)"], rows)]
    return html.fragment(*parts)


def _point_row(row: dict[str, Any], curve: Curve) -> list[Any]:
    fitted = with_interval(row["fitted"], row["fitted_low"], row["fitted_high"]) if "fitted" in row else ""
    epochs = curve.against == "epochs" and curve.epoch
    first = row["examples"] / curve.epoch if epochs and curve.epoch else row["examples"]
    return [first, row["entries"], with_interval(row["accuracy"], row["low"], row["high"]), row["n"], fitted]


# -- conditions ----------------------------------------------------------------------------------------------


def condition_row(condition: Condition) -> dict[str, Any]:
    """A condition as a row; the reference lacks the comparison."""
    row = {"accuracy": condition.accuracy, "low": condition.low, "high": condition.high, "n": condition.n}
    found = condition.compared
    if found is None:
        return row
    numbers = (found.gain, found.low, found.high, found.wins, found.losses, found.p_value, found.adjusted)
    return row | dict(zip(_COMPARED, numbers, strict=True))


def _frame(rows: Iterable[dict[str, Any]], *names: str) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=[*names, *_MEASURED]).astype({"wins": "Int64", "losses": "Int64"})


def inheritance_frame(study: Inheritance) -> pd.DataFrame:
    """One row a cell."""
    return _frame(
        (
            {"actor": actor, "library": library, "entries": study.entries.get(library, 0), **condition_row(condition)}
            for actor, row in study.cells.items()
            for library, condition in row.items()
        ),
        "actor", "library", "entries",
    )  # fmt: skip


def ablation_frame(study: Ablation) -> pd.DataFrame:
    """One row a condition."""
    rows = ({"condition": name, **condition_row(condition)} for name, condition in study.conditions.items())
    return _frame(rows, "condition")


def inheritance_cell(study: Inheritance) -> str:
    """The matrix: actors down, libraries across."""
    names = list(next(iter(study.cells.values())))
    head = [
        f"{name} ({html.count(study.entries[name], 'entry', 'entries')})" if name in study.entries else name
        for name in names
    ]
    rows = [[actor, *(_condition_cell(row[name]) for name in names)] for actor, row in study.cells.items()]
    conditions = [condition for row in study.cells.values() for condition in row.values()]
    return html.fragment(html.title("Inheritance"), html.table(["actor", *head], rows), _note(conditions, "no library"))


def ablation_cell(study: Ablation) -> str:
    """The conditions, one below the other."""
    rows = [[name, _accuracy(each), *_comparison(each)] for name, each in study.conditions.items()]
    head = ["condition", "accuracy (95% interval)", "difference in points (95% interval)", "wins, losses", "p"]
    note = _note(list(study.conditions.values()), "the whole library")
    return html.fragment(html.title("Ablation"), html.table(head, rows), note)


def _note(conditions: Sequence[Condition], reference: str) -> Markup:
    found = [each.compared for each in conditions if each.compared]
    tests = " and ".join(dict.fromkeys(each.test for each in found))
    return html.soft(
        f"{html.count(conditions[0].n, 'example')}, compared with {reference} one by one, differences in points; "
        f"p by {tests}, with Holm's correction for {html.count(len(found), 'comparison')}."
    )


def _accuracy(condition: Condition) -> str:
    return with_interval(condition.accuracy, condition.low, condition.high)


def _comparison(condition: Condition) -> list[Any]:
    found = condition.compared
    if found is None:
        return ["", "", ""]
    difference = gain_text(found)
    kind = "fx-soft" if found.adjusted >= SIGNIFICANT else "fx-good" if found.gain > 0 else "fx-bad"
    marked = Markup('<span class="{}">{}</span>').format(kind, difference)
    return [marked, f"{found.wins}, {found.losses}", p_text(found.adjusted).removeprefix("p ").removeprefix("= ")]


def _condition_cell(condition: Condition) -> Markup:
    difference, _, p = _comparison(condition)
    more = (
        Markup("<br>{}<br>p {}").format(difference, p if p.startswith("<") else f"= {p}") if difference else Markup("")
    )
    return Markup("<b>{}</b>{}").format(_accuracy(condition), more)

"""Draws a comparison as a figure: accuracies on the left, examples won and lost against the first side on the right."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from flex_dspy.core.scoring import ACCURACY
from flex_dspy.display.html import short
from flex_dspy.evaluation.comparison import Comparison
from flex_dspy.evaluation.differences import Difference, Side
from flex_dspy.evaluation.intervals import named_score_text

# Okabe and Ito's blue, vermilion and a grey, as in the learning curves.
_WON, _LOST, _MUTED = "#0072B2", "#D55E00", "#595959"
_WIDTH, _ROW, _MARGIN = 10.0, 0.62, 1.5  # inches
_DPI = 144
_MOST_NAME = 28


def draw(comparison: Comparison, path: Path, *, title: str = "") -> Path:
    """Draw a comparison as a PNG. It needs no display and does not change matplotlib's global state.

    Args:
        comparison: The comparison.
        path: The PNG file; its folder must exist.
        title: Title of the figure; by default the names of the sides.

    Returns:
        ``path``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _MARGIN + _ROW * len(comparison.sides)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1))
    for axes in (left, right):
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#E3E3E3", linewidth=0.8)
        axes.set_axisbelow(True)
    _draw_accuracies(left, comparison)
    _draw_changes(right, comparison.differences())
    figure.suptitle(title or comparison.title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    picture = io.BytesIO()  # in memory first, so that a failure leaves no incomplete file
    figure.savefig(picture, format="png", dpi=_DPI)
    path.write_bytes(picture.getvalue())
    return path


def _draw_accuracies(axes: Any, comparison: Comparison) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    for row, side in enumerate(comparison.sides):
        mean, (low, high) = side.evaluation.accuracy, side.evaluation.interval
        axes.errorbar(
            mean, row, xerr=[[max(0.0, mean - low)], [max(0.0, high - mean)]], color=_WON if row else _MUTED,
            marker="o", markersize=7, capsize=4, linewidth=2, clip_on=False,
        )  # fmt: skip
        axes.annotate(
            named_score_text(comparison.score, mean, low, high), (mean, row), xytext=(0, 8),
            textcoords="offset points", ha="center", fontsize=10, fontweight="bold", color=_WON if row else _MUTED,
        )  # fmt: skip
    axes.set_yticks(range(len(comparison.sides)), [_label(side) for side in comparison.sides], fontsize=10)
    axes.set_ylim(len(comparison.sides) - 0.5, -0.6)
    is_accuracy = comparison.score == ACCURACY
    what = "mean score" if is_accuracy and not comparison.are_shares else comparison.score
    axes.set_title(f"{what} with 95% interval, n = {comparison.before.n:,}", loc="left", fontsize=10.5, color=_MUTED)
    if comparison.are_shares:
        axes.set_xlim(0, min(1.02, max(0.05, 1.15 * max(side.evaluation.interval[1] for side in comparison.sides))))
        if is_accuracy:
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def _label(side: Side) -> str:
    entries = f"\n{side.size:,} entries" if side.size else ""
    return f"{short(side.name, _MOST_NAME)}{entries}"


def _draw_changes(axes: Any, found: tuple[Difference, ...]) -> None:
    most = max([1, *(max(each.wins, each.losses) for each in found)])
    for row, each in enumerate(found, start=1):
        axes.barh(row, each.wins, height=0.42, color=_WON)
        axes.barh(row, -each.losses, height=0.42, color=_LOST)
        for count, end, side in ((each.wins, each.wins, "left"), (each.losses, -each.losses, "right")):
            axes.annotate(
                f"{count:,}", (end, row), xytext=(4 if side == "left" else -4, 0), textcoords="offset points",
                ha=side, va="center", fontsize=10, fontweight="bold", color=_WON if side == "left" else _LOST,
            )  # fmt: skip
        holm = " (Holm)" if len(found) > 1 else ""
        axes.annotate(
            f"p = {each.adjusted:.2g}{holm}, {each.ties:,} the same", (0, row), xytext=(0, 18),
            textcoords="offset points", ha="center", fontsize=9.5, color=_MUTED,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip
    axes.axvline(0, color=_MUTED, linewidth=1)
    axes.set_xlim(-1.2 * most, 1.2 * most)
    axes.xaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    first = short(found[0].first, _MOST_NAME)
    axes.set_title(f"examples lost and won beside {first}", loc="left", fontsize=10.5, color=_MUTED)

"""Draws the learning curves of several runs in one figure. See ``flex_dspy.learning.curve`` for a single run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from flex_dspy.core.errors import ConfigurationError
from flex_dspy.learning.curve import MUTED, CurvePoint, new_axes, sample_text

Axis = Literal["entries", "examples", "tokens", "dollars"]
AXES: dict[Axis, str] = {
    "entries": "entries in the library",
    "examples": "examples learned from",
    "tokens": "tokens spent on learning",
    "dollars": "US dollars spent on learning",
}

# Okabe and Ito's colours without yellow, which is too light for a line. Further curves have another line style.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = "osD^vPX"
_LINES = ("-", "--", ":")
MOST_CURVES = len(_COLOURS) * len(_LINES)
_LOG_FROM = 10.0  # the axis is logarithmic from this ratio of the greatest x to the least x
_ROW = 0.26  # height of a line of the legend, in inches
_MOST_BANDS = 4  # up to so many curves the intervals are also bands; more bands would hide each other
_MOST_NAME = 56  # characters of a name in the legend


def draw_curves(
    curves: Mapping[str, Sequence[CurvePoint]], *, title: str, x: Axis = "entries", metric: str = "accuracy"
) -> Any:
    """Draw the learning curves of several runs: score with 95% interval.

    Args:
        curves: Measured versions of each run, by the run's name.
        title: The figure's title.
        x: The horizontal axis.
        metric: Name of the metric. ``accuracy`` is shown in percent, any other as a number.

    Returns:
        matplotlib's ``Figure``; ``flex_dspy.learning.curve.write_figure`` writes it.

    Raises:
        ConfigurationError: If no version has a place on the axis.
    """
    placed = _place(curves, x)
    if not placed:
        choices = "entries or examples" if x in ("tokens", "dollars") else "another axis"
        raise ConfigurationError(f"no version was measured and has a number of {x}: choose {choices}")
    figure, axes = new_axes()
    figure.set_figheight(figure.get_figheight() + _ROW * len(placed))
    for place, (name, points) in enumerate(placed.items()):
        _draw_curve(axes, place, points, _label(name, points, metric), has_band=len(placed) <= _MOST_BANDS)
    _label_x(axes, placed, x)
    _label_y(axes, placed, metric)
    _label_top(axes, placed, title, metric)
    figure.legend(loc="outside lower left", frameon=False, fontsize=9.5, ncols=1, handlelength=3)
    return figure


def _place(curves: Mapping[str, Sequence[CurvePoint]], x: Axis) -> dict[str, list[tuple[float, CurvePoint]]]:
    """The points of each curve with their places on the axis, in order. Points without a place are left out."""
    placed = {}
    for name, points in curves.items():
        found = [(number, point) for point in points if (number := _number(point, x)) is not None]
        if found:
            placed[name] = sorted(found, key=lambda each: (each[0], each[1].examples))
    return placed


def _number(point: CurvePoint, x: Axis) -> float | None:
    """The place of a version on the axis."""
    numbers = {"entries": point.entries, "examples": point.examples, "tokens": point.tokens, "dollars": point.usd}
    return numbers[x]


def _draw_curve(
    axes: Any, place: int, points: Sequence[tuple[float, CurvePoint]], label: str, *, has_band: bool
) -> None:
    """Draw one curve, with the interval as whiskers at each version."""
    x, y = [at for at, _ in points], [point.accuracy for _, point in points]
    low, high = [point.low for _, point in points], [point.high for _, point in points]
    below = [max(0.0, score - end) for score, end in zip(y, low, strict=True)]
    above = [max(0.0, end - score) for score, end in zip(y, high, strict=True)]
    colour, line = _COLOURS[place % len(_COLOURS)], _LINES[place // len(_COLOURS) % len(_LINES)]
    if has_band:
        axes.fill_between(x, low, high, color=colour, alpha=0.07, linewidth=0)
    axes.errorbar(x, y, yerr=[below, above], fmt="none", ecolor=colour, elinewidth=1, capsize=2.5, alpha=0.55)
    axes.plot(
        x, y, color=colour, linestyle=line, linewidth=1.8, marker=_MARKERS[place % len(_MARKERS)], markersize=5,
        label=label,
    )  # fmt: skip
    doubtful = [(at, point.accuracy) for at, point in points if point.errors]
    if doubtful:  # hollow, as in the figure of one run
        axes.plot(*zip(*doubtful, strict=True), linestyle="none", marker="o", markersize=8, mfc="white", mec=colour)


def _label(name: str, points: Sequence[tuple[float, CurvePoint]], metric: str) -> str:
    """A run's name and its last version, for the legend."""
    last = points[-1][1]
    score, low, high = (_score(number, metric) for number in (last.accuracy, last.low, last.high))
    short = name if len(name) <= _MOST_NAME else name[: _MOST_NAME - 1] + "…"
    short = short.replace("$", r"\$")  # matplotlib reads $ as the start of a formula
    errors = f", {last.errors:,} errors" if last.errors else ""
    return f"{short}: {score} ({low} to {high}), n = {last.n:,}{errors}"


def _score(number: float, metric: str) -> str:
    return f"{number:.1%}" if metric == "accuracy" else f"{number:.3f}"


def _label_x(axes: Any, placed: Mapping[str, Sequence[tuple[float, CurvePoint]]], x: Axis) -> None:
    """Label the axis, which is logarithmic if the numbers differ by much.

    An empty library then stands at 0, left of 1.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator, SymmetricalLogLocator

    numbers = [at for points in placed.values() for at, _ in points]
    least = min((number for number in numbers if number > 0), default=1.0)
    if max(numbers) / least >= _LOG_FROM:
        axes.set_xscale("symlog", linthresh=least, linscale=0.35)
        axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=least, subs=(1, 3)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=x != "dollars"))
    if min(numbers) >= 0:
        axes.set_xlim(left=0 if min(numbers) == 0 else None)
    tick = (lambda number, _: f"{number:,.4g}") if x == "dollars" else (lambda number, _: _whole(number))
    axes.xaxis.set_major_formatter(FuncFormatter(tick))
    axes.set_xlabel(AXES[x], color=MUTED, fontsize=10.5)


def _whole(number: float) -> str:
    """A count for a tick: 300, 30k, 3M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            return f"{number / (1e3 if unit == 'k' else size):,.4g}{unit}"
    return f"{number:,.0f}"


def _label_y(axes: Any, placed: Mapping[str, Sequence[tuple[float, CurvePoint]]], metric: str) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    bounds = [bound for points in placed.values() for _, point in points for bound in (point.low, point.high)]
    if min(bounds) >= 0:
        # An axis that does not begin at zero makes a small gain look like a large one.
        axes.set_ylim(0, 1.06 * max(bounds) or 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    if metric == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))


def _label_top(axes: Any, placed: Mapping[str, Sequence[tuple[float, CurvePoint]]], title: str, metric: str) -> None:
    """Write the title, and below it the label of the vertical axis, so that this label is horizontal."""
    points = [point for found in placed.values() for _, point in found]
    axes.set_title(title.replace("$", r"\$"), loc="left", fontsize=13, fontweight="bold", pad=26)
    hollow = "; hollow: measured with errors" if any(point.errors for point in points) else ""
    axes.annotate(
        f"{metric} with 95% interval, {sample_text(points)}{hollow}", (0, 1), xycoords="axes fraction", xytext=(0, 9),
        textcoords="offset points", color=MUTED, fontsize=10.5, va="bottom", parse_math=False,
    )  # fmt: skip

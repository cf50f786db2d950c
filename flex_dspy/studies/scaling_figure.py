"""Draws the figure of a scaling law, in the style of ``flex_dspy.learning.curve``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flex_dspy.core.scoring import ACCURACY
from flex_dspy.evaluation.intervals import named_score_text
from flex_dspy.learning.curve import BASELINE, CURVE, MUTED, TICK_GAP, CurvePoint, new_axes, sample_text, write_figure
from flex_dspy.studies.conditions import points
from flex_dspy.studies.curve_fitting import Fit, Parameter
from flex_dspy.studies.figures import LINE, label_top, percent
from flex_dspy.studies.scaling_law import Curve, Scaling

# Okabe and Ito's palette, as in the learning curve; vermilion is kept for the baseline.
_COLOURS = (CURVE, "#009E73", "#CC79A7", "#E69F00")
_MARKS = "os^D"


def scaling_figure(study: Scaling, path: Path) -> Path:
    """Draw points with their intervals, and the fitted curves with their bands.

    Args:
        study: The study.
        path: The PNG file; its folder must exist.

    Returns:
        ``path``.

    Raises:
        ValueError: If no version has learned from an example.
    """
    learned = [point for curve in study.curves for point in curve.learned]
    if not learned:
        raise ValueError("the figure needs a version that has learned from at least one example")
    figure, axes = new_axes()
    axes.set_xscale("log")
    curves = [(curve, _COLOURS[number % len(_COLOURS)]) for number, curve in enumerate(study.curves) if curve.learned]
    for number, (curve, colour) in enumerate(curves):
        _draw_curve(axes, curve, colour, _MARKS[number % len(_MARKS)], beside=1.012 ** (2 * number - len(curves) + 1))
    baselines = [curve.baseline for curve in study.curves if curve.baseline is not None]
    if baselines:
        _draw_baseline(axes, baselines)
    _label_x(axes, curves[0][0])
    shares = all(0 <= point.low <= point.high <= 1 for point in learned)
    if shares:
        if learned[0].score == ACCURACY:
            percent(axes.yaxis)
        axes.set_ylim(0, min(1.02, max(0.05, max(point.high for point in learned) * 1.12)))
    measure = learned[0].score if shares or learned[0].score != ACCURACY else "mean score"
    label_top(axes, study.title, f"{measure} with 95% interval, fitted curve with 95% band", more=len(curves))
    _label_laws(axes, curves)
    _label_ends(axes, curves)
    write_figure(figure, path)
    return path


def _draw_curve(axes: Any, curve: Curve, colour: str, mark: str, beside: float) -> None:
    """Draw the points of a curve, shifted a little so that the intervals of different curves do not overlap."""
    shown = curve.learned
    x, y = [curve.at(point) for point in shown], [point.accuracy for point in shown]
    whiskers = [[max(0.0, p.accuracy - p.low) for p in shown], [max(0.0, p.high - p.accuracy) for p in shown]]
    axes.errorbar(
        [beside * each for each in x], y, yerr=whiskers, fmt=mark, color=colour, ecolor=colour, markersize=5.5,
        elinewidth=1.1, capsize=2.5,
    )  # fmt: skip
    if curve.fit is None:
        axes.plot(x, y, color=colour, linewidth=1, linestyle=":")
        return
    along = np.geomspace(min(x), max(x), 200)
    middle, low, high = curve.fit.at(along)
    axes.fill_between(along, low, high, color=colour, alpha=0.16, linewidth=0)
    axes.plot(along, middle, color=colour, linewidth=1.8)


def _label_ends(axes: Any, curves: Sequence[tuple[Curve, str]]) -> None:
    """Write the last accuracy beside each curve. If two labels would overlap, the upper one is moved up."""
    gap, lowest = 0.055 * (axes.get_ylim()[1] - axes.get_ylim()[0]), -math.inf
    ends = [(curve.learned[-1], curve.at(curve.learned[-1]), colour) for curve, colour in curves]
    for end, x, colour in sorted(ends, key=lambda each: each[0].accuracy):
        lowest = max(end.accuracy, lowest + gap)
        axes.annotate(
            named_score_text(end.score, end.accuracy, end.low, end.high), (x, lowest), xytext=(12, 0),
            textcoords="offset points", color=colour, fontsize=11, fontweight="bold", va="center",
            annotation_clip=False,
        )  # fmt: skip


def _draw_baseline(axes: Any, baselines: Sequence[CurvePoint]) -> None:
    levels = sorted({point.accuracy for point in baselines})
    for level in levels:
        axes.axhline(level, color=BASELINE, linewidth=1.5, linestyle=(0, (5, 3)))
    texts = " and ".join(dict.fromkeys(named_score_text(baselines[0].score, level) for level in levels))
    axes.annotate(
        f"no library: {texts}", (1, levels[-1]), xycoords=axes.get_yaxis_transform(), xytext=(0, 5),
        textcoords="offset points", color=BASELINE, fontsize=10, ha="right", va="bottom",
    )  # fmt: skip


def _label_x(axes: Any, curve: Curve) -> None:
    """Put ticks at the measured sizes, and the numbers of experiences below them unless these are the axis."""
    from matplotlib.ticker import NullLocator

    shown = curve.learned
    places = [curve.at(point) for point in shown]
    pad = (places[-1] / places[0]) ** 0.05 if places[-1] > places[0] else 1.5
    axes.set_xlim(places[0] / pad, places[-1] * pad)
    axes.xaxis.set_minor_locator(NullLocator())
    kept = _places_apart(places, TICK_GAP * math.log(places[-1] / places[0] * pad**2))
    below = curve.against != "entries"
    labels = [f"{places[i]:,.4g}" if curve.against == "epochs" else f"{places[i]:,.0f}" for i in kept]
    if below:
        labels = [f"{label}\n{shown[i].entries:,}" for label, i in zip(labels, kept, strict=True)]
    axes.set_xticks([places[i] for i in kept], labels, linespacing=1.35)
    axes.annotate(
        f"{curve.against}\nexperiences" if below else "experiences", (0, 0), xycoords="axes fraction", xytext=(-6, -7),
        textcoords="offset points", color=MUTED, fontsize=10, ha="right", va="top", linespacing=1.35,
    )  # fmt: skip


def _places_apart(places: Sequence[float], gap: float) -> list[int]:
    """Indices of the first and last place, and of places between them with logarithms at least ``gap`` apart."""
    kept, last = [0], len(places) - 1
    for i in range(1, last):
        if min(math.log(places[i] / places[kept[-1]]), math.log(places[last] / places[i])) >= gap:
            kept.append(i)
    return kept if last == 0 else [*kept, last]


def _label_laws(axes: Any, curves: Sequence[tuple[Curve, str]]) -> None:
    """Write a legend above the axes with the sample and the law of each curve."""
    for number, (curve, colour) in enumerate(reversed(curves)):
        axes.annotate(
            f"{curve.name}, {sample_text(curve.learned)}: {_law(curve)}", (0, 1), xycoords="axes fraction",
            xytext=(0, 9 + LINE * number), textcoords="offset points", color=colour, fontsize=10, va="bottom",
        )  # fmt: skip


def _law(curve: Curve) -> str:
    """Text of a fit for a reader."""
    fit = curve.fit
    if fit is None:
        return curve.why_not
    values = fit.parameters
    if fit.form == "log-linear":
        return _slope(curve, fit)
    if fit.form == "power law":
        return f"power law to {values['a']}, exponent {values['c']}"
    return f"logistic, half at {values['m']} {curve.against}"


def _slope(curve: Curve, fit: Fit) -> str:
    """Text of the gain for ten times the amount learned, or for twice the amount if the measured range is small."""
    places = [curve.at(point) for point in curve.learned]
    times, name = (10, "ten times") if max(places) >= 10 * min(places) else (2, "twice")
    b = fit.parameters["b"]
    value, low, high = (math.log10(times) * each for each in (b.value, b.low, b.high))
    if fit.bounded and curve.score == ACCURACY:
        return f"{points(value)} points ({points(low)} to {points(high)}) for {name} the {curve.against}"
    return f"{Parameter(value, low, high)} for {name} the {curve.against}"

"""Draws learning curves without a display and without matplotlib's global state.

Example:
    >>> from pathlib import Path
    >>> from flex_dspy.learning.curve import CurvePoint, learning_curve
    >>> points = [CurvePoint(50, 0.12, 0.09, 0.16, 41, 400), CurvePoint(500, 0.22, 0.18, 0.26, 350, 400)]
    >>> learning_curve(points, Path("curve.png"), title="Retrosynthesis", baseline=0.01)  # doctest: +SKIP
    PosixPath('curve.png')
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flex_dspy.core.scoring import ACCURACY
from flex_dspy.evaluation.answer_errors import errors_text
from flex_dspy.evaluation.intervals import named_score_text
from flex_dspy.libraries.library_file import write_atomically

# Okabe and Ito's blue and vermilion. They differ for every common form of colour blindness, and in grey.
CURVE = "#0072B2"
BASELINE = "#D55E00"
MUTED = "#595959"

_SIZE = (7.2, 4.4)  # inches
_DPI = 144
TICK_GAP = 0.11  # share of the axis: the width of a two-line tick label


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One measured version of a library.

    Attributes:
        examples: Number of examples learned from.
        accuracy: Fraction of the validation set that was solved.
        low: Lower end of its 95% interval.
        high: Upper end of its 95% interval.
        entries: Number of experiences in the library.
        n: Size of the validation set.
        errors: Number of answers that are errors, which the accuracy counts as wrong.
        score: Name of the mean score that ``accuracy`` holds.
        tokens: Tokens that learning took up to it; None if they are not known.
        usd: US dollars that learning cost up to it; None if they are not known.
    """

    examples: int
    accuracy: float
    low: float
    high: float
    entries: int
    n: int
    errors: int = 0
    score: str = ACCURACY
    tokens: float | None = None
    usd: float | None = None


def learning_curve(
    points: Sequence[CurvePoint], path: Path, *, title: str, baseline: float | None = None, mode: int | None = None
) -> Path:
    """Draw accuracy against the number of examples, with its 95% interval, as a PNG.

    Args:
        points: Measured versions, in any order. A version with no examples is the empty library. It has no place on a
            logarithmic axis, so it becomes the baseline unless ``baseline`` is given.
        path: The PNG file; its folder must exist.
        title: The title, such as the task and the model.
        baseline: Accuracy without a library, drawn as a dashed line; None for no line.
        mode: Permissions of a new file; None follows the umask.

    Returns:
        ``path``.

    Raises:
        ValueError: If no point has examples.
    """
    learned = sorted((point for point in points if point.examples > 0), key=lambda point: point.examples)
    if not learned:
        raise ValueError("a learning curve needs a version that has learned from at least one example")
    empty = [point for point in points if point.examples == 0]
    doubt = ""
    if baseline is None and empty:
        baseline, doubt = empty[0].accuracy, _errors_text(empty[0])
    figure, axes = new_axes()
    _draw_curve(axes, learned)
    if baseline is not None:
        text = named_score_text(learned[0].score, baseline) if _are_shares(learned) else f"{baseline:.4g}"
        _draw_baseline(axes, baseline, text + doubt)
    _label_x(axes, learned)
    _label_y(axes, learned, baseline)
    _label_top(axes, learned, title)
    write_figure(figure, path, mode)
    return path


def new_axes() -> tuple[Any, Any]:
    """Make a figure and its axes without pyplot, which keeps every figure in memory and may need a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E3E3E3", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _draw_curve(axes: Any, points: Sequence[CurvePoint]) -> None:
    """Draw the curve, with the intervals as whiskers at each version and as a band between versions."""
    x = [point.examples for point in points]
    y = [point.accuracy for point in points]
    low, high = [point.low for point in points], [point.high for point in points]
    below = [max(0.0, accuracy - end) for accuracy, end in zip(y, low, strict=True)]
    above = [max(0.0, end - accuracy) for accuracy, end in zip(y, high, strict=True)]
    axes.fill_between(x, low, high, color=CURVE, alpha=0.13, linewidth=0)
    axes.errorbar(x, y, yerr=[below, above], fmt="none", ecolor=CURVE, elinewidth=1.1, capsize=2.5, alpha=0.7)
    axes.plot(x, y, color=CURVE, linewidth=2, marker="o", markersize=5.5)
    _mark_errors(axes, [point for point in points if point.errors])
    axes.annotate(
        named_score_text(points[-1].score, y[-1], *low, *high), (x[-1], y[-1]), xytext=(9, 0),
        textcoords="offset points", color=CURVE, fontsize=11, fontweight="bold", va="center", annotation_clip=False,
    )  # fmt: skip


def _mark_errors(axes: Any, points: Sequence[CurvePoint]) -> None:
    """Draw hollow markers for accuracies that count errors as wrong answers, and a legend that says so."""
    if not points:
        return
    axes.plot(
        [point.examples for point in points], [point.accuracy for point in points], linestyle="none", marker="o",
        markersize=8, markerfacecolor="white", markeredgecolor=CURVE, markeredgewidth=1.6,
        label="measured with errors",
    )  # fmt: skip
    for point in points:
        axes.annotate(
            _errors_text(point).removeprefix(", "), (point.examples, point.high), xytext=(0, 5),
            textcoords="offset points", color=MUTED, fontsize=9, ha="center", va="bottom", annotation_clip=False,
        )  # fmt: skip
    # Above the axes, where nothing else is drawn.
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.02, 1), borderaxespad=0.3, frameon=False, fontsize=9.5, labelcolor=MUTED,
        handletextpad=0.2,
    )  # fmt: skip


def _errors_text(point: CurvePoint) -> str:
    return errors_text({"errors": point.errors})


def _draw_baseline(axes: Any, baseline: float, text: str) -> None:
    axes.axhline(baseline, color=BASELINE, linewidth=1.5, linestyle=(0, (5, 3)))
    axes.annotate(
        f"no library: {text}", (1, baseline), xycoords=axes.get_yaxis_transform(), xytext=(0, 5),
        textcoords="offset points", color=BASELINE, fontsize=10, ha="right", va="bottom",
    )  # fmt: skip


def _label_x(axes: Any, points: Sequence[CurvePoint]) -> None:
    """Label a logarithmic axis at measured versions, with examples and, below them, experiences."""
    from matplotlib.ticker import NullLocator

    axes.set_xscale("log")
    first, last = points[0].examples, points[-1].examples
    pad = (last / first) ** 0.05 if last > first else 1.5
    axes.set_xlim(first / pad, last * pad)
    axes.xaxis.set_minor_locator(NullLocator())
    shown = _pick_ticks(points, TICK_GAP * math.log(last / first * pad**2))
    axes.set_xticks(
        [point.examples for point in shown],
        [f"{point.examples:,}\n{point.entries:,}" for point in shown],
        linespacing=1.35,
    )
    axes.annotate(
        "examples\nexperiences", (0, 0), xycoords="axes fraction", xytext=(-6, -7),
        textcoords="offset points", color=MUTED, fontsize=10, ha="right", va="top", linespacing=1.35,
    )  # fmt: skip


def _pick_ticks(points: Sequence[CurvePoint], gap: float) -> list[CurvePoint]:
    """The first and the last point, and the points between that are at least ``gap`` apart in their logarithms."""
    first, last = points[0], points[-1]
    shown = [first]
    for point in points[1:-1]:
        if min(_distance(shown[-1], point), _distance(point, last)) >= gap:
            shown.append(point)
    return shown if last is first else [*shown, last]


def _distance(left: CurvePoint, right: CurvePoint) -> float:
    return math.log(right.examples / left.examples)


def _label_y(axes: Any, points: Sequence[CurvePoint], baseline: float | None) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    if not _are_shares(points):
        return
    top = max([point.high for point in points] + [baseline or 0.0])
    # An accuracy axis that does not begin at zero makes a small gain look like a large one.
    axes.set_ylim(0, min(1.02, max(0.05, top * 1.12)))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    if points[0].score == ACCURACY:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))


def _are_shares(points: Sequence[CurvePoint]) -> bool:
    return all(0 <= point.low <= point.high <= 1 for point in points)


def _label_top(axes: Any, points: Sequence[CurvePoint], title: str) -> None:
    """Write the title, and below it the label of the vertical axis, so that this label is horizontal."""
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=26)
    name = points[0].score
    what = name if name != ACCURACY or _are_shares(points) else "mean score"
    axes.annotate(
        f"{what} with 95% interval, {sample_text(points)}", (0, 1), xycoords="axes fraction", xytext=(0, 9),
        textcoords="offset points", color=MUTED, fontsize=10.5, va="bottom",
    )  # fmt: skip


def sample_text(points: Sequence[CurvePoint]) -> str:
    """The number of examples that the points were measured on, as text."""
    low, high = min(point.n for point in points), max(point.n for point in points)
    return f"n = {low:,}" if low == high else f"n = {low:,} to {high:,}"


def write_figure(figure: Any, path: Path, mode: int | None = None) -> None:
    """Write a figure as a PNG. It is drawn in memory first, so a failure leaves no partial file.

    Args:
        figure: A matplotlib figure.
        path: The PNG file.
        mode: Permissions of a new file; None follows the umask.

    Raises:
        LibraryError: If it cannot be written.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    write_atomically(path, buffer.getvalue(), mode=mode)

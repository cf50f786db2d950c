"""Figures of inheritance and ablation, in the style of ``flex_dspy.learning.curve``."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from flex_dspy.core.scoring import ACCURACY
from flex_dspy.evaluation.intervals import named_score_text
from flex_dspy.learning.curve import BASELINE, CURVE, MUTED, new_axes, write_figure
from flex_dspy.studies.ablation_study import NO_RETRIEVAL, WHOLE, Ablation
from flex_dspy.studies.conditions import Condition, in_points, p_text, points
from flex_dspy.studies.inheritance_matrix import NO_LIBRARY, Inheritance

_FAINT = "#F0F0F0"
_INK = "#1A1A1A"
_WIDE = 22  # most characters of a name on one line
LINE = 16  # distance between lines of text, in points


# -- inheritance ---------------------------------------------------------------------------------------------


def inheritance_figure(study: Inheritance, path: Path, title: str) -> Path:
    """Draw the matrix as a PNG. Colours show the gain over no library, and each cell contains its numbers.

    Args:
        study: The study.
        path: The PNG file; its folder must exist.
        title: Title of the figure.

    Returns:
        ``path``.
    """
    actors, libraries = list(study.cells), [NO_LIBRARY, *study.entries]
    figure, axes = new_axes()
    figure.set_size_inches(2.2 + 1.6 * len(libraries), 1.75 + 0.85 * len(actors))
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    cells = [[study.cells[actor][name] for name in libraries] for actor in actors]
    gains = np.array([[each.compared.gain if each.compared else np.nan for each in row] for row in cells])
    scale = _scale(gains)
    colours = _colours(gains, scale)
    axes.imshow(colours, aspect="auto")
    for row, column in np.ndindex(gains.shape):
        light = float(colours[row, column, :3] @ (0.299, 0.587, 0.114))
        _write_cell(axes, cells[row][column], (column, row), dark=light < 0.5)
    _separate(axes, len(actors), len(libraries))
    heads = [NO_LIBRARY, *(f"{fill(name, _WIDE)}\n{entries:,} experiences" for name, entries in study.entries.items())]
    axes.set_xticks(range(len(libraries)), heads, fontsize=10)
    axes.set_yticks(range(len(actors)), [fill(actor, _WIDE) for actor in actors], fontsize=10.5)
    axes.tick_params(length=0, pad=7)
    axes.xaxis.tick_top()
    _colour_bar(figure, axes, scale, gains, study.score)
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=34)
    axes.annotate(
        f"{study.score} with 95% interval, gain over no library{in_points(study.score)}, n = {cells[0][0].n:,}", (0, 1),
        xycoords="axes fraction", xytext=(0, 48), textcoords="offset points", color=MUTED, fontsize=10.5,
    )  # fmt: skip
    write_figure(figure, path)
    return path


def _scale(gains: Any) -> Any:
    """Colour limits are symmetric about zero, and wider than the gains, so that no cell is too dark to read."""
    from matplotlib.colors import Normalize

    limit = 1.4 * max(0.01, float(np.nanmax(np.abs(gains))))
    return Normalize(-limit, limit)


def _colours(gains: Any, scale: Any) -> Any:
    """Colours safe for colour-blind readers: blue for a gain, white for zero, red for a loss, grey without a value."""
    import matplotlib
    from matplotlib.colors import to_rgba

    found = matplotlib.colormaps["RdBu"](scale(np.nan_to_num(gains)))
    found[np.isnan(gains)] = to_rgba(_FAINT)
    return found


def _write_cell(axes: Any, condition: Condition, place: tuple[int, int], *, dark: bool) -> None:
    x, y = place
    colour = "white" if dark else _INK
    found = condition.compared
    first = -0.24 if found else -0.1
    middle: dict[str, Any] = {"ha": "center", "va": "center", "color": colour}
    score = (condition.accuracy, condition.low, condition.high)
    mean, low, high = (named_score_text(condition.score, number, *score) for number in score)
    axes.text(x, y + first, mean, fontsize=12.5, weight="bold", **middle)
    axes.text(x, y + first + 0.22, f"{low} to {high}", fontsize=8.5, **middle)
    if found:
        said = f"{points(found.gain, condition.score)}, {p_text(found.adjusted)}"
        axes.text(x, y + 0.28, said, fontsize=9.5, **middle)


def _separate(axes: Any, rows: int, columns: int) -> None:
    """White lines between cells."""
    for x in range(1, columns):
        axes.axvline(x - 0.5, color="white", linewidth=3)
    for y in range(1, rows):
        axes.axhline(y - 0.5, color="white", linewidth=3)


def _colour_bar(figure: Any, axes: Any, scale: Any, gains: Any, score: str) -> None:
    """Draw a colour bar that covers only the range of the gains and losses."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    bar = figure.colorbar(ScalarMappable(scale, "RdBu"), ax=axes, fraction=0.035, pad=0.03)
    bar.ax.set_ylim(min(0.0, float(np.nanmin(gains))), max(0.0, float(np.nanmax(gains))) or scale.vmax)
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_locator(MaxNLocator(5))
    bar.ax.yaxis.set_major_formatter(
        FuncFormatter(lambda gain, _: points(gain, score).removesuffix(".0") if gain else "0")
    )
    bar.ax.tick_params(labelsize=9, length=0)
    bar.set_label("gain, points" if score == ACCURACY else "gain", fontsize=9.5, color=MUTED)


# -- ablation ------------------------------------------------------------------------------------------------


def ablation_figure(study: Ablation, path: Path, title: str) -> Path:
    """Draw the conditions below each other with their intervals, with reference lines for whole and no library.

    Args:
        study: The study.
        path: The PNG file; its folder must exist.
        title: Title of the figure.

    Returns:
        ``path``.
    """
    names = list(study.conditions)
    figure, axes = new_axes()
    figure.set_size_inches(7.8, 1.5 + 0.42 * len(names))
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color="#E3E3E3", linewidth=0.8)
    whole, none = study.conditions[WHOLE], study.conditions[NO_RETRIEVAL]
    for reference, colour in ((whole, CURVE), (none, BASELINE)):
        axes.axvline(reference.accuracy, color=colour, linewidth=1.3, linestyle=(0, (5, 3)), alpha=0.7)
    for y, name in enumerate(names):
        _draw_condition(axes, name, study.conditions[name], y)
    axes.set_yticks(range(len(names)), names, fontsize=10.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    if all(0 <= each.low <= each.high <= 1 for each in study.conditions.values()):
        axes.set_xlim(0, min(1.0, 1.08 * max(each.high for each in study.conditions.values())))
        if study.score == ACCURACY:
            percent(axes.xaxis)
    caption = (
        f"{study.score} with 95% interval, difference to the whole library{in_points(study.score)}, n = {whole.n:,}"
    )
    label_top(axes, title, caption)
    write_figure(figure, path)
    return path


def _draw_condition(axes: Any, name: str, condition: Condition, y: int) -> None:
    colour = {WHOLE: CURVE, NO_RETRIEVAL: BASELINE}.get(name, _INK)
    ends = [[max(0.0, condition.accuracy - condition.low)], [max(0.0, condition.high - condition.accuracy)]]
    axes.errorbar([condition.accuracy], [y], xerr=ends, fmt="none", ecolor=colour, elinewidth=1.4, capsize=3)
    axes.plot([condition.accuracy], [y], "o", color=colour, markersize=6, clip_on=False, zorder=3)
    found = condition.compared
    told = [(52, named_score_text(condition.score, condition.accuracy, condition.low, condition.high))]
    if found:
        told += [(98, points(found.gain, condition.score)), (158, p_text(found.adjusted))]
    for right, text in told:
        axes.annotate(
            text, (1, y), xycoords=axes.get_yaxis_transform(), xytext=(right, 0), textcoords="offset points",
            fontsize=9.5, va="center_baseline", ha="right", color=colour, annotation_clip=False,
        )  # fmt: skip


# -- shared by all -------------------------------------------------------------------------------------------


def percent(axis: Any) -> None:
    """Show the ticks of an axis as percentages."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g}%"))


def label_top(axes: Any, title: str, under: str, more: int = 0) -> None:
    """Write the title and a line about the axes, and leave room for ``more`` lines below."""
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=26 + LINE * more)
    axes.annotate(
        under, (0, 1), xycoords="axes fraction", xytext=(0, 9 + LINE * more), textcoords="offset points", color=MUTED,
        fontsize=10.5, va="bottom",
    )  # fmt: skip

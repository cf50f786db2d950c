"""The report as a figure: accuracies on the left, what an answer takes on the right."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from flex_dspy.evaluation.intervals import score_text
from flex_dspy.models.spending import Usage
from tests.benchmarks.language_model.report import Report, Result

# Okabe and Ito's colours, as in the project's other figures.
_COLOURS = {"bare": "#595959", "dspy": "#D55E00", "flex": "#0072B2"}
_OWNERS = {"bare": "bare program", "dspy": "DSPy's optimizers", "flex": "FLEX"}
_MUTED = "#595959"
_WIDTH, _ROW, _MARGIN = 11.0, 0.52, 1.9  # inches
_DPI = 144


def draw(report: Report, path: Path) -> Path:
    """Draw a report as a PNG. It needs no display, and touches no global state of matplotlib.

    Args:
        report: The report; at least one method.
        path: The PNG file; its folder must exist.

    Returns:
        ``path``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _MARGIN + _ROW * len(report.results)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for axes in (left, right):
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#E3E3E3", linewidth=0.8)
        axes.set_axisbelow(True)
    _draw_accuracies(left, report)
    _draw_tokens(right, report.results)
    title = f"{report.about.get('task', '')} with {report.about.get('lm', '')}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    picture = io.BytesIO()  # first in memory, so that a failure leaves no half picture behind
    figure.savefig(picture, format="png", dpi=_DPI)
    path.write_bytes(picture.getvalue())
    return path


def _draw_accuracies(axes: Any, report: Report) -> None:
    from matplotlib.ticker import PercentFormatter

    named: set[str] = set()
    for row, result in enumerate(report.results):
        mean, (low, high) = result.evaluation.accuracy, result.evaluation.interval
        colour = _COLOURS[result.family]
        axes.errorbar(
            mean, row, xerr=[[max(0.0, mean - low)], [max(0.0, high - mean)]], color=colour, marker="o", markersize=7,
            capsize=4, linewidth=2, clip_on=False, label=_OWNERS[result.family] if result.family not in named else None,
        )  # fmt: skip
        axes.annotate(
            score_text(mean, low, high), (mean, row), xytext=(0, 7), textcoords="offset points", ha="center",
            fontsize=9.5, fontweight="bold", color=colour,
        )  # fmt: skip
        named.add(result.family)
    axes.set_yticks(range(len(report.results)), [_label(result) for result in report.results], fontsize=9.5)
    axes.set_ylim(len(report.results) - 0.5, -0.7)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    n = report.results[0].evaluation.n
    axes.set_title(f"accuracy with 95% interval, n = {n:,}", loc="left", fontsize=10.5, color=_MUTED)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=3, frameon=False, fontsize=9.5)


def _label(result: Result) -> str:
    learned = _short(result.spent)
    return f"{result.method}\n{learned} to learn" if result.spent.tokens else result.method


def _short(spent: Usage) -> str:
    return f"{spent.tokens / 1000:,.0f}k tokens" if spent.tokens >= 1000 else f"{spent.tokens} tokens"


def _draw_tokens(axes: Any, results: tuple[Result, ...]) -> None:
    rows = range(len(results))
    colours = [_COLOURS[result.family] for result in results]
    sent = [result.prompt_tokens for result in results]
    received = [result.completion_tokens for result in results]
    axes.barh(rows, sent, height=0.42, color=colours, alpha=0.55)
    axes.barh(rows, received, left=sent, height=0.42, color=colours)
    for row, result in zip(rows, results, strict=True):
        axes.annotate(
            f"{result.prompt_tokens:,.0f} + {result.completion_tokens:,.0f}, {result.seconds:.1f} s",
            (result.prompt_tokens + result.completion_tokens, row), xytext=(5, 0), textcoords="offset points",
            va="center", fontsize=9, color=_MUTED,
        )  # fmt: skip
    most = max(a + b for a, b in zip(sent, received, strict=True))
    axes.set_xlim(0, 1.5 * most if most else 1)
    axes.set_title("tokens an answer: sent (light) + received", loc="left", fontsize=10.5, color=_MUTED)

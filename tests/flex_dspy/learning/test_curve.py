"""The learning curve, read back from the file and from matplotlib's own account of what it drew."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from flex_dspy.learning import curve
from flex_dspy.learning.curve import CurvePoint, learning_curve

POINTS = [
    CurvePoint(examples, accuracy, accuracy - 0.04, accuracy + 0.04, int(examples * 0.8), 400)
    for examples, accuracy in ((1000, 0.26), (50, 0.12), (10_000, 0.37), (60, 0.13))
]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of each figure drawn in the test."""
    made: list[Any] = []
    canvas = curve.new_axes

    def remembered() -> tuple[Any, Any]:
        figure, axes = canvas()
        made.append(axes)
        return figure, axes

    monkeypatch.setattr(curve, "new_axes", remembered)
    return made


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_a_png_without_pyplot(tmp_path: Path) -> None:
    path = learning_curve(POINTS, tmp_path / "curve.png", title="Sums", baseline=0.01)
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (1036, 633)
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    learning_curve(POINTS, tmp_path / "again.png", title="Sums", baseline=0.01)
    assert (tmp_path / "again.png").read_bytes() == data


def test_what_the_curve_says(tmp_path: Path, drawn: list[Any]) -> None:
    learning_curve(POINTS, tmp_path / "curve.png", title="Sums", baseline=0.01)
    axes = drawn[0]
    assert axes.get_xscale() == "log"
    assert axes.get_ylim()[0] == 0
    assert [label.get_text() for label in axes.get_xticklabels()] == ["50\n40", "1,000\n800", "10,000\n8,000"]
    assert {"37.0%", "no library: 1.0%", "accuracy with 95% interval, n = 400"} <= set(texts(axes))
    assert axes.get_title(loc="left") == "Sums"


def test_the_empty_library_is_the_baseline(tmp_path: Path, drawn: list[Any]) -> None:
    empty = CurvePoint(0, 0.05, 0.03, 0.07, 0, 60)
    learning_curve([empty, *POINTS], tmp_path / "curve.png", title="Sums")
    learning_curve([empty, *POINTS], tmp_path / "curve.png", title="Sums", baseline=0.2)
    learning_curve(POINTS, tmp_path / "curve.png", title="Sums")
    with_empty, given, without = map(texts, drawn)
    assert "no library: 5.0%" in with_empty
    assert "no library: 20.0%" in given
    assert not any("no library" in text for text in without)


def test_one_point_and_samples_of_several_sizes(tmp_path: Path, drawn: list[Any]) -> None:
    learning_curve([CurvePoint(50, 1.0, 0.93, 1.0, 41, 50)], tmp_path / "one.png", title="One")
    learning_curve([CurvePoint(9, 0.0, 0.0, 0.1, 9, 30), *POINTS], tmp_path / "two.png", title="Two")
    assert drawn[0].get_ylim() == (0, 1.02)
    assert "accuracy with 95% interval, n = 30 to 400" in texts(drawn[1])


def test_no_curve_without_learning(tmp_path: Path) -> None:
    for points in ([], [CurvePoint(0, 0.1, 0.0, 0.2, 0, 10)]):
        with pytest.raises(ValueError, match="at least one example"):
            learning_curve(points, tmp_path / "curve.png", title="Nothing")
    assert list(tmp_path.iterdir()) == []


def test_versions_measured_with_errors_are_marked(tmp_path: Path, drawn: list[Any]) -> None:
    empty, last = CurvePoint(0, 0.0, 0.0, 0.1, 0, 400, 12), CurvePoint(10_000, 0.2, 0.16, 0.24, 8_000, 400, 90)
    learning_curve([empty, *POINTS[:2], last], tmp_path / "curve.png", title="Sums")
    learning_curve(POINTS, tmp_path / "clean.png", title="Sums")
    marked, clean = drawn
    assert {"90 errors", "no library: 0.0%, 12 errors"} <= set(texts(marked))
    hollow = [line for line in marked.lines if line.get_markerfacecolor() == "white"]
    assert [list(line.get_xdata()) for line in hollow] == [[10_000]]
    legend = [text.get_text() for text in marked.get_legend().get_texts()]
    assert legend == ["measured with errors"]
    assert clean.get_legend() is None

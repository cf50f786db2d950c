"""What the figures drew, from matplotlib's own account."""

from __future__ import annotations

from typing import Any

import pytest

from flex_dspy.studies import figures, scaling_figure


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The axes of each figure drawn in the test."""
    made: list[Any] = []
    canvas = figures.new_axes

    def remembered() -> tuple[Any, Any]:
        figure, axes = canvas()
        made.append(axes)
        return figure, axes

    for module in (figures, scaling_figure):
        monkeypatch.setattr(module, "new_axes", remembered)
    return made

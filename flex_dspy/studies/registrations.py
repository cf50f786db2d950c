"""Registers the cells and frames of studies; loaded by the entry point group ``flex_dspy.representations``."""

from __future__ import annotations

from flex_dspy.core.representations import register
from flex_dspy.studies.ablation_study import Ablation
from flex_dspy.studies.figures import ablation_figure, inheritance_figure
from flex_dspy.studies.inheritance_matrix import Inheritance
from flex_dspy.studies.scaling_figure import scaling_figure
from flex_dspy.studies.scaling_law import Scaling
from flex_dspy.studies.tables import (
    ablation_cell,
    ablation_frame,
    inheritance_cell,
    inheritance_frame,
    scaling_cell,
    scaling_frame,
)

register("html", Ablation, ablation_cell)
register("frame", Ablation, ablation_frame)
register("figure", Ablation, ablation_figure)

register("html", Inheritance, inheritance_cell)
register("frame", Inheritance, inheritance_frame)
register("figure", Inheritance, inheritance_figure)

register("html", Scaling, scaling_cell)
register("frame", Scaling, scaling_frame)
register("figure", Scaling, scaling_figure)
